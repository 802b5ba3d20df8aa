"""k8s/ on a real node: verbs, propagation, draining, and what goes wrong, under load.

    python -m pytest tests/cluster/check_rollouts.py       a quarter of an hour

Three pods of the server image serve a store from a volume; callers reach them in turn by the
headless Service's name. Most of the time passes in preStop and in the kubelet's sync period.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foundation.figures import Figures
from serving.cluster.config_map import CONFIG
from serving.cluster.lease import LEASE_S
from serving.container.engine import IMAGE
from tests.cluster import server_image, serving_fleet
from tests.cluster.cluster import Cluster
from tests.cluster.serving_fleet import NAMESPACE, PODS, Person
from tests.environments import UnavailableError

POLL_S = 2.0
"""--model_config_file_poll_wait_seconds."""

ROLLBACKS = 5

SLOW_ROLLBACKS = 2

NEXT = "example.test/serving:next"
"""The server image under another tag: to a Deployment, another image."""

HURRIED = "- {op: replace, path: /spec/progressDeadlineSeconds, value: 25}\n"


@pytest.fixture(scope="module")
def figures() -> Iterator[Figures]:
    found = Figures("cluster", command="make test-cluster")
    yield found
    found.write()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        image = server_image.archive()
        with Cluster(dns_ttl_s=30) as running:
            running.load_image(image)
            running.tag_image(f"docker.io/{IMAGE}", NEXT)
            yield running
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return serving_fleet.save_store(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def overlay(cluster: Cluster, administrator: Person, store: Path) -> Path:
    """The fleet, applied by the command and ready."""
    serving_fleet.provide_store(cluster, store)
    folder = serving_fleet.overlay("fleet")
    ran = administrator.run("serving.cluster", str(folder))
    assert ran.code == 0, ran.err
    assert f"image-classifier: {PODS} of {PODS} pods are ready" in ran.out
    return folder


@pytest.fixture(scope="module")
def operator(cluster: Cluster, overlay: Path) -> Person:
    """A user in the group of operators, with no other right."""
    return Person(cluster, cluster.kubeconfig_of_user("olga", ["image-classifier-operators"]))


@pytest.fixture
def settled(cluster: Cluster, operator: Person) -> None:
    """Versions 1 and 2 in all pods, 1 stable, 2 on trial."""
    if serving_fleet.labels(serving_fleet.config_map(cluster)).get("stable") != 1:
        assert operator.rollout("rollback", "--to", "1").code == 0
    ran = operator.rollout("canary", "2")
    assert ran.code == 0, ran.err


def test_status_asks_every_pod(cluster: Cluster, operator: Person) -> None:
    ran = operator.rollout("status", "--json")
    assert ran.code == 0, ran.out + ran.err
    told = json.loads(ran.out)
    names = {pod["metadata"]["name"] for pod in serving_fleet.pods(cluster)}
    assert {server["address"] for server in told["servers"]} == names
    assert len(names) == PODS
    assert told["config"] == f"ConfigMap {NAMESPACE}/{CONFIG}"


def test_labels_move_in_all_pods_and_no_request_is_lost(
    cluster: Cluster, operator: Person, figures: Figures, tmp_path: Path, settled: None
) -> None:
    rollbacks = []
    with serving_fleet.callers(cluster, tmp_path, retry=False) as heard:
        for verb in [["promote"], ["rollback"], ["canary", "2"]] * ROLLBACKS:
            with Propagation(cluster) as propagation:
                ran = operator.rollout(*verb)
            assert ran.code == 0, ran.err
            if verb == ["rollback"]:
                rollbacks.append((ran, propagation.seconds))
    figures.add("moves.requests", len(heard.rows), "requests", at_least=100)
    figures.add("moves.failed", heard.failed, "requests", at_most=0)
    assert heard.failed == 0, heard.errors
    _held(figures, "rollback", heard, rollbacks)


def test_without_the_right_to_hurry_a_rollback_waits_for_the_kubelet(
    cluster: Cluster, operator: Person, figures: Figures, tmp_path: Path, settled: None
) -> None:
    rollbacks = []
    with serving_fleet.callers(cluster, tmp_path, retry=False) as heard:
        for verb in [["promote"], ["rollback"], ["canary", "2"]] * SLOW_ROLLBACKS:
            may = ("get", "list") if verb == ["rollback"] else ("get", "list", "patch")
            _let_operators(cluster, *may)
            with Propagation(cluster) as propagation:
                ran = operator.rollout(*verb, timeout_s=300)
            assert ran.code == 0, ran.err
            if verb == ["rollback"]:
                assert "within about 90 s" in ran.err
                rollbacks.append((ran, propagation.seconds))
    figures.add("moves.unhurried.failed", heard.failed, "requests", at_most=0)
    assert heard.failed == 0, heard.errors
    _held(figures, "rollback.unhurried", heard, rollbacks)


def test_pods_are_replaced_one_by_one_and_no_request_is_lost(
    cluster: Cluster, administrator: Person, figures: Figures, tmp_path: Path, overlay: Path
) -> None:
    before = {pod["metadata"]["name"] for pod in serving_fleet.pods(cluster)}
    folder = serving_fleet.overlay("next", image=NEXT)
    with serving_fleet.callers(cluster, tmp_path, retry=False) as heard:
        began = time.monotonic()
        ran = administrator.run("serving.cluster", str(folder), timeout_s=600)
        assert ran.code == 0, ran.err
        _until_gone(cluster, before)
        took = time.monotonic() - began
        time.sleep(5)
    after = {pod["metadata"]["name"] for pod in serving_fleet.pods(cluster)}
    assert len(after) == PODS
    assert not before & after
    figures.add("replaced.seconds", took, "s")
    figures.add("replaced.requests", len(heard.rows), "requests", at_least=100)
    figures.add("replaced.failed", heard.failed, "requests", at_most=0)
    assert heard.failed == 0, heard.errors


@pytest.mark.parametrize("how", ["deleted at once", "container killed"])
def test_a_killed_pod_costs_no_request_of_who_retries(
    how: str,
    cluster: Cluster,
    administrator: Person,
    figures: Figures,
    tmp_path: Path,
    overlay: Path,
) -> None:
    victim = serving_fleet.pods(cluster)[0]["metadata"]["name"]
    with serving_fleet.callers(cluster, tmp_path, retry=True) as heard:
        time.sleep(3)
        if how == "deleted at once":
            cluster.kubectl(
                *("delete", "pod", victim, f"--namespace={NAMESPACE}"),
                "--grace-period=0",
                "--force",
            )
        else:
            cluster.kill_container(victim, NAMESPACE)
        time.sleep(20)
    name = how.replace(" ", "_")
    figures.add(f"{name}.requests", len(heard.rows), "requests", at_least=100)
    figures.add(f"{name}.failed", heard.failed, "requests", at_most=0)
    assert heard.failed == 0, heard.errors
    assert (
        administrator.run("serving.cluster", str(serving_fleet.overlay("next", image=NEXT))).code
        == 0
    )


def test_an_image_that_does_not_start_is_rolled_back_while_the_old_pods_serve(
    cluster: Cluster, administrator: Person, figures: Figures, tmp_path: Path, overlay: Path
) -> None:
    before = {pod["metadata"]["name"] for pod in serving_fleet.pods(cluster)}
    folder = serving_fleet.overlay("wrong", image="example.test/serving:missing", patches=HURRIED)
    with serving_fleet.callers(cluster, tmp_path, retry=False) as heard:
        ran = administrator.run("serving.cluster", str(folder))
    assert ran.code == 1
    last = ran.err.splitlines()[-1]
    assert "no progress for 25 s with example.test/serving:missing (" in last
    assert "model-server: ErrImagePull" in last or "model-server: ImagePullBackOff" in last
    assert "Rolled back: revision" in last
    assert {pod["metadata"]["name"] for pod in serving_fleet.pods(cluster)} == before
    figures.add("wrong_image.failed", heard.failed, "requests", at_most=0)
    assert heard.failed == 0, heard.errors
    again = administrator.run("serving.cluster", str(serving_fleet.overlay("next", image=NEXT)))
    assert again.code == 0, "what the undo has set is nobody's to quarrel about"


def test_a_missing_gpu_node_is_named_and_rolled_back(
    cluster: Cluster, administrator: Person, overlay: Path
) -> None:
    folder = serving_fleet.overlay("gpu", components=("gpu", "model-store-pvc"), patches=HURRIED)
    ran = administrator.run("serving.cluster", str(folder))
    assert ran.code == 1
    last = ran.err.splitlines()[-1]
    assert "Unschedulable: 0/1 nodes are available" in last
    assert "Rolled back: revision" in last
    assert len(serving_fleet.pods(cluster)) == PODS


def test_an_empty_store_is_told_and_there_is_nothing_to_go_back_to(
    cluster: Cluster, administrator: Person, overlay: Path
) -> None:
    folder = serving_fleet.overlay(
        "empty", components=(), pods=1, namespace="empty-store", patches=HURRIED
    )
    ran = administrator.run("serving.cluster", str(folder))
    assert ran.code == 1
    last = ran.err.splitlines()[-1]
    assert "has not passed its startup probe yet" in last
    assert "It is the first rollout: there is nothing to go back to" in last
    verb = administrator.rollout("rollback", "--to=1", "--namespace=empty-store", "--timeout-s=5")
    assert verb.code == 2
    cluster.kubectl("delete", "namespace", "empty-store", "--wait=false")


def test_a_version_that_is_not_in_the_store_is_told_and_undone(
    cluster: Cluster, operator: Person, settled: None
) -> None:
    before = serving_fleet.labels(serving_fleet.config_map(cluster))
    ran = operator.rollout("canary", "9", "--timeout-s=8")
    assert ran.code == 1
    assert "version 9 is unknown to it" in ran.err
    assert "at every server" in ran.err.splitlines()[-1]
    assert serving_fleet.labels(serving_fleet.config_map(cluster)) == before


def test_an_edit_by_somebody_else_meanwhile_stops_the_verb_and_stays(
    cluster: Cluster, operator: Person, settled: None
) -> None:
    """While the verb waits for a version that does not come."""
    edited = serving_fleet.config_map(cluster) + "# by hand\n"
    running = operator.start(
        *("serving.rollout", "canary", "9", "--kubernetes", "--force", "--why=x", "--timeout-s=20")
    )
    try:
        _until(lambda: "versions: 9" in serving_fleet.config_map(cluster))
        patch = json.dumps({"data": {"models.config": edited}})
        cluster.kubectl(
            *("patch", "configmap", CONFIG, f"--namespace={NAMESPACE}", "--type=merge"),
            f"--patch={patch}",
        )
        _, err = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == 1, err
    assert "Somebody edits it" in err.splitlines()[-1]
    assert "Nothing was undone, so that no edit is lost" in err.splitlines()[-1]
    assert serving_fleet.config_map(cluster) == edited
    ran = operator.rollout("status")
    assert ran.code == 0, ran.out


def test_a_killed_promotion_is_seen_to_by_the_next_command(
    cluster: Cluster, operator: Person, settled: None
) -> None:
    running = operator.start("serving.rollout", "promote", "--kubernetes")
    _until(lambda: serving_fleet.labels(serving_fleet.config_map(cluster))["stable"] == 2)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    busy = operator.rollout("rollback")
    assert busy.code == 2
    assert "runs promote since" in busy.err
    time.sleep(LEASE_S)
    ran = operator.rollout("rollback")
    assert ran.code == 0, ran.err
    assert serving_fleet.labels(serving_fleet.config_map(cluster))["stable"] == 1
    assert operator.rollout("status").code == 0


def test_who_has_no_rights_is_told_so(cluster: Cluster, overlay: Path) -> None:
    mallory = Person(cluster, cluster.kubeconfig_of_user("mallory"))
    for ran in (mallory.rollout("rollback"), mallory.run("serving.cluster", str(overlay))):
        assert ran.code == 2
        (line,) = ran.err.splitlines()
        assert 'User "mallory" cannot get resource' in line


def test_every_make_target_reaches_the_cluster(administrator: Person, overlay: Path) -> None:
    """`make k8s-status`, as it is documented."""
    ran = administrator.make("k8s-status")
    assert ran.code == 0, ran.err
    assert "as the file" in ran.out


# --- measuring ----------------------------------------------------------------------------------


class Propagation:
    """Watches the ConfigMap on its way into the pods, while a command writes it once.

    Attributes:
        seconds: from the write, as the API server tells those who watch it, until the last pod's
            file is another one.
    """

    def __init__(self, cluster: Cluster):
        self._cluster = cluster
        self._files = serving_fleet.files(cluster)
        self.seconds = 0.0

    def __enter__(self) -> Propagation:
        assert len(self._files) == PODS
        before = serving_fleet.config_map(self._cluster)
        self._stop = threading.Event()
        self._written: list[float] = []
        self._changed: dict[Path, float] = {}
        command = self._cluster.command(
            *("get", "configmap", CONFIG, f"--namespace={NAMESPACE}", "--watch-only"),
            "--output=jsonpath={.metadata.resourceVersion}{'\\n'}",
        )
        self._watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._threads = [
            threading.Thread(target=self._hear),
            threading.Thread(target=self._look, args=(before,)),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._watch.kill()
        for thread in self._threads:
            thread.join()
        assert self._watch.stdout is not None
        self._watch.stdout.close()
        self._watch.wait()
        if self._written and len(self._changed) == PODS:
            self.seconds = max(self._changed.values()) - self._written[0]

    def _hear(self) -> None:
        assert self._watch.stdout is not None
        for _ in self._watch.stdout:
            self._written.append(time.monotonic())

    def _look(self, before: str) -> None:
        while not self._stop.wait(0.02):
            for path in self._files:
                if path not in self._changed and path.read_text() != before:
                    self._changed[path] = time.monotonic()


def _held(
    figures: Figures,
    name: str,
    heard: serving_fleet.Heard,
    rollbacks: list[tuple[serving_fleet.Ran, float]],
) -> None:
    """The last bad answer comes within the ConfigMap's propagation, the polling, and a second."""
    propagation = [seconds for _, seconds in rollbacks]
    lasts = [heard.last(2, ran) for ran, _ in rollbacks]
    over = [last - seconds - POLL_S for last, seconds in zip(lasts, propagation)]
    figures.add(f"{name}.propagation.max", max(propagation), "s")
    figures.add(f"{name}.last_bad_answer.max", max(lasts), "s")
    figures.add(f"{name}.last_bad_answer.beyond_propagation_and_polling", max(over), "s", at_most=1)
    assert min(propagation) > 0, "the ConfigMap was seen on its way"
    assert min(lasts) > 0
    assert max(over) <= 1


def _until(ready: Callable[[], bool], deadline_s: float = 60.0) -> None:
    end = time.monotonic() + deadline_s
    pause = threading.Event()
    while not ready():
        assert time.monotonic() < end, "it did not come about"
        pause.wait(0.05)


def _until_gone(cluster: Cluster, names: set[str]) -> None:
    def gone() -> bool:
        listed = cluster.get("pods", f"--namespace={NAMESPACE}")["items"]
        return not names & {pod["metadata"]["name"] for pod in listed}

    _until(gone, deadline_s=240)


def _let_operators(cluster: Cluster, *verbs: str) -> None:
    """Changes what operators may do to pods."""
    patch = [{"op": "replace", "path": "/rules/2/verbs", "value": verbs}]
    cluster.kubectl(
        *("patch", "role", "image-classifier-operators", f"--namespace={NAMESPACE}"),
        *("--type=json", f"--patch={json.dumps(patch)}"),
    )
