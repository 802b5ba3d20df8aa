"""The Kubernetes manifests as they are written: they agree with the code, and their numbers add up.

Nothing is rendered here: tests/manifests/ does that with the real kubectl.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.cluster import config_map, pods
from serving.container import engine
from tests.environments import ROOT
from tests.manifests import references, renders, restricted, rules_copy
from tfs_client import contract
from tfs_client.call import channel

K8S = ROOT / "k8s"
BASE = K8S / "base"
COMPONENTS = K8S / "components"
CONFIG = "/etc/tensorflow_serving"


def _load(path: Path, kind: str | None = None) -> dict[str, Any]:
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    (found,) = [one for one in documents if kind in (None, one["kind"])]
    return found


DEPLOYMENT = _load(BASE / "server" / "deployment.yaml")["spec"]
POD = DEPLOYMENT["template"]["spec"]
(SERVER,) = POD["containers"]
HPA = _load(BASE / "hpa.yaml")["spec"]
FLAGS = dict(flag.split("=", 1) for flag in SERVER["args"])


# --- facts with another owner -------------------------------------------------------------------


def test_the_flags_are_those_of_the_container() -> None:
    wanted = [
        f"--port={contract.GRPC_PORT}",
        f"--rest_api_port={contract.REST_PORT}",
        *engine.server_flags(engine.Settings(), f"{CONFIG}/models.config"),
    ]
    assert wanted == SERVER["args"]
    assert SERVER["command"] == ["tensorflow_model_server"]


def test_the_images_are_those_of_the_container() -> None:
    for folder, image in ((BASE, engine.IMAGE), (COMPONENTS / "gpu", engine.GPU_IMAGE)):
        (entry,) = _load(folder / "kustomization.yaml")["images"]
        assert f"{entry['name']}:{entry['newTag']}" == image
    assert SERVER["image"] == engine.IMAGE.partition(":")[0]


def test_only_the_base_and_the_gpu_component_name_the_servers_version() -> None:
    _, _, tag = engine.IMAGE.partition(":")
    naming = [path for path in K8S.rglob("*.yaml") if tag in path.read_text(encoding="utf-8")]
    assert sorted(path.parent.name for path in naming) == ["base", "gpu"]


def test_the_ports_are_the_contracts() -> None:
    ports = {port["name"]: port["containerPort"] for port in SERVER["ports"]}
    assert ports == {"grpc": contract.GRPC_PORT, "rest": contract.REST_PORT}
    for path in K8S.rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if isinstance(document, dict) and document.get("kind") == "Service":
                for port in document["spec"]["ports"]:
                    assert port["port"] == ports.get(port["name"], port["port"]), path


def test_readiness_is_the_metadata_of_stable() -> None:
    path = f"/v1/models/{contract.MODEL_NAME}/labels/{contract.LABEL_STABLE}/metadata"
    for probe in ("startupProbe", "readinessProbe"):
        assert SERVER[probe]["httpGet"] == {"path": path, "port": "rest"}
    # A server that loads, or whose label is wrong, is not killed for it.
    assert SERVER["livenessProbe"]["grpc"] == {"port": contract.GRPC_PORT}
    assert FLAGS["--enable_grpc_healthcheck_service"] == "true"


def test_no_probe_asks_a_tls_port_in_plain_text() -> None:
    (patched,) = _load(COMPONENTS / "tls" / "deployment.yaml")["spec"]["template"]["spec"][
        "containers"
    ]
    assert patched["name"] == SERVER["name"]
    asked = {name: {**SERVER[name], **patched.get(name, {})} for name in SERVER if "Probe" in name}
    assert {name: one.get("grpc") for name, one in asked.items()} == dict.fromkeys(asked)
    assert asked["livenessProbe"]["tcpSocket"] == {"port": "grpc"}


def test_the_configuration_is_mounted_as_a_folder_that_is_polled() -> None:
    mounts = {mount["name"]: mount for mount in SERVER["volumeMounts"]}
    assert mounts["config"] == {"name": "config", "mountPath": CONFIG, "readOnly": True}
    assert mounts["models"]["mountPath"] == contract.MODEL_STORE
    assert mounts["models"]["readOnly"] is True
    (generator,) = _load(ROOT / "serving" / "kustomization.yaml")["configMapGenerator"]
    assert generator["options"]["disableNameSuffixHash"] is True
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert volumes["config"]["configMap"]["name"] == generator["name"]
    named = {Path(value).name for value in FLAGS.values() if value.startswith(f"{CONFIG}/")}
    assert named == set(generator["files"])


def test_the_monitor_asks_where_the_server_answers() -> None:
    text = (ROOT / "serving" / "monitoring.config").read_text(encoding="utf-8")
    (path,) = re.findall(r'path: "(.*)"', text)
    endpoint = _load(COMPONENTS / "monitoring" / "servicemonitor.yaml")["spec"]["endpoints"][0]
    assert endpoint["path"] == path
    assert endpoint["port"] == "rest"


def test_what_a_scrape_may_bring_is_limited_and_a_long_name_does_not_cost_the_page() -> None:
    spec = _load(COMPONENTS / "monitoring" / "servicemonitor.yaml")["spec"]
    for limit in ("sampleLimit", "labelLimit", "labelNameLengthLimit", "labelValueLengthLimit"):
        assert spec[limit] > 0, limit
    assert spec["bodySizeLimit"] == "2MB"
    (drop,) = spec["endpoints"][0]["metricRelabelings"]
    assert drop["action"] == "drop"
    assert drop["sourceLabels"] == ["model_name"]
    longest = spec["labelValueLengthLimit"]
    assert re.fullmatch(drop["regex"], "x\n" * longest)
    assert not re.fullmatch(drop["regex"], contract.MODEL_NAME)


@pytest.mark.parametrize("name", ["staging", "production"])
def test_callers_of_a_real_cluster_reach_predictions_only(name: str) -> None:
    listed = [
        Path(one).name
        for one in _load(K8S / "overlays" / name / "kustomization.yaml")["components"]
    ]
    assert "admin-guard" in listed
    assert "tls" not in listed or "tls-gateway" in listed


def test_who_may_patch_pods_may_not_update_them_and_the_policy_is_bound() -> None:
    """By the right to update, the policy tells who is not bounded."""
    role = _load(BASE / "operators.yaml", "Role")
    rights = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert ("pods", "patch") in rights
    assert not {("pods", "update"), ("pods", "create"), ("pods", "*")} & rights
    policy = _load(BASE / "nudge-only.yaml", "ValidatingAdmissionPolicy")
    binding = _load(BASE / "nudge-only.yaml", "ValidatingAdmissionPolicyBinding")["spec"]
    assert binding["policyName"] == policy["metadata"]["name"]
    assert binding["validationActions"] == ["Deny"]
    assert policy["spec"]["failurePolicy"] == "Fail"
    namespace = _load(BASE / "namespace.yaml")["metadata"]["labels"]
    (pairs,) = (one["pairs"] for one in _load(BASE / "kustomization.yaml")["labels"])
    selected = binding["matchResources"]["namespaceSelector"]["matchLabels"]
    assert selected.items() <= {**namespace, **pairs}.items()
    texts = [one["expression"] for one in policy["spec"]["validations"]]
    assert any(f'"{pods._NUDGE}"' in text for text in texts)
    told = [one["message"] for one in policy["spec"]["validations"]]
    assert all(
        text.startswith(f"Expected no change but the annotation {pods._NUDGE}.") for text in told
    )
    conditions = " ".join(one["expression"] for one in policy["spec"]["matchConditions"])
    assert f'.name("{config_map.CONFIG}").check("patch")' in conditions
    assert '.check("update")' in conditions


@pytest.mark.parametrize("name", ["admin-guard", "canary"])
def test_a_route_passes_predictions_and_metadata_only(name: str) -> None:
    (rule,) = _load(COMPONENTS / name / "route.yaml", "GRPCRoute")["spec"]["rules"]
    paths = {f"/{one['method']['service']}/{one['method']['method']}" for one in rule["matches"]}
    assert paths == {channel.METHODS[one] for one in ("Predict", "Classify", "GetModelMetadata")}


# --- numbers that add up ------------------------------------------------------------------------

ENDPOINTS_S = 10
"""Until every node and proxy has heard that a pod is going."""

NAME_CACHE_S = 30
"""CoreDNS's usual time to live: so long a client may be given an address that is going."""

AGE_JITTER = 1.1
"""gRPC adds up to a tenth to a connection's age, at random."""


def test_draining_ends_before_the_server_is_told_to_stop() -> None:
    arguments = dict(one.split("=") for one in FLAGS["--grpc_channel_arguments"].split(","))
    age_s = int(arguments["grpc.max_connection_age_ms"]) / 1000
    grace_s = int(arguments["grpc.max_connection_age_grace_ms"]) / 1000
    needed_s = ENDPOINTS_S + NAME_CACHE_S + age_s * AGE_JITTER + grace_s
    sleep_s = SERVER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert needed_s <= sleep_s < POD["terminationGracePeriodSeconds"]
    text = (BASE / "server" / "deployment.yaml").read_text(encoding="utf-8")
    assert f"= {needed_s:.0f} s  <= preStop's sleep, {sleep_s} s" in text
    readme = (K8S / "README.md").read_text(encoding="utf-8")
    assert f"= {needed_s:.0f} s  <= preStop's sleep, {sleep_s} s" in readme


def test_the_largest_requests_fit_the_memory_limit() -> None:
    text = (ROOT / "training" / "data" / "preprocessing.py").read_text(encoding="utf-8")
    (pixels,) = re.findall(r"^PIXELS_AT_ONCE = ([\d_]+)$", text, re.MULTILINE)
    comment = (BASE / "server" / "deployment.yaml").read_text(encoding="utf-8")
    terms = [int(one) for one in re.findall(r"#\s+\+?\s+(\d+) Mi  ", comment)]
    (total,) = re.findall(r"# = (\d+) Mi  <= (\d+) Gi", comment)
    _, pictures, rows = terms
    assert pictures == math.ceil(int(pixels) * 3 * 4 / 2**20) + 64
    assert f"{contract.MAX_ROWS} rows" in comment
    assert rows == 4 * contract.MAX_ROWS // 2
    assert sum(terms) == int(total[0]) <= int(total[1]) * 1024
    for kind in ("requests", "limits"):
        assert SERVER["resources"][kind]["memory"] == f"{total[1]}Gi"


def test_term_reaches_a_server_that_is_not_process_1() -> None:
    assert POD["shareProcessNamespace"] is True


def test_a_rollout_that_fails_is_told_from_one_that_loads() -> None:
    startup = SERVER["startupProbe"]
    startup_s = startup["periodSeconds"] * startup["failureThreshold"]
    pull_s = DEPLOYMENT["progressDeadlineSeconds"] - startup_s - DEPLOYMENT["minReadySeconds"]
    assert startup_s >= 300
    assert pull_s >= 240  # the GPU image has some gigabytes


def test_one_pod_may_always_go() -> None:
    assert DEPLOYMENT["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    budget = _load(BASE / "pdb.yaml")["spec"]
    assert budget["maxUnavailable"] < HPA["minReplicas"] < HPA["maxReplicas"]
    assert budget["selector"] == DEPLOYMENT["selector"]
    assert "replicas" not in DEPLOYMENT, "the autoscaler owns it"


def test_the_autoscaler_looks_at_requests_never_at_the_cpu() -> None:
    assert HPA["scaleTargetRef"]["name"] == "image-classifier"
    assert [metric["type"] for metric in HPA["metrics"]] == ["Pods"]
    pause_s = HPA["behavior"]["scaleDown"]["policies"][0]["periodSeconds"]
    assert pause_s > POD["terminationGracePeriodSeconds"], "the last one must have drained"


def test_a_bucket_s_copies_fit_the_pods_storage_limit() -> None:
    pod = _load(COMPONENTS / "model-store-bucket" / "deployment.yaml")["spec"]["template"]["spec"]
    (models,) = [one for one in pod["volumes"] if one["name"] == "models"]
    sidecar = pod["initContainers"][1]
    limit = sidecar["resources"]["limits"]["ephemeral-storage"]
    assert models["emptyDir"]["sizeLimit"] == limit


# --- the shape of the folder --------------------------------------------------------------------


def test_the_list_of_components_is_the_folder() -> None:
    assert {path.name for path in COMPONENTS.iterdir()} == {*renders.ORDER, *renders.PARTS}


@pytest.mark.parametrize("name", [*renders.ORDER, *renders.PARTS])
def test_a_component_says_what_it_needs_of_the_cluster(name: str) -> None:
    path = COMPONENTS / name / "kustomization.yaml"
    assert _load(path)["kind"] == "Component"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    if name != "monitoring":
        assert "\n# Needs " in text
    assert _load(path).get("namespace", "image-classifier") == "image-classifier"


@pytest.mark.parametrize("name", renders.OVERLAYS)
def test_an_overlay_holds_only_what_differs(name: str) -> None:
    kustomization = _load(K8S / "overlays" / name / "kustomization.yaml")
    assert "../../base" in kustomization["resources"]
    for path in (K8S / "overlays" / name).iterdir():
        text = path.read_text(encoding="utf-8")
        if name != "example":  # which turns every knob
            assert len(text.splitlines()) < 60, path
            assert "kind: Deployment\n" not in text, path
    listed = [Path(one).name for one in kustomization["components"]]
    assert listed == [one for one in renders.ORDER if one in listed], "in the order that works"


def test_the_readme_shows_every_file_and_names_every_component() -> None:
    text = (K8S / "README.md").read_text(encoding="utf-8")
    for name in (*renders.ORDER, *renders.OVERLAYS):
        assert f"  {name} " in text, name
    for path in re.findall(r"k8s/[\w./-]*\w", text):
        assert (ROOT / path).exists(), path


def test_every_combination_is_counted_once() -> None:
    chosen = list(renders.combinations())
    without = [one for one in chosen if "tls-gateway" not in one]
    assert len(without) == len(set(without)) == 2**6 * (4 + 2)
    with_both = [one for one in without if {"admin-guard", "tls"} <= set(one)]
    assert len(chosen) == len(set(chosen)) == len(without) + len(with_both)
    assert all(renders.alone(name) in chosen for name in renders.ORDER)


# --- the rules that renders are held against ----------------------------------------------------


def test_the_servers_pod_is_restricted() -> None:
    assert restricted.violations(DEPLOYMENT) == []


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        (("hostNetwork",), True, "hostNetwork"),
        (("volumes",), [{"name": "x", "hostPath": {"path": "/"}}], "hostPath"),
        (("securityContext", "runAsNonRoot"), False, None),
        (("securityContext", "runAsUser"), 0, "runAsUser is 0"),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}, "seccompProfile"),
        (("containers", 0, "securityContext", "runAsNonRoot"), False, "runAsNonRoot"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), None, "Escalation"),
        (("containers", 0, "securityContext", "privileged"), True, "privileged"),
        (("containers", 0, "securityContext", "capabilities"), {}, "drop ALL"),
        (
            ("containers", 0, "securityContext", "capabilities"),
            {"drop": ["ALL"], "add": ["SYS_ADMIN"]},
            "SYS_ADMIN",
        ),
        (("containers", 0, "ports"), [{"containerPort": 1, "hostPort": 1}], "hostPort"),
        (("initContainers",), [{"name": "late", "image": "x"}], "late: "),
    ],
)
def test_what_restricted_forbids_is_found(where: tuple, value: Any, says: str | None) -> None:
    document = json.loads(json.dumps(DEPLOYMENT))
    node = document["template"]["spec"]
    for step in where[:-1]:
        node = node[step]
    node[where[-1]] = value
    found = restricted.violations(document)
    # The pod's word counts only where the container has none of its own.
    assert (says is None and found == []) or says in " ".join(found)


def test_names_that_nothing_answers_to_are_found() -> None:
    pod = {
        "serviceAccountName": "nobody",
        "volumes": [{"name": "config", "configMap": {"name": "gone"}}],
        "containers": [{"name": "one", "volumeMounts": [{"name": "other"}]}],
    }
    documents = [
        {
            "kind": "Deployment",
            "metadata": {"name": "d"},
            "spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}},
        },
        {
            "kind": "Service",
            "metadata": {"name": "s"},
            "spec": {"selector": {"a": "c"}, "ports": []},
        },
        {
            "kind": "Service",
            "metadata": {"name": "t"},
            "spec": {"selector": {"a": "b"}, "ports": [{"targetPort": "grpc"}]},
        },
    ]
    assert [words.split(": ")[0] for words in references.dangling(documents)] == [
        *["Deployment d"] * 3,
        "Service s",
        "Service t",
    ]


# --- scripts that run in pods -------------------------------------------------------------------


def test_every_machine_of_a_training_is_told_the_same_cluster(tmp_path: Path) -> None:
    folder = COMPONENTS / "training-distributed"
    runtime = _load(folder / "runtime.yaml")["spec"]
    trainer = _load(folder / "trainjob.yaml")["spec"]["trainer"]
    (job,) = runtime["template"]["spec"]["replicatedJobs"]
    (node,) = job["template"]["spec"]["template"]["spec"]["containers"]
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "$SHOW" "$@"\n')
    python.chmod(0o755)
    show = "import os, sys, json; print(json.dumps([os.environ['TF_CONFIG'], sys.argv[1:]]))"
    told = []
    for index in range(trainer["numNodes"]):
        said = subprocess.run(
            [*node["command"], *trainer["args"]],
            env={
                "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
                "JOB_COMPLETION_INDEX": str(index),
                "SHOW": show,
            },
            stdout=subprocess.PIPE,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        config, arguments = json.loads(said)
        assert arguments == ["-m", "training.train", *trainer["args"]]
        told.append(json.loads(config))
    workers = told[0]["cluster"]["worker"]
    assert len(workers) == trainer["numNodes"] == runtime["mlPolicy"]["numNodes"]
    name = _load(folder / "trainjob.yaml")["metadata"]["name"]
    assert workers[1] == f"{name}-{job['name']}-0-1.{name}:{node['ports'][0]['containerPort']}"
    assert [one["task"]["index"] for one in told] == list(range(len(workers)))


def test_the_master_of_a_load_test_waits_for_all_workers() -> None:
    master = _load(COMPONENTS / "loadtest" / "master.yaml", "Job")["spec"]
    workers = _load(COMPONENTS / "loadtest" / "workers.yaml")["spec"]
    args = master["template"]["spec"]["containers"][0]["args"]
    assert f"--remote-workers={workers['parallelism']}" in args
    assert workers["parallelism"] == workers["completions"]
    assert f"--target=dns:///image-classifier-grpc:{contract.GRPC_PORT}" in args


def test_the_operators_rules_are_those_of_serving_monitoring() -> None:
    copy = yaml.safe_load(rules_copy.COPY.read_text("utf-8"))
    assert copy == yaml.safe_load(rules_copy.copied()), (
        "write the copy again: python -m tests.manifests.rules_copy"
    )
