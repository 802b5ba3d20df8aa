"""Whether the test cluster does what the tests of k8s/ and of rollouts rely on; half a minute.

    python -m pytest tests/cluster/check_cluster.py

Not collected by `make test`, because of its name: it needs root and builds Kubernetes.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.cluster import images, places
from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.environments import ROOT, UnavailableError
from tests.ports import free_port

NAMESPACE = "image-classifier"
NAME = "answer"
PORT = 8501


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with Cluster(dns_ttl_s=0) as running:
            running.kubectl("apply", "--server-side", "--kustomize", str(ROOT / "k8s" / "base"))
            running.apply(config("first"), deployment(images.ANSWER), service())
            running.kubectl("rollout", "status", f"deployment/{NAME}", f"--namespace={NAMESPACE}")
            yield running
    except UnavailableError as error:
        pytest.skip(str(error))


def config(text: str) -> dict[str, Any]:
    return named("v1", "ConfigMap", data={"file": text})


def named(version: str, kind: str, **content: Any) -> dict[str, Any]:
    metadata = {"name": NAME, "namespace": NAMESPACE}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def service() -> dict[str, Any]:
    spec = {"clusterIP": "None", "selector": {"app": NAME}, "ports": [{"port": PORT}]}
    return named("v1", "Service", spec=spec)


def deployment(image: str) -> dict[str, Any]:
    container = {
        "name": NAME,
        "image": image,
        "args": ["serve", f":{PORT}", "/config/file"],
        "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/config"}],
    }
    pod = {
        "shareProcessNamespace": True,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
    }
    return named(
        "apps/v1",
        "Deployment",
        spec={
            "replicas": 1,
            "progressDeadlineSeconds": 15,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {"metadata": {"labels": {"app": NAME}}, "spec": pod},
        },
    )


def the_pod(cluster: Cluster) -> dict[str, Any]:
    pods = cluster.get("pods", f"--namespace={NAMESPACE}", f"--selector=app={NAME}")["items"]
    (pod,) = (one for one in pods if one["status"]["phase"] == "Running")
    return dict(pod)


def answer_of(host: str, port: int) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_the_node_is_ready_and_knows_its_zone(cluster: Cluster) -> None:
    node = cluster.get("node", places.NODE)
    assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == places.ZONE
    assert node["status"]["allocatable"]["cpu"] == node["status"]["capacity"]["cpu"]


def test_the_base_is_accepted_with_its_pods(cluster: Cluster) -> None:
    selector = "--selector=app.kubernetes.io/name=image-classifier"

    def made() -> bool:
        return bool(cluster.get("pods", f"--namespace={NAMESPACE}", selector)["items"])

    wait_until("a pod of the Deployment", made, deadline_s=30)


def test_pod_security_refuses_a_privileged_pod(cluster: Cluster) -> None:
    container = {"name": "x", "image": "x", "securityContext": {"privileged": True}}
    pod = named("v1", "Pod", spec={"containers": [container]})
    done = cluster.run("create", "--filename=-", stdin=json.dumps(pod))
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted:latest": privileged' in done.stderr


def test_a_pod_is_reached_by_its_address_from_this_machine(cluster: Cluster) -> None:
    assert answer_of(the_pod(cluster)["status"]["podIP"], PORT) == "first"


def test_grpc_finds_the_pod_by_its_headless_name(cluster: Cluster) -> None:
    target = f"{cluster.dns}/{cluster.name_of(NAME, NAMESPACE)}:{PORT}"
    with grpc.insecure_channel(target) as channel:
        grpc.channel_ready_future(channel).result(timeout=20)


def test_process_1_of_the_pod_is_pause(cluster: Cluster) -> None:
    command = ["exec", f"--namespace={NAMESPACE}", f"deployment/{NAME}", "--", "/answer", "show"]
    assert cluster.kubectl(*command, "/proc/1/comm").strip() == "pause"


def test_logs_come_through(cluster: Cluster) -> None:
    logs = cluster.kubectl("logs", f"--namespace={NAMESPACE}", f"deployment/{NAME}")
    assert f"answering at :{PORT}" in logs


def test_a_port_is_forwarded(cluster: Cluster) -> None:
    port = free_port()
    flags = [f"--namespace={NAMESPACE}", f"deployment/{NAME}", f"{port}:{PORT}"]
    with subprocess.Popen(
        cluster.command("port-forward", *flags), stdout=subprocess.DEVNULL
    ) as forward:
        try:
            wait_until(
                "the forwarded port",
                lambda: answer_of("127.0.0.1", port) == "first",
                deadline_s=20,
            )
        finally:
            forward.terminate()


def test_who_has_no_role_may_nothing(cluster: Cluster) -> None:
    user = cluster.kubeconfig_of_user("nobody", ["nobodies"])
    account = cluster.kubeconfig_of_account("default", NAMESPACE)
    for kubeconfig, name in ((user, "nobody"), (account, "image-classifier:default")):
        done = cluster.run("get", "configmaps", f"--namespace={NAMESPACE}", kubeconfig=kubeconfig)
        assert done.returncode != 0
        assert f'{name}" cannot list resource "configmaps"' in done.stderr


def test_an_annotation_brings_a_changed_config_map_at_once(cluster: Cluster) -> None:
    pod = the_pod(cluster)
    cluster.apply(config("second"))
    changed = time.monotonic()
    name = pod["metadata"]["name"]
    cluster.kubectl("annotate", f"--namespace={NAMESPACE}", "pod", name, "look=1")
    wait_until(
        "the changed file in the pod",
        lambda: answer_of(pod["status"]["podIP"], PORT) == "second",
        deadline_s=20,
    )
    assert time.monotonic() - changed < 20
    cluster.apply(config("first"))


def test_a_rollout_that_cannot_pull_fails_and_is_undone(cluster: Cluster) -> None:
    rollout = ["rollout", "status", f"deployment/{NAME}", f"--namespace={NAMESPACE}"]
    before = the_pod(cluster)["metadata"]["name"]
    cluster.apply(deployment("cluster.test/none:1"))
    done = cluster.run(*rollout)
    assert done.returncode != 0
    assert "exceeded its progress deadline" in done.stderr
    cluster.kubectl("rollout", "undo", f"deployment/{NAME}", f"--namespace={NAMESPACE}")
    # Right afterwards the status may still be that of the deadline that was exceeded before.
    wait_until("the undone rollout", lambda: cluster.run(*rollout).returncode == 0, deadline_s=30)
    assert the_pod(cluster)["metadata"]["name"] == before


def test_a_second_cluster_is_refused(cluster: Cluster) -> None:
    with pytest.raises(UnavailableError, match="no other test cluster"):
        Cluster().__enter__()
    with socket.create_connection(("127.0.0.1", cluster.dns_port), timeout=5):
        "The first one stands."
