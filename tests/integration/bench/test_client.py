"""The benchmark of the client as a command, and its rivals."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench import environments
from tests.bench.client import calls, imports, material, processes, verdict
from tests.bench.client.clients.frame import CASES, FORMS
from tests.bench.client.imports import BARE, BASELINE
from tests.bench.client.outage import CANARY, STABLE, STAND_IN
from tests.bench.client.processes import OURS
from tests.house.pages import plots, whole

ROOT = Path(__file__).resolve().parents[3]
TENSORFLOW = verdict.TENSORFLOW


# ---- the command ----


def bench(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """A quick run in a folder of its own, without a network."""
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", "client", "--quick", *flags],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "UV_OFFLINE": "1",
            "UV_CACHE_DIR": str(folder / "cache"),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a quick run leaves in build/."""
    folder = tmp_path_factory.mktemp("bench")
    done = bench(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["build/bench-client.json", "build/bench-client.html"]
    return folder / "build"


def values_in(build: Path) -> dict[str, Any]:
    content = json.loads((build / "bench-client.json").read_text())
    return {row["name"]: row["value"] for row in content["results"]}


@pytest.mark.alone
@pytest.mark.thorough
def test_a_quick_run_leaves_plausible_figures(quick: Path) -> None:
    value = values_in(quick)
    for part in ("encode.wrong", "decode.wrong", "call.wrong"):
        assert value[part] == 0
    assert 0.5 < value["import.ours.time_ratio"] < 5
    assert -5 < value["import.ours.extra_mb"] < 50
    assert value["import.ours.tensorflow_modules"] == 0
    assert value[f"import.{BARE}.mb"] < value[f"import.{BASELINE}.mb"] < value["import.ours.mb"]
    for case in CASES:
        assert 0 < value[f"encode.{case}.ours.us"] < 100_000
        assert 0.5 < value[f"encode.{case}.ours.copies"] < 100
        assert 0 < value[f"encode.{case}.until_sent.us"] < 100_000
    for form in FORMS:
        assert value[f"decode.{form}.lies_in_answer"] is True
        assert 0 < value[f"decode.{form}.allocated_kib"] < 4 * 1024
        assert 0 < value[f"decode.{form}.ours.us"] < 10_000
    for kind in (calls.THREADS, calls.ASYNCIO):
        assert 0.8 < value[f"call.{kind}.latency_ratio"] < 3
        assert 0 < value[f"call.{kind}.p50_us"] <= value[f"call.{kind}.p99_us"]
        assert value[f"call.{kind}.bare_p50_us"] <= value[f"call.{kind}.bare_p99_us"]
        assert value[f"call.{kind}.resident_mb"] > 20
        assert value[f"call.{kind}.memory_growth_mb"] >= 0
        assert value[f"outage.{kind}.errors"] == value[f"outage.{kind}.wrong"] == 0
        assert 0 < value[f"outage.{kind}.fallback_share"] < 1
        assert value[f"outage.{kind}.server_back_after_s"] > 0.5
        assert 0 < value[f"outage.{kind}.longest_call_s"] < 10


@pytest.mark.alone
@pytest.mark.thorough
def test_a_quick_run_judges_errors_only(quick: Path) -> None:
    content = json.loads((quick / "bench-client.json").read_text())
    assert content["command"] == "python -m tests.bench client --quick"
    judged = {row["name"] for row in content["results"] if row["bar"]}
    assert {name.rpartition(".")[2] for name in judged} == {"wrong", "errors"}


@pytest.mark.alone
@pytest.mark.thorough
def test_a_client_that_cannot_be_had_is_left_out_with_the_reason(quick: Path) -> None:
    value = values_in(quick)
    page = whole(quick / "bench-client.html")
    for name in environments.RIVAL_CLIENTS:
        assert value[f"{name}.had"] is False
        assert value[f"{name}.absent"]
        assert not any(f"faster_than_{name}" in figure for figure in value)
        assert f"Not measured: {name}" in page


@pytest.mark.alone
@pytest.mark.thorough
def test_samples_and_the_page_lie_beside_the_figures(quick: Path) -> None:
    kept = {path.name for path in quick.iterdir() if path.is_file()}
    names = "imports.csv encode.npz decode.npz calls.npz memory.csv outage.npz".split()
    assert kept == {"bench-client.json", "bench-client.html", "index.html"} | {
        f"bench-client-{name}" for name in names
    }
    page = whole(quick / "bench-client.html")
    assert plots(page) == 7
    with np.load(quick / "bench-client-calls.npz") as samples:
        assert samples["threads.round_0"].shape == samples["threads.bare.round_0"].shape
    with np.load(quick / "bench-client-outage.npz") as samples:
        assert set(np.unique(samples["threads.outcomes"])) <= {STABLE, CANARY, STAND_IN}


@pytest.mark.thorough
def test_a_part_can_be_measured_alone(tmp_path: Path) -> None:
    done = bench(tmp_path, "--parts", "decode")
    assert done.returncode == 0, done.stderr
    parts = {name.partition(".")[0] for name in values_in(tmp_path / "build")}
    assert parts - set(environments.RIVAL_CLIENTS) == {"decode"}
    assert plots(whole(tmp_path / "build" / "bench-client.html")) == 1


# ---- the rivals ----


@pytest.mark.thorough
@pytest.mark.parametrize("name", environments.RIVAL_CLIENTS)
def test_the_clients_that_it_is_measured_against_send_and_read_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # its environments stay in build/
    try:
        python = environments.make(name)
    except environments.UnavailableError:
        pytest.skip(f"needs {name}: uv pip install {environments.packages(name)}")
    material.make(tmp_path)
    with contextlib.ExitStack() as stack:
        server, address = calls.answering(tmp_path)
        stack.enter_context(server)
        rival = processes.start(stack, [name], {name: python}, tmp_path)[name]
        for case in CASES:
            request = base64.b64decode(rival.ask({"do": "request_bytes", "case": case}))
            assert material.is_right_request(tmp_path, case, request), case
        for form in FORMS:
            assert rival.ask({"do": "is_right_answer", "form": form}) is True, form
        asked = {"do": "calls", "address": address, "kind": calls.THREADS, "pairs": 5}
        found = rival.ask(asked)
        assert found["wrong"] == 0
        assert len(found["took_s"]) == len(found["bare_s"]) == 5
    slow = imports.take(name, python)
    assert slow.seconds > 0.01
    assert (slow.tensorflow_modules > 100) == (name == TENSORFLOW)


def test_a_request_that_says_something_else_is_seen(tmp_path: Path) -> None:
    material.make(tmp_path)
    with contextlib.ExitStack() as stack:
        client = processes.start(stack, [OURS], {}, tmp_path)[OURS]
        pixels, tensor = (
            base64.b64decode(client.ask({"do": "request_bytes", "case": case}))
            for case in ("pixels", "tensor")
        )
    assert material.is_right_request(tmp_path, "pixels", pixels)
    assert not material.is_right_request(tmp_path, "tensor", tensor[:-4] + bytes(4))
