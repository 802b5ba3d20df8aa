"""The search for the knee as a command."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtest import knee
from loadtest.loops import measuring, running
from serving.client.tests.model_server import ModelServer
from tests.bench.loadtest.servers import delaying
from tests.bench.loadtest.truth import Slowness
from tests.house.pages import whole
from tests.integration.loadtest import commands
from tests.integration.loadtest.commands import Done
from tests.integration.loadtest.simulated import Queues

BENDING = Slowness(median_s=0.02, sigma=0.2, stall_s=0.0, places=2)
"""100 requests a second, and not one more."""

QUICK = ("--seconds-each", "1", "--width", "0.3", "--most", "14")

Search = Callable[..., Done]


@pytest.fixture
def queue(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Queues:
    """What the loads come to: a queue of 100 requests/s. The server answers what is asked else."""
    queues = Queues(capacity={server.target: 100.0})
    monkeypatch.setattr(running, "take", queues.take)
    return queues


@pytest.fixture
def search(server: ModelServer, pictures: Path, tmp_path: Path) -> Search:
    """Runs `loadtest.knee` against the server, with more flags."""

    def run(*flags: str) -> Done:
        where = ("--target", server.target, "--images", str(pictures))
        return commands.run(knee.main, *where, *flags, folder=tmp_path)

    return run


def figures(folder: Path) -> dict[str, Any]:
    return commands.figures(folder, "loadtest-knee")


def measurements(folder: Path) -> list[dict[str, Any]]:
    content = json.loads((folder / "build/loadtest-knee-measurements.json").read_text())
    found: list[dict[str, Any]] = content["measurements"]
    last = found[-1]
    assert sum(row["count"] for row in last["recording"]["totals"]) == 2 * last["requests"]
    return found


def check_found(folder: Path, out: str) -> None:
    """A knee below the capacity of 100 requests/s, and everything that is kept."""
    found = figures(folder)
    assert 40 < found["knee"] < 115
    assert found["knee.low"] < found["knee"] < found["knee.high"]
    assert out.splitlines()[-1].startswith("knee at p99 <= 150 ms: ")
    assert len(measurements(folder)) == found["measurements"]
    page = whole(folder / "build/loadtest-knee.html", "Latency by what was carried")
    assert page.count('<td class="name">') > found["measurements"]


def test_a_bend_is_found_below_the_capacity_and_everything_is_kept(
    queue: Queues, search: Search
) -> None:
    done = search("--p99-ms", "150", *QUICK)
    assert done.code == 0, done.told
    check_found(done.folder, done.out)
    assert queue.rates[:3] == [10, 20, 40]


@pytest.mark.alone
@pytest.mark.thorough
def test_the_bend_of_a_real_server_is_found(pictures: Path, tmp_path: Path) -> None:
    with delaying(BENDING, tmp_path) as (_, target):
        where = ("--target", target, "--images", str(pictures))
        flags = ("--p99-ms", "150", *QUICK)
        process = commands.start("loadtest.knee", *where, *flags, folder=tmp_path)
        out, talk = process.communicate(timeout=240)
    assert process.returncode == 0, talk
    check_found(tmp_path, out)


def test_a_wanted_throughput_makes_it_a_gate(queue: Queues, search: Search, tmp_path: Path) -> None:
    gate = tmp_path / "objectives.json"
    gate.write_text('{"p99_ms": 150, "error_rate": 0.001, "requests_per_s": 500}')
    done = search("--objectives", str(gate), *QUICK)
    assert done.code == 1, done.told
    verdict = done.out.splitlines()[-1]
    assert verdict.startswith("objectives missed, 500 requests/s wanted; knee at ")


def test_objectives_that_cannot_be_met_are_said_so(queue: Queues, search: Search) -> None:
    done = search("--p99-ms", "1", *QUICK)
    assert done.code == 1, done.told
    assert "not even 10 requests/s hold the objectives" in done.out.splitlines()[-1]


def check_partial(folder: Path) -> None:
    assert figures(folder)["finished"] is False
    assert figures(folder)["knee.low"] >= 10  # a busy machine limits the generator at 20
    assert "Partial" in (folder / "build/loadtest-knee.html").read_text()


def test_a_search_whose_server_dies_keeps_what_there_is(
    server: ModelServer, queue: Queues, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "SETTLE_S", 0.5)
    queue.before = lambda count: server.stop() if count == 2 else None
    done = search("--p99-ms", "150", "--seconds-each", "1")
    assert done.code == 1, done.told
    assert len(measurements(done.folder)) == 2
    check_partial(done.folder)


def start_and_wait_for_two_measurements(target: str, *flags: str, folder: Path) -> Any:
    """The command in a process of its own, with real loads."""
    process = commands.start("loadtest.knee", "--target", target, *flags, folder=folder)
    assert process.stderr is not None
    told: list[str] = []
    while sum(": holds" in line for line in told) < 2:
        line = process.stderr.readline()
        assert line, told
        told.append(line)
    return process


def test_a_search_that_is_interrupted_keeps_what_there_is(
    server: ModelServer, pictures: Path, tmp_path: Path
) -> None:
    # Half of the answers within 150 ms: a second is enough to tell, where a p99 takes longer.
    (tmp_path / "objectives.json").write_text('{"p50_ms": 150, "error_rate": 0.001}')
    flags = ("--images", str(pictures), "--objectives", "objectives.json", "--seconds-each", "1")
    process = start_and_wait_for_two_measurements(server.target, *flags, folder=tmp_path)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=120)
    assert process.returncode == 130, talk
    check_partial(tmp_path)
    assert len(measurements(tmp_path)) >= 2
    assert len(server.asked("Predict")) > 20


@pytest.mark.alone
@pytest.mark.thorough
def test_a_search_whose_real_server_is_killed_keeps_what_there_is(
    pictures: Path, tmp_path: Path
) -> None:
    with delaying(BENDING, tmp_path) as (server, target):
        flags = ("--images", str(pictures), "--p99-ms", "150", "--seconds-each", "1")
        process = start_and_wait_for_two_measurements(target, *flags, folder=tmp_path)
        server.process.kill()
        _, talk = process.communicate(timeout=120)
    assert process.returncode == 1, talk
    check_partial(tmp_path)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--target", "127.0.0.1:1"], "No server answered"),
        (["--p99-ms", "0"], "Expected --p99-ms above 0"),
        (["--rate", "5"], "Expected no --rate, for the search chooses the rates"),
        (["--users", "5"], "Expected no --users"),
        (["--at", "1:true"], "Expected no --at"),
        (["--lowest", "9", "--highest", "3"], "Expected --highest above --lowest, 9"),
        (["--seconds-each", "0"], "Expected --seconds-each of 1 or more"),
        (["--objectives", "none.json"], "No such file"),
        (["--objectives", "rate.json"], "Expected one of p50_ms"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(
    search: Search, tmp_path: Path, flags: list[str], words: str
) -> None:
    (tmp_path / "rate.json").write_text('{"error_rate": 0.1}')
    done = search(*flags)
    assert done.code == 2
    told = done.told.strip().splitlines()
    assert told[-1].startswith("python -m loadtest.knee: error: ")
    assert words in told[-1]
