"""The search for the knee as a command, against a server that bends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from loadtest import knee
from tests.bench.loadtest.servers import delaying
from tests.bench.loadtest.truth import Slowness
from tests.bench.processes import Server

ROOT = Path(__file__).resolve().parents[3]

BENDING = Slowness(median_s=0.02, sigma=0.2, stall_s=0.0, places=2)
"""100 requests a second, and not one more."""

QUICK = ("--seconds-each", "1", "--width", "0.3", "--most", "14")


@pytest.fixture
def bending(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    with delaying(BENDING, tmp_path) as found:
        yield found


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "0.png")
    return folder


def start(target: str, pictures: Path, folder: Path, *flags: str) -> subprocess.Popen[str]:
    where = ("--target", target, "--images", str(pictures))
    return subprocess.Popen(
        [sys.executable, "-m", "loadtest.knee", *where, *flags],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def figures(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "build" / "loadtest-knee.json").read_text())
    return {row["name"]: row["value"] for row in content["results"]}


def eventually(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_a_bend_is_found_below_the_capacity_and_everything_is_kept(
    bending: tuple[Server, str], pictures: Path, tmp_path: Path
) -> None:
    process = start(bending[1], pictures, tmp_path, "--p99-ms", "150", *QUICK)
    out, talk = process.communicate(timeout=240)
    assert process.returncode == 0, talk
    found = figures(tmp_path)
    assert 40 < found["knee"] < 115
    assert found["knee.low"] < found["knee"] < found["knee.high"]
    assert out.splitlines()[-1].startswith("knee at p99 <= 150 ms: ")
    content = json.loads((tmp_path / "build/loadtest-knee-measurements.json").read_text())
    assert len(content["measurements"]) == found["measurements"]
    last = content["measurements"][-1]
    assert sum(row["count"] for row in last["recording"]["totals"]) == 2 * last["requests"]
    page = (tmp_path / "build/loadtest-knee.html").read_text()
    assert "Latency against what was carried" in page
    assert page.count('<td class="name">') > found["measurements"]


def test_a_wanted_throughput_makes_it_a_gate(
    bending: tuple[Server, str], pictures: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "objectives.json"
    gate.write_text('{"p99_ms": 150, "error_rate": 0.001, "requests_per_s": 500}')
    process = start(bending[1], pictures, tmp_path, "--objectives", str(gate), *QUICK)
    out, talk = process.communicate(timeout=240)
    assert process.returncode == 1, talk
    assert out.splitlines()[-1].startswith("objectives missed, 500 requests/s wanted; knee at ")


def test_objectives_that_cannot_be_met_are_said_so(
    bending: tuple[Server, str], pictures: Path, tmp_path: Path
) -> None:
    process = start(bending[1], pictures, tmp_path, "--p99-ms", "1", *QUICK)
    out, talk = process.communicate(timeout=120)
    assert process.returncode == 1, talk
    assert "not even 10 requests/s hold the objectives" in out.splitlines()[-1]


@pytest.mark.parametrize("how", ["dies", "interrupted"])
def test_a_search_that_breaks_off_keeps_what_there_is(
    bending: tuple[Server, str], pictures: Path, tmp_path: Path, how: str
) -> None:
    server, target = bending
    process = start(target, pictures, tmp_path, "--p99-ms", "150", "--seconds-each", "1")
    assert process.stderr is not None
    told = []
    while sum(": holds" in line for line in told) < 2:
        line = process.stderr.readline()
        assert line, told
        told.append(line)
    if how == "dies":
        server.process.kill()
    else:
        process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=120)
    assert process.returncode == (1 if how == "dies" else 130), talk
    assert figures(tmp_path)["finished"] is False
    assert figures(tmp_path)["knee.low"] >= 10  # a busy machine limits the generator at 20
    assert "Partial" in (tmp_path / "build/loadtest-knee.html").read_text()


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
    bending: tuple[Server, str], pictures: Path, tmp_path: Path, monkeypatch, capsys, flags, words
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rate.json").write_text('{"error_rate": 0.1}')
    where = ["--target", bending[1], "--images", str(pictures)]
    assert knee.main([*where, *flags]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert told[-1].startswith("loadtest.knee: error: ")
    assert words in told[-1]
