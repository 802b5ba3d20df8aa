"""The benchmark of the client: how it judges what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tests.bench.client import calls, imports, outage, verdict
from tests.bench.client.arrays import Arrays
from tests.bench.client.calls import Calls
from tests.bench.client.clients.frame import CASES, FORMS
from tests.bench.client.imports import BARE, BASELINE, Import
from tests.bench.client.outage import CANARY, ERROR, STABLE, STAND_IN, WRONG, Outage
from tests.bench.client.processes import OURS
from tests.bench.verdict import Verdict
from tfs_client import Prediction

TENSORFLOW = verdict.TENSORFLOW


def failing(add: Callable[..., None], *taken: Any, bars: bool = True) -> set[str]:
    """The figures whose bars do not hold."""
    found = Verdict("made-up", "none", quick=not bars)
    add(found, *taken)
    return {one.name for one in found.results if one.holds is False}


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
    found = failing(lambda found: verdict.add_outage(found, "threads", taken))
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
