"""What was measured of the load test, as figures with their bars."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from tests.bench.loadtest.accuracy import LOOPS, SHARES, Accuracy, Seen
from tests.bench.loadtest.knee import Knees
from tests.bench.loadtest.throughput import Throughput
from tests.bench.verdict import Verdict

LEAST_RATIO = 0.5
"""Of a bare stub's requests a second."""

MOST_SHARE, MOST_MS = 0.03, 0.3
"""Of a percentile's error: a share of the truth, or so many ms, whichever is larger."""

MOST_APART = 0.1
"""Between the knee found by search and by sweep, as a share of the latter."""

NO_GHZ = "not on the PATH"


def add_throughput(verdict: Verdict, taken: Throughput) -> None:
    """The medians, and the median of the rounds' ratios."""
    add, median = verdict.add, statistics.median
    ratios = [ours / bare for ours, bare in zip(taken.ours_per_s, taken.bare_per_s)]
    add("throughput.ratio", median(ratios), "", at_least=LEAST_RATIO)
    add("throughput.ratio.least", min(ratios), "")
    add("throughput.ours", median(taken.ours_per_s), "requests/s")
    add("throughput.bare", median(taken.bare_per_s), "requests/s")
    add("throughput.ours.cpu", median(taken.ours_cpu_us), "us a request")
    add("throughput.bare.cpu", median(taken.bare_cpu_us), "us a request")
    add("throughput.server.cpu", median(taken.server_cpu_us), "us a request")
    verdict.require("throughput.failures", taken.failures, "requests", at_most=0)


def add_accuracy(verdict: Verdict, taken: Accuracy) -> None:
    """Each percentile's error, in units of what is allowed: 1 is the bar, of the open loop."""
    for name in LOOPS:
        seen = taken.loops.get(name)
        if seen is None:
            verdict.add(f"accuracy.{name}", NO_GHZ, "")
        else:
            _add_seen(verdict, f"accuracy.{name}", seen, at_most=1 if name == "open" else None)
    verdict.add("accuracy.open.late_p99", taken.open.late_p99_ms, "ms")
    verdict.add("accuracy.open.limited", taken.open.limited or "no", "")


def _add_seen(verdict: Verdict, of: str, seen: Seen, at_most: float | None) -> None:
    errors = excesses(seen.reported_ms, seen.truth_ms)
    for at, share in enumerate(SHARES):
        reported_ms, truth_ms = seen.reported_ms[at], seen.truth_ms[at]
        bare_ms = seen.model_ms[at] + seen.bare_road_ms
        start = f"{of}.p{share:g}"
        verdict.add(f"{start}.reported", reported_ms, "ms")
        verdict.add(f"{start}.truth", truth_ms, "ms")
        verdict.add(f"{start}.error", reported_ms - truth_ms, "ms")
        verdict.add(f"{start}.error_by_bare_road", reported_ms - bare_ms, "ms")
        verdict.add(f"{start}.of_allowed", errors[at], "", at_most=at_most)
    verdict.add(f"{of}.road", seen.road_ms, "ms")
    verdict.add(f"{of}.server_late_p50", seen.late_ms, "ms")
    verdict.add(f"{of}.bare_road", seen.bare_road_ms, "ms")
    verdict.add(f"{of}.rate", seen.per_s, "requests/s")
    verdict.require(f"{of}.failures", seen.failures, "requests", at_most=0)


def add_knees(verdict: Verdict, taken: Knees) -> None:
    """Each search beside the sweep."""
    add = verdict.add
    add("knee.sweep", taken.swept, "requests/s")
    for number, found in enumerate(taken.searched, 1):
        of = f"knee.search_{number}"
        add(of, found.rate, "requests/s")
        add(f"{of}.low", found.low, "requests/s")
        add(f"{of}.high", found.high, "requests/s")
        apart = abs(found.rate / taken.swept - 1) if found.rate and taken.swept else None
        add(f"{of}.apart", apart, "", at_most=MOST_APART)
        add(f"{of}.measurements", found.measurements, "")
        add(f"{of}.took_of_a_sweep", taken.search_s[number - 1] / taken.sweep_s, "")
    add("knee.sweep.measurements", len(taken.points), "")


def excesses(reported_ms: Sequence[float], truth_ms: Sequence[float]) -> list[float]:
    """How far each is from the truth, over what is allowed."""
    return [
        abs(reported - truth) / max(MOST_MS, MOST_SHARE * truth)
        for reported, truth in zip(reported_ms, truth_ms)
    ]
