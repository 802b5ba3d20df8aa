"""A load test as one self-contained HTML page.

Knows nothing about Locust, gRPC or how the samples came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.figure
import numpy as np
from matplotlib.ticker import FuncFormatter

from loadtest import samples
from training import page

TEMPLATE = Path(__file__).with_name("report.html")
BLUE, ORANGE, RED, GREY = "#2563a8", "#c8641e", "#b3261e", "#9aa3ad"


def write(
    path: Path,
    *,
    taken: Sequence[samples.Sample],
    summary: samples.Summary,
    settings: dict[str, Any],
    finished: bool,
) -> None:
    """Writes the page.

    Args:
        path: of the page.
        taken: all samples, by start.
        summary: of them.
        settings: name -> value, shown as they are.
        finished: whether the generator ran to its end; a partial run is marked as one.
    """
    right = [sample for sample in taken if sample.code == samples.OK]
    text = page.render(
        TEMPLATE,
        summary=summary,
        settings=settings,
        finished=finished,
        over_time=page.svg(_over_time(taken)) if taken else "",
        histogram=page.svg(_histogram([sample.latency_ms for sample in right])) if right else "",
    )
    path.write_text(text, encoding="utf-8")


def _over_time(taken: Sequence[samples.Sample]) -> matplotlib.figure.Figure:
    """Latency percentiles and answers of each second, counted by the second of sending."""
    start_s = taken[0].start_s
    by_second: dict[int, list[samples.Sample]] = {}
    for sample in taken:
        by_second.setdefault(int(sample.start_s - start_s), []).append(sample)
    seconds = list(range(max(by_second) + 1))
    latencies, right, wrong = [], [], []
    for second in seconds:
        group = by_second.get(second, [])
        good = [sample.latency_ms for sample in group if sample.code == samples.OK]
        latencies.append(samples.percentiles(good, (50, 95, 99)))
        right.append(len(good))
        wrong.append(len(group) - len(good))
    figure = matplotlib.figure.Figure(figsize=(9, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    middles = [second + 0.5 for second in seconds]
    for at, (name, color) in enumerate((("p50", BLUE), ("p95", ORANGE), ("p99", RED))):
        values = [np.nan if row[at] is None else row[at] for row in latencies]
        upper.plot(middles, values, color=color, label=name, marker=".")
    upper.set(title="Latency of the right answers of each second", ylabel="ms")
    upper.set_ylim(bottom=0)
    lower.bar(seconds, right, width=0.9, align="edge", color=BLUE, label="right answers")
    if any(wrong):
        lower.bar(seconds, wrong, 0.9, right, align="edge", color=RED, label="failures")
    lower.set(title="Requests sent in each second", xlabel="seconds since the first", ylabel="1/s")
    for axes in (upper, lower):
        _style(axes)
    return figure


def _histogram(latencies_ms: Sequence[float]) -> matplotlib.figure.Figure:
    low, high = max(min(latencies_ms), 1e-3), max(max(latencies_ms), 2e-3)
    figure = matplotlib.figure.Figure(figsize=(9, 2.8), layout="constrained")
    axes = figure.subplots()
    bins = np.geomspace(low * 0.95, high * 1.05, 60).tolist()
    axes.hist(latencies_ms, bins, color=BLUE)
    for share, color in ((50, GREY), (95, ORANGE), (99, RED)):
        value = float(np.percentile(latencies_ms, share))
        axes.axvline(value, color=color, linewidth=1.2, label=f"p{share} {value:.3g} ms")
    axes.set_xscale("log")
    as_number = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(as_number)
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
