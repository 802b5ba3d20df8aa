"""Names by which one document refers to another, which no schema checks.

A Service that selects no pod, a volume of a ConfigMap that is not there, a port by a name that no
container has: each is valid by itself, and nothing works.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.manifests.restricted import containers, pods

Document = dict[str, Any]

FROM_THE_CLUSTER: Final = {
    ("ConfigMap", "internal-ca"): "the authority's certificate: trust-manager",
    ("ConfigMap", "vault-ca"): "the same, under the name that overlays/example makes up",
    ("PersistentVolumeClaim", "training-data"): "the images: their owner provides them",
}
"""What may be named and not be there, with the reason."""


def dangling(documents: Sequence[Document]) -> list[str]:
    """What is named and is not there, a sentence each."""
    there = {(one["kind"], one["metadata"]["name"]) for one in documents}
    # cert-manager writes the Secret that a Certificate names.
    there |= {
        ("Secret", one["spec"]["secretName"]) for one in documents if one["kind"] == "Certificate"
    }
    there |= set(FROM_THE_CLUSTER)
    templates = [template for one in documents for template in _templates(one)]
    return [
        f"{one['kind']} {one['metadata']['name']}: {found}"
        for one in documents
        for found in (*_named(one, there), *_ports(one, templates))
    ]


def _templates(document: Document) -> Iterator[tuple[Mapping[str, str], Document]]:
    """The labels and the spec of the pods that a document makes."""
    if document["kind"] == "Pod":
        yield document["metadata"].get("labels", {}), document["spec"]
    spec = document.get("spec") or {}
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template = spec.get("template") or {}
    if "containers" in (template.get("spec") or {}):
        yield template["metadata"].get("labels", {}), template["spec"]


def _named(document: Document, there: set[tuple[str, str]]) -> Iterator[str]:
    """What a document names, and whether it is there."""
    wanted: list[tuple[str, str]] = []
    for pod in pods(document):
        wanted.append(("ServiceAccount", pod.get("serviceAccountName", "default")))
        declared = {volume["name"] for volume in pod.get("volumes") or []}
        for volume in pod.get("volumes") or []:
            if "configMap" in volume:
                wanted.append(("ConfigMap", volume["configMap"]["name"]))
            if "secret" in volume:
                wanted.append(("Secret", volume["secret"]["secretName"]))
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                wanted.append(("PersistentVolumeClaim", claim))
        for container in containers(pod):
            for mount in container.get("volumeMounts") or []:
                if mount["name"] not in declared:
                    yield f"{container['name']} mounts {mount['name']}, which is no volume"
    spec = document.get("spec") or {}
    if document["kind"] == "HorizontalPodAutoscaler":
        wanted.append((spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]))
    if document["kind"] == "GRPCRoute":
        wanted += [
            ("Service", ref["name"]) for rule in spec["rules"] for ref in rule["backendRefs"]
        ]
    if document["kind"] == "BackendTLSPolicy":
        authorities = spec["validation"]["caCertificateRefs"]
        wanted += [(ref["kind"], ref["name"]) for ref in authorities]
        if not any((ref["kind"], ref["name"]) in there for ref in spec["targetRefs"]):
            yield "is for Services of which none is there"
    if document["kind"] == "TrainJob":
        wanted.append((spec["runtimeRef"]["kind"], spec["runtimeRef"]["name"]))
    for kind, name in wanted:
        if (kind, name) not in there:
            yield f"names {kind} {name}, which is not there"


def _ports(document: Document, templates: Sequence[tuple[Mapping[str, str], Document]]) -> Any:
    """Whether a selector finds pods, and those have the ports that are named."""
    spec = document.get("spec") or {}
    if document["kind"] == "Service":
        selector = spec["selector"]
        named = [port["targetPort"] for port in spec["ports"]]
    elif document["kind"] == "NetworkPolicy" and spec["podSelector"]:
        selector = spec["podSelector"]["matchLabels"]
        rules = spec.get("ingress") or []
        named = [port["port"] for rule in rules for port in rule.get("ports") or []]
    elif document["kind"] == "PodDisruptionBudget":
        selector, named = spec["selector"]["matchLabels"], []
    else:
        return
    if selector == {"app.kubernetes.io/name": "training-distributed"}:
        return  # JobSet makes these pods
    chosen = [pod for labels, pod in templates if selector.items() <= labels.items()]
    if not chosen:
        yield f"selects no pod by {selector}"
    for pod in chosen if document["kind"] == "Service" else chosen[:1]:
        ports = [port for one in pod["containers"] for port in one.get("ports") or []]
        known = {port["name"] for port in ports} | {port["containerPort"] for port in ports}
        for port in named:
            if port not in known:
                yield f"names port {port}, which the pods do not have"
