"""The benchmark of the client as a command, its rivals, and how it judges."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.figures import Figures
from tests.bench.client import calls, environments, imports, material, outage, verdict
from tests.bench.client.arrays import Arrays
from tests.bench.client.calls import Calls
from tests.bench.client.clients.frame import CASES, FORMS
from tests.bench.client.imports import BARE, BASELINE, Import
from tests.bench.client.outage import CANARY, ERROR, STABLE, STAND_IN, WRONG, Outage
from tfs_client import Prediction

ROOT = Path(__file__).resolve().parents[3]
OURS, TENSORFLOW = environments.OURS, verdict.TENSORFLOW


# ---- the command ----


def bench(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """A quick run in a folder of its own, without a network."""
    return subprocess.run(
        [sys.executable, "-m", "tests.bench.client", "--quick", *flags],
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


def test_a_quick_run_judges_errors_only(quick: Path) -> None:
    content = json.loads((quick / "bench-client.json").read_text())
    assert content["command"] == "python -m tests.bench.client --quick"
    judged = {row["name"] for row in content["results"] if row["bar"]}
    assert {name.rpartition(".")[2] for name in judged} == {"wrong", "errors"}


def test_a_client_that_cannot_be_had_is_left_out_with_the_reason(quick: Path) -> None:
    value = values_in(quick)
    page = (quick / "bench-client.html").read_text()
    for name in environments.RIVALS:
        assert value[f"{name}.had"] is False
        assert value[f"{name}.absent"]
        assert not any(f"faster_than_{name}" in figure for figure in value)
        assert f"Not measured: {name}" in page


def test_samples_and_the_page_lie_beside_the_figures(quick: Path) -> None:
    kept = {path.name for path in quick.iterdir() if path.is_file()}
    names = "imports.csv encode.npz decode.npz calls.npz memory.csv outage.npz".split()
    assert kept == {"bench-client.json", "bench-client.html"} | {
        f"bench-client-{name}" for name in names
    }
    page = (quick / "bench-client.html").read_text()
    assert page.count("<svg") == 7
    with np.load(quick / "bench-client-calls.npz") as samples:
        assert samples["threads.round_0"].shape == samples["threads.bare.round_0"].shape
    with np.load(quick / "bench-client-outage.npz") as samples:
        assert set(np.unique(samples["threads.outcomes"])) <= {STABLE, CANARY, STAND_IN}


def test_a_part_can_be_measured_alone(tmp_path: Path) -> None:
    done = bench(tmp_path, "--parts", "decode")
    assert done.returncode == 0, done.stderr
    parts = {name.partition(".")[0] for name in values_in(tmp_path / "build")}
    assert parts - set(environments.RIVALS) == {"decode"}
    assert (tmp_path / "build" / "bench-client.html").read_text().count("<svg") == 1


# ---- the rivals ----


@pytest.mark.parametrize("name", environments.RIVALS)
def test_the_clients_that_it_is_measured_against_send_and_read_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # its environments stay in build/
    try:
        python = environments.make(name)
    except environments.UnavailableError as error:
        pytest.skip(f"no environment for {name}: {error}")
    material.make(tmp_path)
    with contextlib.ExitStack() as stack:
        server, address = calls.answering(tmp_path)
        stack.enter_context(server)
        rival = environments.start(stack, [name], {name: python}, tmp_path)[name]
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
        client = environments.start(stack, [OURS], {}, tmp_path)[OURS]
        pixels, tensor = (
            base64.b64decode(client.ask({"do": "request_bytes", "case": case}))
            for case in ("pixels", "tensor")
        )
    assert material.is_right_request(tmp_path, "pixels", pixels)
    assert not material.is_right_request(tmp_path, "tensor", tensor[:-4] + bytes(4))


# ---- how it judges ----


def failing(add: Callable[..., None], *taken: Any, bars: bool = True) -> set[str]:
    """The figures whose bars do not hold."""
    figures = Figures("made-up", "none")
    add(figures, *taken, bars)
    return {one.name for one in figures.results if one.holds is False}


def made_up_imports(seconds: float, mb: float, modules: int = 0) -> imports.Rounds:
    ours, base = Import(seconds, mb, modules), Import(0.1, 40, 0)
    return [{OURS: ours, BASELINE: base, BARE: Import(0.01, 10, 0)}] * 3


def test_an_import_is_judged_by_time_memory_and_modules() -> None:
    assert failing(verdict.add_imports, made_up_imports(0.129, 49)) == set()
    slow_and_large = failing(verdict.add_imports, made_up_imports(0.131, 51))
    assert slow_and_large == {"import.ours.time_ratio", "import.ours.extra_mb"}
    with_tensorflow = failing(verdict.add_imports, made_up_imports(0.1, 40, modules=1))
    assert with_tensorflow == {"import.ours.tensorflow_modules"}


def test_without_tensorflows_own_way_the_bars_do_not_hold() -> None:
    assert failing(verdict.add_rivals, {}) == set()
    assert failing(verdict.add_rivals, {"ovmsclient": "no network"}) == set()
    assert failing(verdict.add_rivals, {TENSORFLOW: "no network"}) == {f"{TENSORFLOW}.had"}
    assert failing(verdict.add_rivals, {TENSORFLOW: "no network"}, bars=False) == set()


def made_up_encoding(ours: float, theirs: float, copy: float, wrong: int = 0) -> Arrays:
    taken = Arrays(wrong=wrong)
    for case in CASES:
        for name, seconds in ((OURS, ours), (TENSORFLOW, theirs)):
            taken.samples.add(f"{case}.{name}", [seconds, 9.0])
            taken.samples.add(f"{case}.{name}.copy", [9.0, copy])
        taken.samples.add(f"{case}.until_sent", [ours])
    return taken


def test_encoding_is_judged_by_copies_and_by_tensorflows_way() -> None:
    assert failing(verdict.add_encode, made_up_encoding(1.4, 5.7, 1.0)) == set()
    copies = {f"encode.{case}.ours.copies" for case in ("pixels", "tensor")}
    assert failing(verdict.add_encode, made_up_encoding(1.6, 6.5, 1.0)) == copies
    slower = {f"encode.{case}.faster_than_{TENSORFLOW}" for case in ("pixels", "tensor")}
    assert failing(verdict.add_encode, made_up_encoding(1.4, 5.5, 1.0)) == slower
    assert failing(verdict.add_encode, made_up_encoding(9, 9, 1, wrong=1), bars=False) == {
        "encode.wrong"
    }


def made_up_decoding(allocated: int, lies_in_answer: bool, wrong: int = 0) -> Arrays:
    memory = {"allocated": allocated, "lies_in_answer": lies_in_answer}
    taken = Arrays(wrong=wrong, memory=dict.fromkeys(FORMS, memory))
    for form in FORMS:
        taken.samples.add(f"{form}.{OURS}", [1.0])
    return taken


def test_decoding_is_judged_by_what_it_copies() -> None:
    assert failing(verdict.add_decode, made_up_decoding(20_000, True)) == set()
    copied = failing(verdict.add_decode, made_up_decoding(2**22, False))
    assert copied == {
        f"decode.{form}.{name}" for form in FORMS for name in ("allocated_kib", "lies_in_answer")
    }
    assert failing(verdict.add_decode, made_up_decoding(0, True, wrong=1), bars=False) == {
        "decode.wrong"
    }


def made_up_calls(own: float, resident: Sequence[float] = (50.0, 50.0), wrong: int = 0) -> Calls:
    taken = Calls(calls=100, wrong=wrong)
    for kind in (calls.THREADS, calls.ASYNCIO):
        taken.memory[kind] = list(resident)
        for _ in range(3):
            taken.samples.add(kind, [own, own, 9.0])
            taken.samples.add(f"{kind}.bare", [1.0, 1.0, 9.0])
    return taken


def test_calls_are_judged_by_their_median_latency_and_by_memory() -> None:
    assert failing(verdict.add_calls, made_up_calls(1.14, (50, 51.9, 50))) == set()
    both = (calls.THREADS, calls.ASYNCIO)
    slow = {f"call.{kind}.latency_ratio" for kind in both}
    assert failing(verdict.add_calls, made_up_calls(1.16)) == slow
    growing = {f"call.{kind}.memory_growth_mb" for kind in both}
    assert failing(verdict.add_calls, made_up_calls(1, (50, 51, 53))) == growing
    assert failing(verdict.add_calls, made_up_calls(9, wrong=1), bars=False) == {"call.wrong"}


def made_up_outage(*outcomes: int, longest_s: float = 0.1) -> Outage:
    """A call a second; the server is killed after 1.5 s."""
    count = len(outcomes)
    return Outage(
        begun_s=np.arange(count, dtype=float),
        took_s=np.linspace(0.01, longest_s, count),
        outcomes=np.array(outcomes),
        killed_s=1.5,
        ready_s=3.0,
    )


@pytest.mark.parametrize(
    ("taken", "names"),
    [
        (made_up_outage(STABLE, STABLE, STAND_IN, CANARY, STABLE), set()),
        (made_up_outage(STABLE, STABLE, ERROR, STABLE), {"errors"}),
        (made_up_outage(STABLE, STABLE, -1, STABLE), {"errors"}),
        (made_up_outage(STABLE, STABLE, WRONG, STABLE), {"wrong"}),
        (made_up_outage(STABLE, STABLE, STAND_IN, STAND_IN), {"answers_after_restart"}),
        (made_up_outage(STABLE, STABLE, STABLE, longest_s=6), {"longest_call_s"}),
    ],
)
def test_an_outage_is_judged_by_every_single_call(taken: Outage, names: set[str]) -> None:
    found = failing(lambda figures, bars: verdict.add_outage(figures, "threads", taken, bars))
    assert found == {f"outage.threads.{name}" for name in names}


def prediction(y: float, version: int, answered_by: str, review: bool = False) -> Prediction:
    return Prediction(
        outputs={"y": np.array([y], np.float32)},
        model=outage.MODEL,
        version=version,
        signature="serving_default",
        latency_s=0.0,
        answered_by=answered_by,
        reason="somebody failed" if review else "",
        needs_review=review,
    )


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (prediction(3.0, 1, "line/labels/stable"), STABLE),
        (prediction(102.0, 2, "line/labels/canary"), CANARY),
        (prediction(-1.0, 0, "default", review=True), STAND_IN),
        (prediction(3.5, 1, "line/labels/stable"), WRONG),  # another call's answer
        (prediction(102.0, 1, "line/labels/stable"), WRONG),  # another version's
        (prediction(3.0, 1, "line/labels/canary"), WRONG),
        (prediction(3.0, 3, "line/labels/stable"), WRONG),
        (prediction(-1.0, 0, "default"), WRONG),  # not marked
        (prediction(3.0, 1, "line/labels/stable", review=True), WRONG),
    ],
)
def test_an_answer_is_right_only_if_it_is_that_of_the_version_it_names(
    answer: Prediction, outcome: int
) -> None:
    assert outage.outcome_of(4, answer) == outcome
