"""A real Prometheus reads a running server and a running client, by the files as they are.

Skipped where there is no `prometheus`; serving/monitoring/README.md says where to get one.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from serving.rollout.states import State
from serving.rollout.status import traffic
from serving.rollout.status.prometheus import Prometheus as AskedByStatus
from tests import tiny_models
from tests.integration.local_server_fixtures import (
    ROOT,
    RunningServer,
    eventually,
    line_config,
    running_server,
    save_line,
)
from tests.unit.deployment.test_monitoring_files import dashboard_queries, load, names_in, tool
from tfs_client import Client
from tfs_client.answers import ImagePrediction
from tfs_client.observers.prometheus import Metrics

LABELS = {"stable": 1, "canary": 2}

WARMUP = (
    'model_spec { name: "line" } inputs { key: "%s" value '
    "{ dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 2 } }"
)

FLAGS = (
    f"--monitoring_config_file={ROOT / 'serving' / 'monitoring.config'}",
    "--allow_version_labels_for_unavailable_models=true",
    "--enable_batching=true",
    "--max_num_load_retries=1",
    "--load_retry_interval_micros=0",
)


class Prometheus:
    """Asks a running Prometheus."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **values: str) -> Any:
        """The data of an answer of its API; fails where it is an error."""
        query = urllib.parse.urlencode(values)
        with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{query}", timeout=20) as answer:
            return json.load(answer)["data"]

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/-/ready", timeout=20) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def active(self, state: str) -> set[tuple[str, str]]:
        """(alert, model_path) of those in a state: pending or firing."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("model_path", ""))
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == state
        }

    def unhealthy(self) -> dict[str, str]:
        """Rules that have not been evaluated, or not without an error."""
        groups = self.ask("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert rules
        return {
            rule["name"]: rule.get("lastError", rule["health"])
            for rule in rules
            if rule["health"] != "ok"
        }


@pytest.fixture(scope="module")
def program() -> str:
    return tool("prometheus")


@pytest.fixture(scope="module")
def server(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Serves versions 1 and 2; 3 cannot be loaded, and the warm-up of 4 fails."""
    folder = tmp_path_factory.mktemp("alerts")
    model = folder / "models" / "line"
    first = save_line(model / "1", 1.0)
    for version in (2, 3, 4):
        shutil.copytree(first, model / str(version))
    shutil.rmtree(model / "3" / "variables")
    tiny_models.add_warmup(model / "1", WARMUP % "x")
    tiny_models.add_warmup(model / "4", WARMUP % "no such input")
    config = line_config("specific { versions: 1 versions: 2 }", LABELS)
    with running_server(folder, *FLAGS, config=config) as running:
        running.wait_loaded(1, 2)
        yield running


@pytest.fixture(scope="module")
def callers(server: RunningServer) -> Iterator[tuple[int, Callable[[], None]]]:
    """The port of a client's metrics, and what has it call the server once by each label."""
    registry = CollectorRegistry()
    observer = Metrics(registry)
    page, thread = start_http_server(0, "127.0.0.1", registry)
    client = Client(f"127.0.0.1:{server.ports['grpc']}", observers=[observer])

    def call() -> None:
        for label, version in LABELS.items():
            client.predict({"x": [2.0]}, model="line", label=label)
            # What an image classifier would tell; the tiny model is none.
            image = ImagePrediction(
                label="a",
                probability=0.7,
                needs_review=False,
                valid=True,
                model_version=version,
                latency_s=0.01,
            )
            observer.images_answered("line", label, [image])
        assert server.rest("POST", "/v1/models/line:predict", '{"instances": [1.0]}')[0] == 200

    with client:
        yield page.server_port, call
    page.shutdown()
    page.server_close()
    thread.join()


@pytest.fixture(scope="module")
def prometheus(
    program: str,
    server: RunningServer,
    callers: tuple[int, Callable[[], None]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    write_configuration(folder, server.ports["rest"], callers[0])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    log = folder / "prometheus.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
    try:
        running = Prometheus(port)
        eventually(lambda: running.ready() or process.poll() is not None, "Prometheus is ready")
        assert process.poll() is None, log.read_text()
        yield running
    finally:
        process.terminate()
        process.wait(timeout=20)


def write_configuration(folder: Path, server_port: int, callers_port: int) -> None:
    """The configuration and the rules as they are, but for addresses and shorter times."""
    config, rules = load("prometheus.yml"), load("rules.yaml")
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{server_port}"]}]
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if "for" in rule:
            rule["for"] = "2s"
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    (folder / "targets").mkdir()
    targets = [{"targets": [f"127.0.0.1:{callers_port}"]}]
    (folder / "targets" / "callers-test.yaml").write_text(yaml.safe_dump(targets))


@pytest.fixture(scope="module")
def watched(prometheus: Prometheus, callers: tuple[int, Callable[[], None]]) -> Prometheus:
    """Prometheus when it has read both pages, with calls between one time and the next."""

    def targets() -> list[tuple[str, str]]:
        found = prometheus.ask("targets")["activeTargets"]
        return sorted((one["labels"]["job"], one["health"]) for one in found)

    expected = [("callers", "up"), ("tensorflow-serving", "up")]
    eventually(lambda: targets() == expected, "both pages are read")
    for _ in range(4):
        callers[1]()
        time.sleep(1)  # the time between two scrapes, so that there is a rate
    return prometheus


# A machine that is busy with other tests may well be slow.
OF_TIME = {"TfServingLatencyFast", "TfServingLatencySteady", "TfServingLatencySlow"} | {
    "TfServingQueueSlow"
}


@pytest.fixture(scope="module")
def calm(watched: Prometheus) -> str:
    """What is wrong with a server in order, looked at before any test breaks something."""

    def raised() -> set[str]:
        active = watched.active("pending") | watched.active("firing")
        return {name for name, _ in active} - OF_TIME

    try:
        # before the first scrape the server was absent
        eventually(lambda: not raised(), "no alert")
        eventually(lambda: not watched.unhealthy(), "every rule is evaluated")
    except AssertionError as late:
        return f"{late}: {raised()}"
    return ""


def test_a_server_in_order_raises_no_alert_and_every_rule_can_be_evaluated(calm: str) -> None:
    assert calm == ""


@pytest.mark.usefixtures("calm")
def test_a_version_that_cannot_be_loaded_raises_its_alert_and_one_that_fails_to_warm_up_another(
    watched: Prometheus, server: RunningServer
) -> None:
    everything = " ".join(f"versions: {version}" for version in (1, 2, 3, 4))
    server.reload(line_config(f"specific {{ {everything} }}", LABELS))
    eventually(lambda: server.states().get(3) == server.states().get(4) == "END", "3 and 4 end")

    expected = {
        ("TfServingLoadFailed", "/models/line/3"),
        ("TfServingLoadedAgain", "/models/line/4"),
    }
    eventually(lambda: expected <= watched.active("firing"), f"{expected} fire", 30)

    firing = {one for one in watched.active("firing") if one[0] not in OF_TIME}
    assert firing == expected
    assert server.line('version_label: "stable"') == [2.0]  # and callers notice nothing
    (found,) = (
        alert["annotations"]
        for alert in watched.ask("alerts")["alerts"]
        if alert["labels"]["alertname"] == "TfServingLoadFailed"
    )
    target = f"127.0.0.1:{server.ports['rest']}"
    assert found["summary"] == f"/models/line/3 cannot be loaded at {target} (tensorflow-serving)"
    links = load("rules.yaml")["groups"][0]["rules"][0]["labels"]
    assert found["runbook_url"] == f"{links['runbook']}#tfservingloadfailed"
    assert found["dashboard_url"] == links["dashboard"]


def test_the_rollouts_status_finds_the_traffic_of_both_versions(watched: Prometheus) -> None:
    state = State(versions=(1, 2), labels=LABELS)
    asked = AskedByStatus(watched.address)
    found = traffic.look(asked, model="line", namespace="", state=state, window_s=300)

    assert [(row.version, row.labels) for row in found.versions] == [
        (1, ("stable",)),
        (2, ("canary",)),
    ]
    for row in found.versions:
        assert row.share == pytest.approx(0.5, abs=0.2)
        assert row.errors == 0
        assert row.p50_ms is not None
        assert row.p95_ms is not None
        assert 0 < row.p50_ms <= row.p95_ms < 10_000
    assert found.servers is not None
    assert found.servers.per_s > sum(row.per_s for row in found.versions)  # and those by REST
    assert found.servers.p50_ms is not None
    assert 0 < found.servers.p50_ms < 10_000
    assert found.notes == ()


def test_every_query_of_the_dashboard_finds_something_where_there_is_something(
    watched: Prometheus,
) -> None:
    answers = {
        place: watched.ask("query", query=query)["result"]
        for place, query in dashboard_queries().items()
    }

    nothing = {place for place, found in answers.items() if not found}
    queries = dashboard_queries()
    of_others = {
        place
        for place, query in queries.items()
        if any(name.startswith(("DCGM_", "kube_", "ALERTS")) for name in names_in(query))
    }
    # nothing fell back, no attempt failed; of the loads that failed another test tells
    assert nothing - of_others <= {
        "Attempts that fail, as callers see it A",
        "Attempts that fail, as callers see it B",
        "Loads that failed A",
    }
    for place in answers.keys() - nothing:
        assert all(one["value"][1] != "NaN" for one in answers[place]), place
