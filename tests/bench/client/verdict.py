"""What was measured, as figures with their bars.

A ratio is the median of the rounds' ratios, both sides taken in the same round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from tests.bench.client import calls, imports, outage
from tests.bench.client.arrays import Arrays
from tests.bench.client.calls import Calls
from tests.bench.client.clients.frame import CASES, FORMS
from tests.bench.client.imports import BARE, BASELINE, Import
from tests.bench.client.outage import Outage
from tests.bench.client.processes import OURS
from tests.bench.environments import RIVAL_CLIENTS as RIVALS
from tests.bench.samples import p99
from tests.bench.verdict import Verdict

TENSORFLOW = "tensorflow_serving_api"
"""The official package: encoding has to be FASTER than its way."""

JUDGED_CASES = ("pixels", "tensor")

IMPORT_TIME = 1.3
IMPORT_EXTRA_MB = 10.0
FASTER = 4.0
COPIES = 1.5
ALLOCATED_KIB = 64.0
LATENCY = 1.15
MEMORY_GROWTH_MB = 2.0
LONGEST_CALL_S = outage.TIMEOUT_S + 0.5
"""A call's deadline, and a moment to notice it on a busy machine."""


def add_rivals(verdict: Verdict, absent: Mapping[str, str]) -> None:
    """Which rivals could be had; without TensorFlow's own the main comparison is missing."""
    for name in RIVALS:
        asked = name == TENSORFLOW
        verdict.add(f"{name}.had", name not in absent, "", at_least=1 if asked else None)
        if name in absent:
            verdict.add(f"{name}.absent", absent[name], "")


def add_imports(verdict: Verdict, rounds: imports.Rounds) -> None:
    """Imports beside the baseline of the same round."""
    for name in (BASELINE, OURS, BARE, *RIVALS):
        taken = [one[name] for one in rounds if name in one]
        if not taken:
            continue
        verdict.add(f"import.{name}.seconds", _median(taken, lambda one: one.seconds), "s")
        verdict.add(f"import.{name}.mb", _median(taken, lambda one: one.mb), "MB")
        pairs = [(one[name], one[BASELINE]) for one in rounds if name in one]
        if name == BASELINE:
            continue
        judged = name == OURS
        verdict.add(
            f"import.{name}.time_ratio",
            statistics.median(one.seconds / base.seconds for one, base in pairs),
            "",
            at_most=IMPORT_TIME if judged else None,
        )
        verdict.add(
            f"import.{name}.extra_mb",
            statistics.median(one.mb - base.mb for one, base in pairs),
            "MB",
            at_most=IMPORT_EXTRA_MB if judged else None,
        )
    verdict.add(
        "import.ours.tensorflow_modules",
        max(one[name].tensorflow_modules for one in rounds for name in (OURS, BARE)),
        "",
        at_most=0,
    )


def add_encode(verdict: Verdict, taken: Arrays) -> None:
    """From arrays to request bytes: the best of each turn, in copies of the data."""
    verdict.require("encode.wrong", taken.wrong, "", at_most=0)
    samples = taken.samples
    for case in CASES:
        judged = case in JUDGED_CASES
        for name in (OURS, *RIVALS):
            of = f"{case}.{name}"
            if of not in samples:
                continue
            verdict.add(f"encode.{of}.us", samples.us(of, min), "us")
            verdict.add(
                f"encode.{of}.copies",
                samples.ratio(of, f"{of}.copy", min),
                "",
                at_most=COPIES if judged and name == OURS else None,
            )
            if name != OURS:
                verdict.add(
                    f"encode.{case}.faster_than_{name}",
                    samples.ratio(of, f"{case}.{OURS}", min),
                    "",
                    at_least=FASTER if judged and name == TENSORFLOW else None,
                )
        sent = f"{case}.until_sent"
        verdict.add(f"encode.{sent}.us", samples.us(sent, min), "us")
        verdict.add(f"encode.{sent}.copies", samples.ratio(sent, f"{case}.{OURS}.copy", min), "")


def add_decode(verdict: Verdict, taken: Arrays) -> None:
    """From answer bytes to arrays."""
    verdict.require("decode.wrong", taken.wrong, "", at_most=0)
    samples = taken.samples
    for form in FORMS:
        memory = taken.memory[form]
        verdict.add(
            f"decode.{form}.allocated_kib",
            memory["allocated"] / 1024,
            "KiB",
            at_most=ALLOCATED_KIB,
        )
        verdict.add(
            f"decode.{form}.lies_in_answer",
            memory["lies_in_answer"],
            "",
            at_least=1,
        )
        for name in (OURS, *RIVALS):
            of = f"{form}.{name}"
            if of not in samples:
                continue
            verdict.add(f"decode.{of}.us", samples.us(of, min), "us")
            if name != OURS:
                ratio = samples.ratio(of, f"{form}.{OURS}", min)
                verdict.add(f"decode.{form}.faster_than_{name}", ratio, "")


def add_calls(verdict: Verdict, taken: Calls) -> None:
    """Latency beside the bare stub in the same process, and memory."""
    verdict.require("call.wrong", taken.wrong, "", at_most=0)
    ours = (calls.THREADS, calls.ASYNCIO)
    for name in (*ours, *RIVALS):
        if name not in taken.samples:
            continue
        for part, of in (("", name), ("bare_", f"{name}.bare")):
            p50_us = taken.samples.us(of, statistics.median)
            verdict.add(f"call.{name}.{part}p50_us", p50_us, "us")
            verdict.add(f"call.{name}.{part}p99_us", taken.samples.us(of, p99), "us")
        verdict.add(
            f"call.{name}.latency_ratio",
            taken.samples.ratio(name, f"{name}.bare", statistics.median),
            "",
            at_most=LATENCY if name in ours else None,
        )
        p99_ratio = taken.samples.ratio(name, f"{name}.bare", p99)
        verdict.add(f"call.{name}.p99_ratio", p99_ratio, "")
    for kind, resident in taken.memory.items():
        verdict.add(f"call.{kind}.resident_mb", resident[0], "MB")
        verdict.add(
            f"call.{kind}.memory_growth_mb",
            max(resident) - resident[0],
            "MB",
            at_most=MEMORY_GROWTH_MB,
        )


def add_outage(verdict: Verdict, kind: str, taken: Outage) -> None:
    """What became of the calls; those that failed or never came back are errors."""
    count = len(taken.outcomes)
    stable, canary, stand_in, wrong = (
        taken.count(outcome)
        for outcome in (outage.STABLE, outage.CANARY, outage.STAND_IN, outage.WRONG)
    )
    start = f"outage.{kind}"
    verdict.add(f"{start}.calls", count, "")
    verdict.require(f"{start}.errors", count - stable - canary - stand_in - wrong, "", at_most=0)
    verdict.require(f"{start}.wrong", wrong, "", at_most=0)
    verdict.add(f"{start}.fallback_share", (canary + stand_in) / count, "")
    verdict.add(f"{start}.of_these_default", stand_in, "")
    verdict.add(f"{start}.of_these_canary", canary, "")
    verdict.add(
        f"{start}.longest_call_s",
        float(taken.took_s.max()),
        "s",
        at_most=LONGEST_CALL_S,
    )
    verdict.add(f"{start}.server_back_after_s", taken.ready_s - taken.killed_s, "s")
    real = taken.real_after_s
    first = float(real[0]) - taken.killed_s if len(real) else float("nan")
    verdict.add(f"{start}.first_answer_after_s", first, "s")
    verdict.add(f"{start}.answers_after_restart", len(real), "", at_least=1)


def _median(taken: Sequence[Import], value: Callable[[Import], float]) -> float:
    return statistics.median(map(value, taken))
