"""A load test as one self-contained HTML page.

Knows nothing about Locust, gRPC or how the samples came about.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.figure
import numpy as np
from matplotlib.ticker import FuncFormatter

from loadtest.results import generator, samples
from loadtest.results.recording import SENT, Recording, distribution, empty, percentiles
from loadtest.results.taken import Taken
from training import page

TEMPLATE = Path(__file__).with_name("page.html")
BLUE, ORANGE, RED, GREY = "#2563a8", "#c8641e", "#b3261e", "#9aa3ad"


MOST_POINTS = 120
"""Of a line; of a longer run several seconds make one."""


def write(
    path: Path,
    *,
    taken: Taken,
    summary: samples.Summary,
    settings: dict[str, Any],
    loop: str,
    state: generator.Summary,
) -> None:
    """Writes the page.

    Args:
        path: of the page.
        taken: what the run left; a partial one is marked as such.
        summary: of its samples.
        settings: name -> value, shown as they are.
        loop: which loop it was, in words.
        state: how the generator did.
    """
    held = taken.recording
    text = page.render(
        TEMPLATE,
        summary=summary,
        settings=settings,
        how=loop,
        partial=taken.partial,
        state=state,
        cpu_limit=generator.CPU_LIMIT,
        intended=held.percentiles(SHARES),
        sent=held.percentiles(SHARES, since=SENT) if any(one.late for one in taken.states) else [],
        over_time=page.svg(_over_time(held)) if taken.samples else "",
        histogram=page.svg(_histogram(held)) if held.counts().get(samples.OK) else "",
    )
    path.write_text(text, encoding="utf-8")


SHARES = (50, 90, 95, 99, 99.9, 99.99, 100)


def _over_time(held: Recording) -> matplotlib.figure.Figure:
    """Latency percentiles and requests of each stretch of time, by when they were due."""
    right = held.by_second()
    wrong = {code: held.by_second(code) for code in held.counts() if code != samples.OK}
    last = max(second for one in (right, *wrong.values()) for second in one)
    width = 1 + last // MOST_POINTS
    figure = matplotlib.figure.Figure(figsize=(9, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
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
    for label, seconds, color in (
        ("right answers: so many samples does a point above rest on", [right], BLUE),
        ("failures", list(wrong.values()), RED),
    ):
        counts = np.zeros(len(middles))
        for one in seconds:
            for second, histogram in one.items():
                counts[second // width] += histogram.get_total_count()
        if counts.any():
            lefts = [at * width for at in range(len(middles))]
            lower.bar(lefts, counts, 0.9 * width, below, align="edge", color=color, label=label)
        below += counts
    lower.set(title=f"Requests of each {_time(width)}", xlabel="seconds", ylabel="requests")
    for axes in (upper, lower):
        _style(axes)
    return figure


def _time(seconds: int) -> str:
    return "second" if seconds == 1 else f"{seconds} seconds"


def _histogram(held: Recording) -> matplotlib.figure.Figure:
    values_us, counts = distribution(held.histogram())
    latencies_ms = values_us / 1000
    low, high = latencies_ms[0], max(latencies_ms[-1], 2e-3)
    figure = matplotlib.figure.Figure(figsize=(9, 2.8), layout="constrained")
    axes = figure.subplots()
    bins = np.geomspace(low * 0.95, high * 1.05, 60).tolist()
    axes.hist(latencies_ms, bins, weights=counts, color=BLUE)
    axes.set_yscale("log")  # a stall is a handful of requests among thousands
    for one, color in zip(held.percentiles((50, 95, 99, 99.9)), (GREY, ORANGE, RED, "black")):
        label = f"p{one.share:g} {one.value_ms:.3g} ms"
        axes.axvline(one.value_ms, color=color, linewidth=1.2, label=label)
    axes.set_xscale("log")
    as_number = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(as_number)
    axes.yaxis.set_major_formatter(as_number)
    if high / low < 30:  # so narrow that the powers of ten alone say too little
        axes.xaxis.set_minor_formatter(as_number)
    axes.set(title="Latency of the right answers", xlabel="ms", ylabel="requests")
    _style(axes)
    return figure


def _style(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e9ed", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
