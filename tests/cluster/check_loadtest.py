"""The component `loadtest` on a real node: master and workers as Jobs, in pods of their own.

    python -m pytest tests/cluster/check_loadtest.py       six minutes

Two pods serve a version trained on the sample set. The component is that of k8s/components, with
fewer users, seconds and requested cores, so that it fits two cores and a test.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.container.engine import IMAGE
from tests.cluster import server_image, serving_fleet
from tests.cluster.cluster import Cluster
from tests.cluster.places import RUN
from tests.cluster.processes import wait_until
from tests.cluster.serving_fleet import NAMESPACE, Person
from tests.container.stand_in import TOOLS
from tests.environments import ROOT, UnavailableError

SERVERS = 2

WORKERS = 2

MASTER, WORKER = "loadtest-master", "loadtest-worker"

END_S = 240.0
"""Reading the sample pictures, in each of three processes on two cores, is most of it."""

SMALLER = """\
- {op: replace, path: /spec/template/spec/containers/0/resources/requests/cpu, value: 50m}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        archives = [server_image.archive(image) for image in (IMAGE, TOOLS)]
        with Cluster(dns_ttl_s=5) as running:
            for archive in archives:
                running.load_image(archive)
            yield running
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def fleet(
    cluster: Cluster,
    administrator: Person,
    store: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The servers, ready; returns their overlay."""
    volume = tmp_path_factory.mktemp("volume") / "models"
    shutil.copytree(store, volume)
    serving_fleet.provide_store(cluster, serving_fleet.readable(volume))
    folder = serving_fleet.overlay("fleet", pods=SERVERS)
    ran = administrator.run("serving.cluster", str(folder), timeout_s=600)
    assert ran.code == 0, ran.err
    return folder


@pytest.fixture
def load(
    cluster: Cluster, administrator: Person, fleet: Path
) -> Iterator[Callable[[dict[str, str]], None]]:
    """Applies the component, with some of the master's flags otherwise; removes its Jobs after."""

    def apply(flags: dict[str, str]) -> None:
        ran = administrator.run("serving.cluster", str(_with_loadtest(fleet, flags)))
        assert ran.code == 0, ran.err

    try:
        yield apply
    finally:
        cluster.kubectl("delete", "job", MASTER, WORKER, f"--namespace={NAMESPACE}")


def _with_loadtest(fleet: Path, flags: dict[str, str]) -> Path:
    """An overlay on the fleet's, as a user would write it."""
    folder = RUN / "overlays" / "loadtest"
    folder.mkdir(parents=True, exist_ok=True)
    component = ROOT / "k8s" / "components" / "loadtest"
    jobs = yaml.safe_load_all((component / "master.yaml").read_text("utf-8"))
    (args,) = (
        one["spec"]["template"]["spec"]["containers"][0]["args"]
        for one in jobs
        if one["kind"] == "Job"
    )
    split = [argument.partition("=") for argument in args]
    new = [f"{name}={flags.get(name, value)}" for name, _, value in split]
    assert new != args
    changed = SMALLER + (
        "- {op: replace, path: /spec/template/spec/containers/0/args, value: "
        f"[{', '.join(new)}]}}\n"
    )
    content: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(fleet, folder)],
        "components": [os.path.relpath(component, folder)],
        "patches": [
            {"target": {"kind": "Job", "name": MASTER}, "patch": changed},
            {"target": {"kind": "Job", "name": WORKER}, "patch": SMALLER},
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def until(what: str, holds: Callable[[], bool]) -> None:
    wait_until(what, holds, deadline_s=END_S, pause_s=1)


def status(cluster: Cluster, job: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("job", job, f"--namespace={NAMESPACE}")["status"]
    return found


def pods(cluster: Cluster, job: str, phase: str) -> list[str]:
    selector = f"--selector=batch.kubernetes.io/job-name={job}"
    found = cluster.get("pods", f"--namespace={NAMESPACE}", selector)["items"]
    return [one["metadata"]["name"] for one in found if one["status"]["phase"] == phase]


def log(cluster: Cluster) -> str:
    return cluster.kubectl("logs", f"job/{MASTER}", f"--namespace={NAMESPACE}")


def figures(said: str) -> dict[str, str]:
    """The master's last lines: a figure each."""
    return dict(re.findall(r"^  (\w+) +(\S+)", said, re.MULTILINE))


def asked(cluster: Cluster) -> list[int]:
    """Predictions that each of the servers has counted."""
    names = sorted(pod["metadata"]["name"] for pod in serving_fleet.pods(cluster))
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{{}}:8501/proxy/monitoring/prometheus/metrics"
    pages = [cluster.kubectl("get", "--raw", path.format(name)) for name in names]
    # Not request_count: probes over REST are in it.
    latency = r'request_latency_count\{[^}]*API="Predict"[^}]*\} (\d+)'
    counts = [re.findall(latency, page) for page in pages]
    return [sum(map(int, count)) for count in counts]


def conditions(cluster: Cluster, job: str) -> set[str]:
    return {one["type"] for one in status(cluster, job).get("conditions", ())}


def test_master_and_workers_in_pods_of_their_own_measure_all_servers(
    cluster: Cluster, load: Callable[[dict[str, str]], None]
) -> None:
    before = asked(cluster)
    load({"--users": "8", "--duration-s": "10"})
    until("the master's end", lambda: status(cluster, MASTER).get("succeeded") == 1)
    until("the workers' end", lambda: status(cluster, WORKER).get("succeeded") == WORKERS)
    found = figures(log(cluster))
    assert int(found["requests"]) > 100
    assert (found["failures"], found["users"], found["finished"]) == ("0", "8", "True")
    assert "failed" not in status(cluster, WORKER)
    own = [after - one for one, after in zip(before, asked(cluster), strict=True)]
    assert len(own) == SERVERS
    assert min(own) > 20
    assert sum(own) >= int(found["requests"])


@pytest.mark.parametrize("how", ["deleted", "container killed"])
def test_a_worker_pod_that_dies_leaves_the_rest_marked_as_partial(
    cluster: Cluster, load: Callable[[dict[str, str]], None], how: str
) -> None:
    """Locust gives its users to the other workers, and to the pod that replaces it."""
    before = sum(asked(cluster))
    load({"--users": "8", "--duration-s": "40"})
    until("requests at the servers", lambda: sum(asked(cluster)) > before + 20)
    victim = pods(cluster, WORKER, "Running")[0]
    if how == "deleted":
        cluster.kubectl("delete", "pod", victim, f"--namespace={NAMESPACE}", "--wait=false")
    else:
        cluster.kill_container(victim, NAMESPACE)
    until(
        "the master's verdict", lambda: bool(conditions(cluster, MASTER) & {"Complete", "Failed"})
    )
    said = log(cluster)
    assert "Failed" in conditions(cluster, MASTER), said
    found = figures(said)
    # Three if the pod that replaced it had time to begin.
    assert re.search(r"1 of [23] workers ended in the middle: number [01];", said), said
    assert int(found["requests"]) > 100
    assert found["finished"] == "False"
