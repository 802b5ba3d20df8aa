"""The manifests as the real kubectl renders them, held against the real schemas and checkov.

The environment with these tools is made on demand; where it cannot be made, this file is skipped.
`make manifests` does the same over every combination of components.
"""

from __future__ import annotations

import copy
import re
import shlex

import pytest

from serving.container import engine, images
from tests.environments import ROOT, UnavailableError
from tests.manifests import __main__ as command, renders, restricted, tools


@pytest.fixture(scope="module")
def stands() -> tools.Tools:
    try:
        return tools.make()
    except UnavailableError as error:
        pytest.skip(f"kubectl, kubernetes-validate and checkov cannot be had: {error}")


@pytest.fixture(scope="module")
def production(stands: tools.Tools) -> list[renders.Document]:
    return renders.render(stands, renders.K8S / "overlays" / "production")


def _one(documents: list[renders.Document], kind: str) -> renders.Document:
    (found,) = [one for one in documents if one["kind"] == kind]
    return copy.deepcopy(found)


def _errors(stands: tools.Tools, document: renders.Document) -> list[str]:
    everything = command.Everything()
    everything.add("changed", [document])
    return command.schema_errors(stands, everything)[1]


def test_every_overlay_and_component_is_accepted(
    stands: tools.Tools, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(ROOT)
    figures = command.check(stands, alone=True)
    assert figures.hold, caplog.text
    values = {figure.name: figure.value for figure in figures.results}
    assert values["renders"] == len(renders.overlays()) + len(renders.ORDER)
    assert len(str(values["kubernetes_versions"]).split()) == 3


def test_the_validator_sees_a_misspelt_field_in_every_version(
    stands: tools.Tools, production: list[renders.Document]
) -> None:
    changed = _one(production, "Deployment")
    changed["spec"]["template"]["spec"]["terminationGraceperiodSeconds"] = 95
    assert len(_errors(stands, changed)) == 3


@pytest.mark.parametrize("kind", ["Certificate", "ServiceMonitor"])
def test_the_validator_sees_a_misspelt_field_of_a_custom_resource(
    stands: tools.Tools, production: list[renders.Document], kind: str
) -> None:
    changed = _one(production, kind)
    assert _errors(stands, changed) == []
    changed["spec"]["dnsName"] = ["typo"]
    assert len(_errors(stands, changed)) == 1


def test_the_validator_sees_into_the_job_of_a_training_runtime(stands: tools.Tools) -> None:
    documents = renders.render_combination(stands, renders.alone("training-distributed"))
    runtime = _one(documents, "TrainingRuntime")
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    job["template"]["spec"]["template"]["spec"]["containers"][0]["comand"] = ["x"]
    assert len(_errors(stands, runtime)) == 3


def test_a_kind_without_a_schema_is_an_error(stands: tools.Tools) -> None:
    unknown = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "thing"}}
    assert len(_errors(stands, unknown)) == 3


def test_production_runs_the_gpu_image_over_tls_from_the_shared_volume(
    production: list[renders.Document],
) -> None:
    pod = _one(production, "Deployment")["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    assert server["image"].endswith("-gpu")
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "--ssl_config_file=/run/tls/ssl.config" in server["args"]
    models = {volume["name"]: volume for volume in pod["volumes"]}["models"]
    assert set(models) == {"name", "persistentVolumeClaim"}


def test_the_example_turns_every_knob(stands: tools.Tools) -> None:
    """What stands in it arrives: a patch that no object takes would pass unseen."""
    documents = renders.render(stands, renders.K8S / "overlays" / "example")
    pod = _one(documents, "Deployment")["spec"]["template"]["spec"]
    containers = {one["name"]: one for one in [*pod["containers"], *pod["initContainers"]]}
    asked = [one["image"] for one in containers.values()]
    cron = _one(documents, "CronJob")["spec"]
    asked += [one["image"] for one in restricted.containers(next(restricted.pods(cron)))]
    assert all(one.startswith("registry.example.com/mirror/") for one in asked)
    pinned = [one for one in asked if "/tensorflow/serving:" not in one]
    assert all(re.search(r":[\w.]+@sha256:\w{64}$", one) for one in pinned), "as in the bundle"
    assert containers["model-server"]["image"].endswith(engine.GPU_IMAGE)
    assert containers["model-server"]["resources"]["requests"] | {"ephemeral-storage": ""} == {
        "cpu": "4",
        "memory": "8Gi",
        "ephemeral-storage": "",
    }
    assert containers["model-server"]["resources"]["limits"]["memory"] == "8Gi"
    assert containers["model-server"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["nodeSelector"] == {"node-pool": "gpu-l4"}
    (models,) = (one for one in pod["volumes"] if one["name"] == "models")
    for name in ("fetch-models", "refresh-models"):
        environment = {one["name"]: one["value"] for one in containers[name]["env"]}
        assert environment["SOURCE"] == "store:my-bucket/models"
        assert environment["RCLONE_CONFIG_STORE_REGION"] == "eu-west-1"
        assert environment["RCLONE_CONFIG_STORE_TYPE"] == "s3", "the component's own are left"
        storage = containers[name]["resources"]["limits"]["ephemeral-storage"]
        assert storage == models["emptyDir"]["sizeLimit"] == "40Gi"
    scaler = _one(documents, "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 12)
    assert scaler["metrics"][0]["pods"]["target"]["averageValue"] == "800"
    route = _one(documents, "GRPCRoute")["spec"]
    assert route["hostnames"] == ["classify.example.com"]
    policies = {one["metadata"]["name"]: one for one in documents if one["kind"] == "NetworkPolicy"}
    (callers,) = policies["image-classifier-callers"]["spec"]["ingress"]
    (gateway,) = route["parentRefs"]
    assert callers["from"][0]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": gateway["namespace"]
    }
    certificate = _one(documents, "Certificate")["spec"]
    assert (certificate["issuerRef"]["name"], certificate["duration"]) == ("vault", "1440h")
    assert cron["schedule"] == "30 13 * * 1-4"
    rules = _one(documents, "PrometheusRule")
    urls = rules["spec"]["groups"][0]["rules"][0]["labels"]
    assert {*urls} >= {"runbook", "dashboard"}
    watched = (rules, _one(documents, "ServiceMonitor"))
    assert {one["metadata"]["labels"]["release"] for one in watched} == {"kube-prometheus-stack"}
    accounts = {
        one["metadata"]["name"]: one for one in documents if one["kind"] == "ServiceAccount"
    }
    assert all(one["imagePullSecrets"] for one in accounts.values())
    assert "eks.amazonaws.com/role-arn" in accounts["image-classifier"]["metadata"]["annotations"]


def test_every_image_of_the_cluster_is_in_the_list_for_a_mirror(stands: tools.Tools) -> None:
    everything = tuple(one for one in renders.ORDER if one not in ("model-store-pvc", "training"))
    chosen = tuple(
        one for one in everything if one not in ("model-store-gcs", "training-distributed")
    )
    documents = renders.render_combination(stands, chosen)
    documents += renders.render_combination(stands, renders.alone("training-distributed"))
    for overlay in ("local", "staging", "production"):
        documents += renders.render(stands, renders.K8S / "overlays" / overlay)
    used = {
        one["image"]
        for document in documents
        for pod in restricted.pods(document)
        for one in restricted.containers(pod)
    }
    assert len(used) >= 8
    listed = images.find(ROOT)
    names = {name for one in listed for name in _spelled(one)}
    assert used <= names


def _spelled(image: images.Image) -> set[str]:
    ends = {image.tag, f"{image.tag}@{image.digest}"}
    return {f"{name}:{end}" for name in image.named_as for end in ends}


def test_a_canary_is_beside_the_servers_and_not_behind_their_names(stands: tools.Tools) -> None:
    documents = renders.render_combination(stands, ("admin-guard", "canary", "gpu"))
    servers = {one["metadata"]["name"]: one for one in documents if one["kind"] == "Deployment"}
    assert set(servers) == {"image-classifier", "image-classifier-canary"}
    images = [one["spec"]["template"]["spec"]["containers"][0]["image"] for one in servers.values()]
    assert len(set(images)) == 2
    labels = servers["image-classifier-canary"]["spec"]["template"]["metadata"]["labels"]
    selectors = {
        one["metadata"]["name"]: one["spec"]["selector"]
        for one in documents
        if one["kind"] == "Service"
    }
    behind = [name for name, chosen in selectors.items() if chosen.items() <= labels.items()]
    assert behind == ["image-classifier-gateway-canary"]
    # one route a host: admin-guard's gives way
    route = _one(documents, "GRPCRoute")
    weights = [ref["weight"] for rule in route["spec"]["rules"] for ref in rule["backendRefs"]]
    assert sum(weights) == 100


def test_only_the_gateway_reaches_guarded_servers(stands: tools.Tools) -> None:
    documents = renders.render_combination(stands, ("admin-guard",))
    policies = {
        one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "NetworkPolicy"
    }
    (rule,) = policies["image-classifier-callers"]["ingress"]
    assert rule["ports"] == [{"port": "grpc"}]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "gateways"}


def test_every_documented_command_of_kubectl_exists(stands: tools.Tools) -> None:
    text = (renders.K8S / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ kubectl (.*)$", text, re.MULTILINE)
    assert len(commands) >= 5
    for command_line in commands:
        words = shlex.split(command_line.partition(" -- ")[0])
        verbs = words[: 2 if words[0] == "rollout" else 1]
        told = tools.run([stands.kubectl, *verbs, "--help"])
        told += tools.run([stands.kubectl, "options"])
        for flag in (word for word in words if word.startswith("-")):
            assert re.search(rf"^ *(-\w, )?{flag}\b|^ *{flag}, ", told, re.MULTILINE), command_line


@pytest.mark.parametrize("guard", [("admin-guard",), ("canary",), ("admin-guard", "canary")])
def test_no_gateway_speaks_plaintext_to_servers_that_speak_tls(
    stands: tools.Tools, guard: tuple[str, ...]
) -> None:
    documents = renders.render_combination(stands, (*guard, "tls", "tls-gateway"))
    behind = [
        one
        for one in documents
        if one["kind"] == "Service" and "gateway" in one["metadata"]["name"]
    ]
    assert behind
    assert not any("appProtocol" in port for one in behind for port in one["spec"]["ports"])
    (policy,) = (one for one in documents if one["kind"] == "BackendTLSPolicy")
    (certificate,) = (one for one in documents if one["kind"] == "Certificate")
    assert policy["spec"]["validation"]["hostname"] in certificate["spec"]["dnsNames"]
    named = {ref["name"] for ref in policy["spec"]["targetRefs"]}
    assert {one["metadata"]["name"] for one in behind} <= named
