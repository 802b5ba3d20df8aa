"""What the cluster's commands make of kubectl's words and of objects as the API server writes them.

The words are those of kubectl 1.37 and of an API server 1.35, as they were said; tests/cluster has
the commands against a real one.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from foundation.command_line import InputError
from serving.cluster import __main__ as command, config_map, following, manifests, pods
from serving.cluster.kubectl import (
    ConflictError,
    ForbiddenError,
    Kubectl,
    KubectlError,
    NoClusterError,
    NotFoundError,
)
from serving.rollout.__main__ import main


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    (tmp_path / "kubectl").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return Kubectl()


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        (
            "The connection to the server 127.0.0.1:16444 was refused - did you specify the right "
            "host or port?",
            NoClusterError,
            "kubectl config get-contexts",
        ),
        ('error: context "nope" does not exist', NoClusterError, "kubectl config get-contexts"),
        (
            "E1125 03:10:27.1 1 memcache.go:265] couldn't get current server API group list\n"
            "Unable to connect to the server: dial tcp: lookup nowhere.invalid: no such host",
            NoClusterError,
            "Received: Unable to connect to the server: dial tcp: lookup nowhere.invalid: no such "
            "host. Look at the current context",
        ),
        (
            'Error from server (Forbidden): deployments.apps "image-classifier" is forbidden: User '
            '"limited" cannot get resource "deployments" in API group "apps" in the namespace '
            '"image-classifier"',
            ForbiddenError,
            "image-classifier-operators",
        ),
        (
            'Error from server (Forbidden): error when creating "STDIN": pods "x" is forbidden: '
            'violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)',
            KubectlError,
            "violates PodSecurity",
        ),
        (
            'Error from server (NotFound): leases.coordination.k8s.io "x" not found',
            NotFoundError,
            "(NotFound)",
        ),
        (
            'Error from server (Conflict): Operation cannot be fulfilled on configmaps "x": the '
            "object has been modified; please apply your changes to the latest version and try "
            "again",
            ConflictError,
            "the object has been modified",
        ),
        (
            '[resource mapping not found for name: "image-classifier" namespace: "n" from "STDIN": '
            'no matches for kind "Certificate" in version "cert-manager.io/v1"\n'
            'ensure CRDs are installed first, resource mapping not found for name: "x" '
            'namespace: "n" from "STDIN": no matches for kind "ServiceMonitor" in version '
            '"monitoring.coreos.com/v1"\nensure CRDs are installed first]',
            KubectlError,
            "no Certificate cert-manager.io/v1, ServiceMonitor monitoring.coreos.com/v1. Install",
        ),
    ],
)
def test_what_kubectl_says_becomes_one_line_with_what_to_do(
    kubectl: Kubectl, said: str, kind: type[KubectlError], told: str
) -> None:
    error = kubectl.error(said, ["apply"])
    assert type(error) is kind
    assert told in str(error)
    assert "\n" not in str(error)
    assert str(error).startswith("Expected ")


def test_without_kubectl_the_verbs_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["status", "--kubernetes"]) == 2
    assert "Expected kubectl on the PATH" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--kubernetes", "--config", "x"], "one of --kubernetes and --config"),
        (["--kubernetes", "--target", "h:1"], "one of --kubernetes and --target"),
        (["--kubernetes", "--by", "rpc"], "would soon take back what they were told"),
        (["--namespace", "x"], "Expected --kubernetes with --namespace"),
        (["--direct"], "Expected --kubernetes with --direct"),
    ],
)
def test_flags_that_exclude_each_other_are_refused(
    kubectl: Kubectl, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_the_namespace_that_help_shows_is_the_one_that_is_asked(
    kubectl: Kubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kubectl").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked; exit 1\n')
    with pytest.raises(SystemExit):
        main(["status", "--help"])
    shown = re.search(r"--namespace NAME\s+default: (\S+)", capsys.readouterr().out)
    assert shown is not None
    assert main(["status", "--kubernetes"]) == 2
    asked = re.findall(r"--namespace[ =](\S+)", (tmp_path / "asked").read_text())
    assert {*asked, kubectl.namespace} == {shown[1]}


OTHER_CLUSTER = """#!/bin/sh
case "$*" in
  *current-context*) echo prod;;
  *"get configmap image-classifier-config"*) test -z "$FOUND" || { cat "$FOUND"; exit; }
    echo "Error from server (NotFound): configmaps \\"x\\" not found" >&2; exit 1;;
  *"get pods"*) echo '{"items": []}';;
  *) echo "Error from server (NotFound): x \\"y\\" not found" >&2; exit 1;;
esac
"""
"""Words of kubectl: a cluster without pods, and perhaps without the ConfigMap."""


@pytest.fixture
def other_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kubectl").write_text(OTHER_CLUSTER)
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FOUND", "")


@pytest.mark.usefixtures("other_cluster")
@pytest.mark.parametrize(("flags", "name"), [([], "prod"), (["--context", "dev"], "dev")])
def test_a_context_of_another_cluster_is_named(
    flags: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("status", "rollback"):
        assert main([verb, "--kubernetes", *flags]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"image-classifier-config in the cluster of the context {name}. Received: n" in line
        assert "name another --namespace or --context" in line


@pytest.mark.usefixtures("other_cluster")
def test_status_names_the_cluster_that_it_has_asked_and_a_cluster_without_pods_is_not_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[3] / "serving" / "models.config").read_text()
    found = {"metadata": {"resourceVersion": "1"}, "data": {"models.config": text}}
    (tmp_path / "found").write_text(json.dumps(found))
    monkeypatch.setenv("FOUND", str(tmp_path / "found"))
    assert main(["status", "--kubernetes"]) == 1
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert first == "No server answers: 0 of 0."
    assert "image-classifier-config in the cluster of the context prod: versions" in second
    assert "No server is running." in rest
    assert "Was the cluster meant?" not in "".join(rest)


KUBECTL = """#!/bin/sh
case "$*" in
  *kustomize*) echo "$DOCUMENTS";;
  *"get deployment"*) test -e "$0.applied" && echo "Unable to connect to the server: EOF" >&2
    echo "Error from server (NotFound): deployments.apps \\"d\\" not found" >&2; exit 1;;
  *get*) echo "Error from server (NotFound): x \\"y\\" not found" >&2; exit 1;;
  *--dry-run=server*) ;;
  *apply*) test -n "$REFUSES" && echo "Error from server: etcdserver: no space" >&2 && exit 1
    : > "$0.applied"; echo "deployment.apps/d serverside-applied";;
esac
"""
"""Words of kubectl; the server goes away once the overlay is applied, or at that moment."""


@pytest.mark.parametrize(
    ("refuses", "said"),
    [
        ("", "applied, but not followed to its end: Expected a Kubernetes cluster"),
        ("yes", "some of it may be applied now: run it again"),
    ],
)
def test_what_was_applied_is_not_called_refused(
    refuses: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "kustomization.yaml").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("REFUSES", refuses)
    document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}
    document["metadata"]["namespace"] = "n"
    monkeypatch.setenv("DOCUMENTS", json.dumps(document))
    monkeypatch.setattr(following, "_SILENT_S", 0.0)
    monkeypatch.setattr(following, "_POLL_S", 0.01)
    assert command.main([str(overlay)]) == 1
    assert said in capsys.readouterr().err


# --- pods ---------------------------------------------------------------------------------------


def pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", **metadata}, "status": {"phase": "Pending", **status}}


def server(**status: Any) -> dict[str, Any]:
    return {"name": "model-server", "restartCount": 0, "started": False, **status}


WAITING = {"state": {"waiting": {"reason": "ContainerCreating"}}}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
                    }
                ]
            },
            "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu",
        ),
        (
            {
                "containerStatuses": [
                    server(
                        state={
                            "waiting": {
                                "reason": "ImagePullBackOff",
                                "message": 'Back-off pulling image "x"',
                            }
                        }
                    )
                ]
            },
            'model-server: ImagePullBackOff Back-off pulling image "x"',
        ),
        (
            {
                "initContainerStatuses": [
                    {
                        "name": "fetch",
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"message": "no such bucket"}},
                    }
                ],
                "containerStatuses": [server(**WAITING)],
            },
            "fetch: CrashLoopBackOff no such bucket",
        ),
        (
            {"phase": "Running", "containerStatuses": [server(state={"running": {}})]},
            "model-server has not passed its startup probe yet (no version to load?)",
        ),
        ({"containerStatuses": [server(**WAITING)]}, "its containers are being made"),
    ],
)
def test_a_pod_says_itself_why_it_has_not_started(status: dict[str, Any], told: str) -> None:
    assert pods.why(pod(status)) == told


def test_only_a_server_that_has_been_up_has_to_answer() -> None:
    new = pod({"podIP": "10.0.0.1", "containerStatuses": [server()]})
    up = pod({"podIP": "10.0.0.1", "containerStatuses": [server(started=True)]})
    crashing = pod({"podIP": "10.0.0.1", "containerStatuses": [server(restartCount=3)]})
    unplaced = pod({})
    assert [pods._started(one) for one in (new, up, crashing, unplaced)] == [
        False,
        True,
        True,
        False,
    ]


def test_who_is_going_or_gone_is_left_alone() -> None:
    going = pod({"phase": "Running"}, deletionTimestamp="2026-01-01T00:00:00Z")
    evicted = pod({"phase": "Failed"})
    assert [pods._counts(one) for one in (going, evicted, pod({}))] == [False, False, True]


# --- a Deployment's progress ---------------------------------------------------------------------


def deployment(generation: int = 2, wanted: int = 3, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"generation": generation},
        "spec": {"replicas": wanted},
        "status": {"observedGeneration": 2, **status},
    }


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (deployment(generation=3), "has just been changed"),
        (deployment(updatedReplicas=1, replicas=4, availableReplicas=3), "1 of 3 pods are new"),
        (
            deployment(updatedReplicas=3, replicas=4, availableReplicas=4),
            "all 3 new pods are there, old ones still to go: 1",
        ),
        (
            deployment(updatedReplicas=3, replicas=3, readyReplicas=2, availableReplicas=1),
            "2 of 3 new pods are ready",
        ),
        (
            deployment(updatedReplicas=3, replicas=3, readyReplicas=3, availableReplicas=2),
            "3 new pods are ready, and have to stay so for 0 s",
        ),
        (deployment(updatedReplicas=3, replicas=3, availableReplicas=3), ""),
        (deployment(wanted=0), ""),
    ],
)
def test_a_rollout_is_done_when_all_pods_are_new_and_ready(
    found: dict[str, Any], state: str
) -> None:
    assert following._progress(found) == (state, "")


def test_a_rollout_has_failed_when_its_deadline_is_over() -> None:
    late = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    found = deployment(updatedReplicas=1, replicas=4, conditions=[late])
    assert following._progress(found) == ("no progress", "timed out")
    assert following._progress({**found, "metadata": {"generation": 3}})[1] == "", "the one before"


# --- the rest -----------------------------------------------------------------------------------


def test_an_overlay_is_a_name_or_a_folder(tmp_path: Path) -> None:
    for name in ("staging", "production"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kustomization.yaml").touch()
    (tmp_path / "half").mkdir()
    assert manifests.folder("staging", tmp_path) == tmp_path / "staging"
    assert manifests.folder(str(tmp_path / "staging"), Path("nowhere")) == tmp_path / "staging"
    with pytest.raises(InputError, match=r"production, staging, or .* Did you mean production\?"):
        manifests.folder("producton", tmp_path)
    with pytest.raises(InputError, match="Received: no name"):
        manifests.folder("", tmp_path)
    with pytest.raises(InputError, match="Received: half"):
        manifests.folder("half", tmp_path)


def test_an_overlay_of_several_namespaces_is_refused() -> None:
    def one(namespace: str | None) -> dict[str, Any]:
        metadata = {"name": "x"} if namespace is None else {"name": "x", "namespace": namespace}
        return {"kind": "ConfigMap", "metadata": metadata}

    assert manifests.namespace([one("a"), one("a"), one(None)]) == "a"
    with pytest.raises(InputError, match="Received: a, b"):
        manifests.namespace([one("a"), one("b")])


def test_a_history_keeps_its_last_lines() -> None:
    line = "x" * 1000
    kept = config_map._recent([f"{number}{line}" for number in range(2000)]).splitlines()
    assert kept[-1] == f"1999{line}"
    size = sum(len(one) + 1 for one in kept)
    assert size <= config_map._HISTORY_BYTES < size + len(line) + 5
    assert config_map._recent(["a", "b"]) == "a\nb\n"
