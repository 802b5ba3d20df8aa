"""`status --traffic` against a real Prometheus with samples whose figures are known.

tests/integration/deployment/test_alerts.py asks one that scrapes a running server and its callers.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.rollout.states import State
from serving.rollout.status import traffic
from serving.rollout.status.prometheus import Prometheus
from serving.rollout.status.traffic import Row, Traffic
from tests.integration.line_server import LineServer, config
from tests.integration.rollout.rollout_fixtures import HEADER, Operator
from tests.ports import free_port
from tests.unit.deployment.test_monitoring_files import tool
from tests.waiting import eventually

STATE = State(versions=(1, 2), labels={"stable": 1, "canary": 2})
QUICK = {"0.005": 0.5, "0.01": 0.95, "0.025": 1.0}
"""Upper end of a bucket, in seconds → share of the calls up to it: p50 is 5 ms, p95 10 ms."""
SLOW = {"0.01": 0.5, "0.1": 0.95, "0.25": 1.0}


class Samples:
    """Series that have grown evenly for seven minutes, as OpenMetrics writes them."""

    def __init__(self) -> None:
        now = int(time.time())
        self._times = range(now - 420, now + 1, 15)
        self._lines: list[str] = []

    def add(self, metric: str, per_s: float, **labels: str) -> None:
        """A counter that grows by so much a second."""
        told = ",".join(f"{key}={json.dumps(text)}" for key, text in labels.items())
        for at in self._times:
            grown = per_s * (at - self._times[0])
            self._lines.append(f"{metric}{{{told}}} {grown:.6f} {at}")

    def answered(
        self, per_s: float, shares: dict[str, float], *, start: str = "0", **labels: str
    ) -> None:
        """What a caller counts of calls that were answered."""
        labels = {"method": "Predict", "instance": f"c:{start}", **labels}
        name = "tfs_client_request_seconds"
        self.add(f"{name}_count", per_s, **labels)
        for end, share in {**shares, "+Inf": 1.0}.items():
            self.add(f"{name}_bucket", per_s * share, le=end, **labels)

    def ended(self, per_s: float, code: str, **labels: str) -> None:
        """What a caller counts of calls, answered or not."""
        self.add("tfs_client_requests_total", per_s, method="Predict", code=code, **labels)

    def text(self) -> str:
        # The samples of a series have to follow each other, and they do.
        return "\n".join([*self._lines, "# EOF", ""])


def written() -> str:
    """Some models, each with a case of its own."""
    new = Samples()
    of = {"model": "line"}
    # Of stable two callers, scraped by two jobs: several series for a version.
    new.answered(4, QUICK, start="1", job="a", version="1", label="stable", **of)
    new.answered(5, QUICK, start="2", job="b", version="1", label="stable", **of)
    new.answered(1, SLOW, job="a", version="2", label="canary", **of)
    new.ended(9, "OK", label="stable", **of)
    new.ended(1, "UNAVAILABLE", label="stable", **of)
    new.ended(1, "OK", label="canary", **of)
    new.ended(0.25, "InvalidImage", label="canary", **of)
    new.ended(0.75, "CANCELLED", label="canary", **of)
    server = {"model_name": "line", "job": "tensorflow-serving"}
    name = ":tensorflow:serving:request"
    for namespace, failing in (("staging", 1.0), ("production", 0.0)):
        where = {"namespace": namespace, **server}
        new.add(f"{name}_count", 9, status="OK", **where)
        new.add(f"{name}_count", failing, status="UNAVAILABLE", **where)
        new.add(f"{name}_count", 10, status="INVALID_ARGUMENT", **where)
        for end, share in (("2000", 0.5), ("8000", 0.95), ("+Inf", 1.0)):
            new.add(f"{name}_latency_bucket", 9 * share, le=end, API="Predict", **where)
    # stable has moved in this time.
    for version in ("1", "2"):
        new.answered(1, QUICK, version=version, label="stable", model="moved")
    new.ended(2, "OK", label="stable", model="moved")
    new.ended(2, "INTERNAL", label="stable", model="moved")
    # The canary answers nothing.
    new.answered(1, QUICK, version="1", label="stable", model="dead")
    new.ended(1, "OK", label="stable", model="dead")
    new.ended(1, "UNAVAILABLE", label="canary", model="dead")
    # By number, and by a version that is no number.
    new.answered(1, QUICK, version="1", label="", model="odd")
    new.answered(1, QUICK, version="one", label="", model="odd")
    new.ended(3, "OK", label="", model="odd")
    new.ended(1, "NOT_FOUND", label="", model="odd")
    new.answered(0, QUICK, version="1", label="stable", model="asleep")
    new.ended(0, "OK", label="stable", model="asleep")
    new.add(f"{name}_count", 2, status="OK", model_name="alone", job="tensorflow-serving")
    new.answered(1, QUICK, version="1", label="stable", model='o"d\\d{}')
    new.ended(1, "OK", label="stable", model='o"d\\d{}')
    return new.text()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program, promtool = tool("prometheus"), tool("promtool")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "samples").write_text(written())
    (folder / "prometheus.yml").write_text("")
    making = [promtool, "tsdb", "create-blocks-from", "openmetrics", "samples", "data"]
    subprocess.run(making, cwd=folder, check=True, capture_output=True)
    address = f"127.0.0.1:{free_port()}"
    command = [program, "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address={address}"], cwd=folder, stdout=log, stderr=log
        )

    def ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"http://{address}/-/ready", timeout=20) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        eventually(ready, "Prometheus is ready")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def looked(url: str, model: str, namespace: str = "") -> Traffic:
    asked = Prometheus(url)
    return traffic.look(asked, model=model, namespace=namespace, state=STATE, window_s=300)


def figures(row: Row) -> dict[str, float | None]:
    names = ("share", "per_s", "errors", "p50_ms", "p95_ms")
    return {name: getattr(row, name) for name in names}


def test_share_errors_and_latency_of_each_version_are_those_of_the_samples(url: str) -> None:
    first, second = looked(url, "line").versions
    assert (first.version, first.labels) == (1, ("stable",))
    assert figures(first) == pytest.approx(
        {"share": 0.9, "per_s": 9, "errors": 0.1, "p50_ms": 5, "p95_ms": 10}, rel=1e-3
    )
    assert (second.version, second.labels) == (2, ("canary",))
    assert figures(second) == pytest.approx(
        {"share": 0.1, "per_s": 1, "errors": 0.125, "p50_ms": 10, "p95_ms": 100}, rel=1e-3
    )


def test_the_servers_count_of_all_versions_is_that_of_one_namespace(url: str) -> None:
    for namespace, errors in (("staging", 0.05), ("production", 0.0)):
        found = looked(url, "line", namespace).servers
        assert found is not None
        assert found.version is None
        assert found.errors == pytest.approx(errors, abs=1e-4)
        assert found.p50_ms == pytest.approx(2, rel=1e-3)
        assert found.p95_ms == pytest.approx(8, rel=1e-3)
    nowhere = looked(url, "line", "elsewhere")
    assert nowhere.servers is None
    assert "no server's count of requests to line in the namespace elsewhere" in nowhere.notes[-1]
    assert len(nowhere.versions) == 2


def test_errors_of_a_label_that_two_versions_answered_are_of_neither(url: str) -> None:
    found = looked(url, "moved")
    assert [row.errors for row in found.versions] == [None, None]
    assert [row.share for row in found.versions] == pytest.approx([0.5, 0.5])
    note = (
        "versions 1 and 2 have answered for stable in this time: its errors, 50.00 %, are of both"
    )
    assert note in found.notes


def test_a_version_that_answers_nothing_has_the_errors_of_its_label(url: str) -> None:
    first, second = looked(url, "dead").versions
    assert first.errors == 0
    assert (second.version, second.share, second.errors, second.p50_ms) == (2, 0.0, 1.0, None)


def test_what_no_version_is_known_of_is_said(url: str) -> None:
    found = looked(url, "odd")
    assert [row.errors for row in found.versions] == [None, None]
    told = " | ".join(found.notes)
    assert "of the calls without a label 25.00 % fail, of which no version is known" in told
    assert "left out, for their version is no number: 1 series" in told


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("asleep", "no caller of asleep has made a call in this time"),
        ("alone", "no caller of alone is scraped"),
        ("nobody", "no caller of nobody is scraped"),
    ],
)
def test_without_calls_there_are_no_versions_and_it_is_said_why(
    url: str, model: str, told: str
) -> None:
    found = looked(url, model)
    assert found.versions == ()
    assert told in found.notes[0]
    assert (found.servers is not None) == (model == "alone")


def test_a_models_name_is_no_part_of_the_query(url: str) -> None:
    found = looked(url, 'o"d\\d{}')
    assert found.versions[0].share == 1


def test_status_shows_it_and_is_content(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = config(1, 2, labels=dict(STATE.labels))
    server = LineServer((1, 2), text)
    operator = Operator(tmp_path, [server])
    operator.config.write_text(HEADER + text)
    asking = ("--traffic", "--prometheus", f"{url}/")
    assert operator("status", *asking) == 0
    out = capsys.readouterr().out
    assert f"traffic of the last 5 min, from {url}\n" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if "%" in line}
    assert rows["1"][1:] == ["stable", "90.00", "%", "9.00", "10.00", "%", "5.0", "10.0"]
    assert rows["2"][1:] == ["canary", "10.00", "%", "1.00", "12.50", "%", "10.0", "100.0"]
    assert rows["all,"][1:4] == ["at", "the", "servers"]
    assert operator("status", *asking, "--json") == 0
    found = json.loads(capsys.readouterr().out)["traffic"]
    assert found["prometheus"] == url
    assert [row["version"] for row in found["versions"]] == [1, 2]
    server.stop()
