"""A certificate's renewal on a real API server: the pod's script, its rights, and what they leave.

No node: no pod runs. The script runs here, with a token of the account that the pod would have.
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.cluster import crds
from tests.cluster.cluster import Cluster
from tests.environments import ROOT, UnavailableError
from tests.manifests import renders, tools
from tests.waiting import eventually

NAMESPACE: Final = "image-classifier"
DEPLOYMENT: Final = "image-classifier"
ACCOUNT: Final = "certificate-renewal"
SCRIPT: Final = ROOT / "k8s" / "components" / "tls" / "restart-servers.sh"
REFUSED: Final = "Expected no change but the annotation image-classifier/certificate"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with Cluster(node=False) as running:
            crds.install(running)
            running.apply(*renders.render_combination(tools.make(), ("tls",)))
            yield running
    except UnavailableError as error:
        pytest.skip(str(error))


def template(cluster: Cluster) -> dict[str, Any]:
    """The servers' Deployment: its generation and its pods' template."""
    found = cluster.get("deployment", DEPLOYMENT, f"--namespace={NAMESPACE}")
    return {"generation": found["metadata"]["generation"], **found["spec"]}


def patched(cluster: Cluster, patch: dict[str, Any], kind: str = "merge") -> tuple[int, str]:
    """What the API server answers to a patch by the renewal's account: the code and its words."""
    token = cluster.kubectl("create", "token", ACCOUNT, f"--namespace={NAMESPACE}").strip()
    request = urllib.request.Request(
        f"{cluster.server}/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{DEPLOYMENT}",
        data=json.dumps(patch).encode(),
        method="PATCH",
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": f"application/{kind}-patch+json",
        },
    )
    trusted = ssl.create_default_context(cafile=str(cluster.authority.certificate))
    try:
        with urllib.request.urlopen(request, context=trusted, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["message"]


def test_the_script_starts_a_rollout_for_another_certificate_only(
    cluster: Cluster, tmp_path: Path
) -> None:
    token = cluster.kubectl("create", "token", ACCOUNT, f"--namespace={NAMESPACE}").strip()
    (tmp_path / "token").write_text(token)
    (tmp_path / "namespace").write_text(NAMESPACE)
    (tmp_path / "ca.crt").write_bytes(cluster.authority.certificate.read_bytes())
    server = urlsplit(cluster.server)
    certificate = tmp_path / "tls.crt"
    generation = template(cluster)["generation"]
    for content, more in (("one", 1), ("one", 1), ("two", 2), ("two", 2)):
        certificate.write_text(content)
        done = subprocess.run(
            ["sh", str(SCRIPT), str(certificate), DEPLOYMENT, f"{DEPLOYMENT}-canary"],
            env={
                **os.environ,
                "ACCOUNT": str(tmp_path),
                "KUBERNETES_SERVICE_HOST": str(server.hostname),
                "KUBERNETES_SERVICE_PORT": str(server.port),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        now = template(cluster)
        assert now["generation"] == generation + more
        digest = hashlib.sha256(content.encode()).hexdigest()
        annotations = now["template"]["metadata"]["annotations"]
        assert annotations["image-classifier/certificate"] == digest
    assert f"{DEPLOYMENT}-canary is not there" in done.stdout


@pytest.mark.parametrize(
    "spec",
    [
        # valid in themselves, or the server would refuse them before the policy is asked
        {"template": {"spec": {"terminationGracePeriodSeconds": 600}}},
        {"template": {"spec": {"serviceAccountName": "default"}}},
        {"template": {"metadata": {"labels": {"more": "1"}}}},
        {"template": {"metadata": {"annotations": {"other": "1"}}}},
        {"replicas": 0},
        {"minReadySeconds": 0},
        {"minReadySeconds": 599},
        {"paused": True},
        {"revisionHistoryLimit": 0},
        {"progressDeadlineSeconds": 900},
        {"strategy": {"rollingUpdate": {"maxUnavailable": 1}}},
    ],
)
def test_of_the_right_to_patch_the_servers_the_renewal_has_one_annotation(
    cluster: Cluster, spec: dict[str, Any]
) -> None:
    before = template(cluster)
    # A policy holds a moment after it was applied.
    eventually(lambda: patched(cluster, {"spec": {"replicas": 0}})[0] == 422, "the policy holds")
    code, words = patched(cluster, {"spec": spec})
    assert (code, REFUSED in words) == (422, True), words
    assert template(cluster) == before


def test_an_administrator_is_not_bounded(cluster: Cluster) -> None:
    patch = json.dumps({"spec": {"minReadySeconds": 11}})
    where = ("deployment", DEPLOYMENT, f"--namespace={NAMESPACE}")
    cluster.kubectl("patch", *where, "--patch", patch, "--dry-run=server")


def test_the_renewal_may_do_nothing_else(cluster: Cluster) -> None:
    theirs = cluster.kubeconfig_of_account(ACCOUNT, NAMESPACE)
    said = cluster.run(
        "auth", "can-i", "--list", f"--namespace={NAMESPACE}", "--no-headers", kubeconfig=theirs
    ).stdout
    granted = [line for line in said.splitlines() if "self" not in line and " [/" not in line]
    assert sorted(line.split() for line in granted) == [
        ["deployments.apps", "[]", f"[{name}]", "[patch]"]
        for name in (f"{DEPLOYMENT}-canary", DEPLOYMENT)
    ], said
    assert cluster.run("get", "secrets", f"--namespace={NAMESPACE}", kubeconfig=theirs).returncode
