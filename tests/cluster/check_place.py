"""The ConfigMap as the rollout's file, and manifests being applied, against a real API server.

python -m pytest tests/cluster/check_place.py       a minute; no node, so no pod ever runs
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from foundation.command_line import InputError
from serving import models_config
from serving.cluster import __main__ as command, config_map, lease
from serving.cluster.config_map import CONFIG, ROLLOUTS, ConfigMapFile
from serving.cluster.kubectl import (
    ForbiddenError,
    Kubectl,
    NoClusterError,
    NotFoundError,
)
from serving.fleet.place import EditedMeanwhileError
from serving.rollout import __main__ as rollout
from serving.rollout.journal import Change, Journal
from tests.cluster import crds
from tests.cluster.cluster import Cluster
from tests.cluster.processes import ClusterError
from tests.cluster.serving_fleet import NAMESPACE
from tests.environments import ROOT, UnavailableError
from tests.manifests import renders, tools

ABOUT = {"who": "ann@host", "verb": "promote", "pid": 7, "time": "2026-01-01T00:00:00+00:00"}

CHANGE = Change(
    id="a",
    model="image_classifier",
    verb="canary",
    version=2,
    who="ann@host",
    time="2026-01-01T00:00:00+00:00",
    why="",
    by="file",
    servers=("pod",),
    before={"versions": [1], "labels": {"stable": 1}},
    after={"versions": [1, 2], "labels": {"stable": 1, "canary": 2}},
)


POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "nudged", "namespace": NAMESPACE},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "serviceAccountName": "image-classifier",
        "containers": [
            {
                "name": "c",
                "image": "registry.example/none:1",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    },
}
"""Nothing runs it."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with Cluster(node=False) as running:
            crds.install(running)
            yield running
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def administrator(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user who runs the commands of this process."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def applied(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--kustomize", str(ROOT / "k8s" / "base"))


@pytest.fixture
def place(cluster: Cluster, applied: None) -> ConfigMapFile:
    cluster.kubectl("delete", "lease", lease.NAME, f"--namespace={NAMESPACE}", "--ignore-not-found")
    cluster.kubectl(
        "delete", "configmap", ROLLOUTS, f"--namespace={NAMESPACE}", "--ignore-not-found"
    )
    cluster.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--kustomize", str(ROOT / "k8s" / "base"))
    )
    found = ConfigMapFile(Kubectl())
    found.read()
    return found


def moved(place: ConfigMapFile, **labels: int) -> models_config.ModelsConfig:
    config = place.read()
    (model,) = config.models
    return dataclasses.replace(
        config,
        models=(
            dataclasses.replace(
                model, policy=models_config.Specific((1, 2)), labels={**model.labels, **labels}
            ),
        ),
    )


def edit(cluster: Cluster, **data: str) -> None:
    patch = json.dumps({"data": {key.replace("_", "."): text for key, text in data.items()}})
    cluster.kubectl(
        "patch", "configmap", CONFIG, f"--namespace={NAMESPACE}", "--type=merge", "--patch", patch
    )


# --- the ConfigMap as a file ---------------------------------------------------------------------


def test_what_is_written_is_read_by_the_next(place: ConfigMapFile) -> None:
    config = moved(place, canary=2)
    place.write(config)
    other = ConfigMapFile(Kubectl())
    assert other.read() == config
    assert other.text == place.text
    assert other.text.startswith("#"), "the header stays"


def test_somebody_elses_edit_is_never_overwritten(cluster: Cluster, place: ConfigMapFile) -> None:
    config = moved(place, canary=2)
    edited = place.text.replace('key: "stable" value: 1', 'key: "stable" value: 3')
    edit(cluster, models_config=edited)
    with pytest.raises(EditedMeanwhileError, match="as it was read a moment ago"):
        place.write(config)
    assert ConfigMapFile(Kubectl())._now()[0] == edited


def test_an_edit_of_another_key_is_in_nobodys_way(cluster: Cluster, place: ConfigMapFile) -> None:
    config = moved(place, canary=2)
    edit(cluster, monitoring_config="prometheus_config { enable: false }")
    place.write(config)
    data = cluster.get("configmap", CONFIG, f"--namespace={NAMESPACE}")["data"]
    assert models_config.parse(data["models.config"]) == config
    assert data["monitoring.config"] == "prometheus_config { enable: false }"


def test_a_write_that_was_cut_off_is_known_again(cluster: Cluster, place: ConfigMapFile) -> None:
    config = moved(place, canary=2)
    place._attempted = models_config.render(config)  # it was sent, and no answer came back
    edit(cluster, models_config=place._attempted)
    back = dataclasses.replace(config)
    place.write(back)
    assert place.text == models_config.render(back)


def test_a_config_that_is_none_is_told_with_line_and_column(
    cluster: Cluster, place: ConfigMapFile
) -> None:
    edit(cluster, models_config=place.text.replace("version_labels {", "version_lables {"))
    with pytest.raises(models_config.ConfigError, match=r"models\.config:\d+:\d+: Expected"):
        place.read()


def test_a_second_operator_is_kept_away_and_told_who_is_at_work(place: ConfigMapFile) -> None:
    other = ConfigMapFile(Kubectl())
    assert other.operator() is None
    with place.sole_operator(ABOUT):
        assert other.operator() == (
            "ann@host runs promote since 2026-01-01T00:00:00+00:00 (process 7)"
        )
        with (
            pytest.raises(InputError, match="ann@host runs promote since"),
            other.sole_operator(ABOUT),
        ):
            pytest.fail("two at work")
    assert other.operator() is None
    with other.sole_operator(ABOUT):
        pass


def test_of_many_that_begin_at_once_one_is_at_work(place: ConfigMapFile) -> None:
    gate = threading.Barrier(6)
    inside: list[int] = []
    refused: list[str] = []

    def begin(number: int) -> None:
        own = ConfigMapFile(Kubectl())
        gate.wait()
        try:
            with own.sole_operator(ABOUT):
                inside.append(number)
                gate.wait()
        except InputError as error:
            refused.append(str(error))
            gate.wait()

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(inside), len(refused)) == (1, 5)


def test_a_killed_operators_lease_ends_by_itself(cluster: Cluster, place: ConfigMapFile) -> None:
    place.lease.take(ABOUT)
    place.lease._done.set()  # as after a kill: nobody renews it
    old = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(
        seconds=lease.LEASE_S + 1
    )
    patch = json.dumps({"spec": {"renewTime": old.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}})
    cluster.kubectl(
        "patch", "lease", lease.NAME, f"--namespace={NAMESPACE}", "--type=merge", "--patch", patch
    )
    assert place.operator() is None
    with place.sole_operator(ABOUT):
        pass


def test_a_long_change_keeps_its_lease(
    place: ConfigMapFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_RENEW_S", 0.2)
    with place.sole_operator(ABOUT):
        first = place.lease._held["spec"]["renewTime"]
        deadline = threading.Event()
        for _ in range(50):
            if place.lease._held["spec"]["renewTime"] != first:
                break
            deadline.wait(0.1)
        assert place.lease._held["spec"]["renewTime"] > first


def test_who_has_lost_the_lease_writes_no_more(
    cluster: Cluster, place: ConfigMapFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_RENEW_S", 0.2)
    config = moved(place, canary=2)
    before = place.text
    with place.sole_operator(ABOUT):
        patch = json.dumps({"spec": {"holderIdentity": "somebody else"}})
        cluster.kubectl(
            "patch",
            "lease",
            lease.NAME,
            f"--namespace={NAMESPACE}",
            "--type=merge",
            "--patch",
            patch,
        )
        waiting = threading.Event()
        for _ in range(50):
            if place.lease.lost:
                break
            waiting.wait(0.1)
        with pytest.raises(EditedMeanwhileError, match="who has taken over"):
            place.write(config)
    assert ConfigMapFile(Kubectl())._now()[0] == before
    found = cluster.get("lease", lease.NAME, f"--namespace={NAMESPACE}")
    assert found["spec"]["holderIdentity"] == "somebody else", "it is not ours to give back"


def test_the_journal_is_kept_in_the_cluster(place: ConfigMapFile) -> None:
    Journal(place).begin(CHANGE)
    other = Journal(ConfigMapFile(Kubectl()))
    assert other.pending() == CHANGE
    assert other.history() == ([], 0)
    other.end(CHANGE)
    assert Journal(place).pending() is None
    assert Journal(place).history() == ([CHANGE], 0)


def test_a_long_history_loses_its_oldest_lines(
    place: ConfigMapFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_map, "_HISTORY_BYTES", 2000)
    for number in range(6):
        Journal(place).append(dataclasses.replace(CHANGE, id=str(number)))
    kept = [change.id for change in Journal(place).history()[0]]
    assert kept == ["0", "1", "2", "3", "4", "5"][-len(kept) :]
    assert 2 <= len(kept) < 6


# --- who may, and what is there ------------------------------------------------------------------


def test_an_operator_needs_no_more_than_the_role(
    cluster: Cluster, place: ConfigMapFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = cluster.kubeconfig_of_user("olga", ["image-classifier-operators"])
    monkeypatch.setenv("KUBECONFIG", str(theirs))
    own = ConfigMapFile(Kubectl())
    with own.sole_operator(ABOUT):
        Journal(own).begin(CHANGE)
        own.write(moved(own, canary=2))
        Journal(own).end(CHANGE)
    with pytest.raises(ForbiddenError, match="cannot delete resource"):
        Kubectl().run("delete", "configmap", CONFIG)


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"containers": [{"name": "c", "image": "registry.example/other:1"}]}},
        {"spec": {"activeDeadlineSeconds": 1}},
        {"metadata": {"labels": {"track": "other"}}},
        {"metadata": {"annotations": {"image-classifier/nudged": "1", "other": "1"}}},
        {"metadata": {"finalizers": ["example.com/kept"]}},
    ],
)
def test_of_the_right_to_patch_pods_operators_have_one_annotation(
    cluster: Cluster, place: ConfigMapFile, patch: dict[str, Any]
) -> None:
    theirs = cluster.kubeconfig_of_user("olga", ["image-classifier-operators"])
    cluster.apply(POD)
    of_pod = ("pod", POD["metadata"]["name"], f"--namespace={NAMESPACE}")
    nudge = ("annotate", *of_pod, "--overwrite", "image-classifier/nudged=2")
    cluster.kubectl(*nudge, kubeconfig=theirs)
    before = cluster.get(*of_pod)
    refused = ("patch", *of_pod, "--patch", json.dumps(patch))
    with pytest.raises(ClusterError, match="Expected no change but the annotation"):
        cluster.kubectl(*refused, kubeconfig=theirs)
    assert cluster.get(*of_pod)["spec"] == before["spec"]
    assert cluster.get(*of_pod)["metadata"] == before["metadata"]
    cluster.kubectl(*refused, "--dry-run=server")  # an administrator may


def test_nobody_else_may(
    cluster: Cluster,
    place: ConfigMapFile,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig_of_user("mallory")))
    for main in (
        lambda: rollout.main(["rollback", "--kubernetes"]),
        lambda: rollout.main(["status", "--kubernetes"]),
        lambda: command.main(["local"]),
    ):
        assert main() == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert 'User "mallory" cannot get resource' in line
        assert "Ask an administrator" in line


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("https://127.0.0.1:1", "was refused"),
        ("https://nowhere.invalid:6443", "no such host|server misbehaving|Temporary failure"),
    ],
)
def test_no_cluster_is_said_in_one_line(
    server: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cluster: Cluster,
) -> None:
    text = yaml.safe_load(cluster.kubeconfig.read_text())
    text["clusters"][0]["cluster"]["server"] = server
    (tmp_path / "config").write_text(yaml.safe_dump(text))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    assert rollout.main(["rollback", "--kubernetes"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Expected a Kubernetes cluster to answer" in line
    assert "kubectl config get-contexts" in line
    with pytest.raises(NoClusterError, match=said):
        Kubectl().get("configmap", CONFIG)


def test_no_kubeconfig_and_no_such_context_are_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["local", "--context=nope"]) == 2
    assert 'context "nope" does not exist' in capsys.readouterr().err
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    assert command.main(["local"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Expected a Kubernetes cluster to answer" in line


def test_a_namespace_without_the_manifests_is_told_to_apply_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for verb in ("status", "rollback"):
        assert rollout.main([verb, "--kubernetes", "--namespace=default"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "Received: none. Apply an overlay first" in line
    with pytest.raises(NotFoundError):
        ConfigMapFile(Kubectl(namespace="nowhere")).read()


# --- manifests -----------------------------------------------------------------------------------


def test_a_wrong_overlay_names_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["stagin"]) == 2
    assert capsys.readouterr().err == (
        "python -m serving.cluster: error: Expected one of the overlays of k8s/overlays: "
        "example, local, production, staging, or a folder with a kustomization.yaml. "
        "Received: stagin. Did you mean staging?\n"
    )


@pytest.mark.parametrize("name", renders.overlays())
def test_the_api_server_takes_every_overlay_and_a_dry_run_leaves_nothing(
    name: str, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    _remove_namespace(cluster)
    assert command.main([name, "--dry-run"]) == 0, capsys.readouterr().err
    assert "The cluster would take all" in capsys.readouterr().out
    assert cluster.run("get", "namespace", NAMESPACE).returncode != 0


def test_the_api_server_takes_each_component_and_all_together(cluster: Cluster) -> None:
    """By the real schemas of the custom resources, where those of tests/manifests are our own."""
    cluster.kubectl("apply", "--server-side", "--kustomize", str(ROOT / "k8s" / "base"))
    together = [one for one in renders.ORDER if one not in ("model-store-s3", "model-store-gcs")]
    chosen = [renders.alone(name) for name in renders.ORDER] + [tuple(together)]
    stands = tools.make()
    for combination in chosen:
        documents = renders.render_combination(stands, combination)
        done = cluster.run(
            *("apply", "--server-side", "--dry-run=server", "--force-conflicts", "--filename=-"),
            stdin=yaml.safe_dump_all(documents),
        )
        assert done.returncode == 0, (combination, done.stderr)
        assert "Warning" not in done.stderr, (combination, done.stderr)


def _overlay(folder: Path, patch: str) -> Path:
    folder.mkdir()
    base = os.path.relpath(ROOT / "k8s" / "base", folder)
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [base],
        "patches": [{"target": {"kind": "Deployment"}, "patch": patch}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        (
            "- {op: add, path: /spec/template/spec/hostNetwork, value: true}",
            'violate PodSecurity "restricted:latest": host namespaces',
        ),
        (
            "- {op: replace, path: /spec/strategy/rollingUpdate/maxSurge, value: 0}",
            "may not be 0 when `maxSurge` is 0",
        ),
    ],
)
def test_what_the_server_refuses_is_not_half_applied(
    patch: str, said: str, cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _remove_namespace(cluster)
    folder = _overlay(tmp_path / "mine", patch)
    assert command.main([str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert cluster.run("get", "namespace", NAMESPACE).returncode != 0, "not even the namespace"


def test_kinds_that_the_cluster_does_not_know_are_named(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    crds.remove(cluster, "certificates.cert-manager.io")
    try:
        assert command.main(["staging"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search(r"Received: no [Cc]ertificates?\.?[ \w.-]*cert-manager\.io", line)
        assert "Install what brings them" in line
    finally:
        crds.install(cluster)


def test_an_apply_never_takes_a_promotion_back(
    cluster: Cluster, place: ConfigMapFile, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write(moved(place, stable=2))
    assert command.main(["local", "--no-wait"]) == 0, capsys.readouterr().err
    said = capsys.readouterr().err
    assert "models.config stays as the cluster has it" in said
    assert ConfigMapFile(Kubectl()).read() == models_config.parse(place.text)
    assert command.main(["local", "--no-wait"]) == 0, "nor is the next one in conflict"


def test_a_field_that_somebody_has_set_is_not_taken_over_silently(
    cluster: Cluster, applied: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["local", "--no-wait"]) == 0, capsys.readouterr().err
    cluster.kubectl(
        *("set", "env", "deployment/image-classifier", f"--namespace={NAMESPACE}"),
        "TF_CPP_MIN_LOG_LEVEL=0",
    )
    assert command.main(["local", "--no-wait"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert 'conflict with "kubectl-set"' in last
    assert "ARGS=--force-conflicts" in last
    assert command.main(["local", "--no-wait", "--force-conflicts"]) == 0
    found = _env(cluster)
    assert found["TF_CPP_MIN_LOG_LEVEL"] == "1"


def _env(cluster: Cluster) -> dict[str, Any]:
    found = cluster.get("deployment", "image-classifier", f"--namespace={NAMESPACE}")
    container = found["spec"]["template"]["spec"]["containers"][0]
    return {one["name"]: one.get("value") for one in container["env"]}


def _remove_namespace(cluster: Cluster) -> None:
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout_s=120)
