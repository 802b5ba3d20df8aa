"""The plots of a load test's page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import matplotlib.figure
import numpy as np

from foundation.pages import numbers, plots
from foundation.pages.palette import BLUE, GREY, INK, ORANGE, RED, SERIES
from loadtest.change.cost import Cost
from loadtest.results import samples
from loadtest.results.histograms import distribution, empty, of_latencies, percentiles
from loadtest.results.recording import Recording
from loadtest.traffic.arrivals import Piece

MOST_POINTS = 120
"""Of a line; in a longer run each point stands for several seconds."""


def over_time(held: Recording, changes: Sequence[Cost] = ()) -> matplotlib.figure.Figure:
    """Latency percentiles and requests of each stretch of time, by when they were due.

    Args:
        held: with at least one sample.
        changes: drawn as numbered lines, from 1 on, with the time of their commands shaded.
    """
    right = held.by_second()
    wrong = {code: held.by_second(code) for code in held.counts() if code != samples.OK}
    last = max(second for one in (right, *wrong.values()) for second in one)
    width = 1 + last // MOST_POINTS
    figure, (upper, lower) = plots.panels(5.4, rows=2, sharex=True)
    stretches: dict[int, Any] = {}
    for second, histogram in right.items():
        stretches.setdefault(second // width, empty()).add(histogram)
    middles = [(at + 0.5) * width for at in range(last // width + 1)]
    for share, color in ((50, BLUE), (95, ORANGE), (99, RED)):
        values = np.full(len(middles), np.nan)
        for at, histogram in stretches.items():
            values[at] = percentiles(histogram, (share,))[0].value_ms
        upper.plot(middles, values, color=color, label=f"p{share}", marker=".")
    upper.set(title=f"Latency of the right answers of each {_time(width)}", ylabel="ms")
    upper.set_ylim(bottom=0)
    below = np.zeros(len(middles))
    for label, seconds, color in [*_right(held), ("failures", list(wrong.values()), RED)]:
        counts = np.zeros(len(middles))
        for one in seconds:
            for second, histogram in one.items():
                counts[second // width] += histogram.get_total_count()
        if counts.any():
            lefts = [at * width for at in range(len(middles))]
            lower.bar(lefts, counts, 0.9 * width, below, align="edge", color=color, label=label)
        below += counts
    lower.set_ylim(0, 1.05 * max(1.0, float(below.max())))
    lower.set(
        title=f"Requests of each {_time(width)}, on which the points above rest",
        xlabel="seconds",
        ylabel="requests",
    )
    for axes in (upper, lower):
        for number, change in enumerate(changes, 1):
            axes.axvline(change.second, color=INK, linewidth=1, linestyle="--")
            shaded_s = max(change.took_s, 0.0)
            axes.axvspan(change.second, change.second + shaded_s, color=INK, alpha=0.08)
            if axes is upper:
                axes.annotate(
                    str(number),
                    (change.second, 1),
                    (3, -3),
                    xycoords=("data", "axes fraction"),
                    textcoords="offset points",
                    va="top",
                    weight="bold",
                )
        axes.set_xlim(0, max(last + 1, width))
        plots.style(axes)
    return figure


def _right(held: Recording) -> list[tuple[str, list[dict[int, Any]], str]]:
    """The right answers, one series for each version where there are several."""
    versions = sorted(
        {one.version for one, _ in held.series if one.version is not None and one.code == "OK"}
    )
    if len(versions) < 2:
        return [("right answers", [held.by_second()], BLUE)]
    return [
        (f"right answers of version {one}", [held.by_second(version=one)], color)
        for one, color in zip(versions, SERIES * len(versions))
    ]


def _time(seconds: int) -> str:
    return "second" if seconds == 1 else f"{seconds} seconds"


def histogram(held: Recording) -> matplotlib.figure.Figure:
    """The latencies of the right answers, of which there is at least one; both axes logarithmic."""
    values_us, counts = distribution(held.histogram())
    latencies_ms = values_us / 1000
    low, high = latencies_ms[0], max(latencies_ms[-1], 2e-3)
    figure, (axes,) = plots.panels(3.0)
    bins = np.geomspace(low * 0.95, high * 1.05, 60).tolist()
    axes.hist(latencies_ms, bins, weights=counts, color=BLUE)
    axes.set_yscale("log")  # a stall is a handful of requests among thousands
    for one, color in zip(held.percentiles((50, 95, 99, 99.9)), (GREY, ORANGE, RED, INK)):
        label = f"p{one.share:g} {numbers.amount(one.value_ms, 'ms')}"
        axes.axvline(one.value_ms, color=color, linewidth=1.2, label=label)
    axes.set_xscale("log")
    axes.set(title="Latency of the right answers", xlabel="ms", ylabel="requests")
    plots.style(axes)
    return figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stair:
    """One rate of a shape that has several."""

    offered_per_s: float
    right_per_s: float
    """Right answers to what was due then, divided by its length."""
    requests: int
    failures: int
    p50_ms: float | None
    p99_ms: float | None


def stairs(
    pieces: Sequence[Piece], taken: Sequence[samples.Sample], begin_s: float
) -> tuple[Stair, ...]:
    """The results of each piece of a plan, in order of time."""
    found, until_s = [], begin_s
    starts = np.array([sample.start_s for sample in taken])
    for piece in pieces:
        since_s, until_s = until_s, until_s + piece.duration_s
        first, last = np.searchsorted(starts, [since_s, until_s])
        here = taken[first:last]
        right = [sample.latency_ms for sample in here if sample.code == samples.OK]
        seen = {one.share: one.value_ms for one in percentiles(of_latencies(right), (50, 99))}
        found.append(
            Stair(
                offered_per_s=piece.rate_per_s,
                right_per_s=len(right) / piece.duration_s,
                requests=len(here),
                failures=len(here) - len(right),
                p50_ms=seen.get(50),
                p99_ms=seen.get(99),
            )
        )
    return tuple(found)


def throughput(found: Sequence[Stair]) -> matplotlib.figure.Figure:
    """Latency against throughput: where does it bend?"""
    figure, (axes,) = plots.panels(3.0)
    right = [stair.right_per_s for stair in found]
    for name, color in (("p50", BLUE), ("p99", RED)):
        values = [getattr(stair, f"{name}_ms") for stair in found]
        values = [np.nan if value is None else value for value in values]
        axes.plot(right, values, color=color, marker="o", label=name)
    axes.set_yscale("log")
    plots.from_zero(axes)
    axes.set(
        title="Latency against throughput, a point for each rate",
        xlabel="right answers a second",
        ylabel="ms",
    )
    plots.style(axes)
    return figure
