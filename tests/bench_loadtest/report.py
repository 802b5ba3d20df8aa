"""The benchmark as one self-contained HTML page.

Knows nothing about how anything was measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np

from tests.bench_loadtest.accuracy import Accuracy
from tests.bench_loadtest.throughput import Throughput
from training import page
from training.figures import Figures, git_commit, machine

TEMPLATE = Path(__file__).parents[1] / "bench_report.html"

COLORS = {"open": "#2563a8", "closed": "#c8641e", "ghz": "#3f8f5f", "truth": "#30363d"}

ABOUT = "Generator and server share the cores."

THROUGHPUT = """One generator process, with its bookkeeping, and a bare stub in a loop take turns at
a server that answers at once. Each point is a turn."""

ACCURACY = """The share of requests that took longer. Every answer is delayed by its own draw, and
now and then the whole server stalls. Truth: the model's latency from when a request was due, and
the road to the server. The closed loop does not ask while it waits, so that it hardly sees a
stall."""


def write(path: Path, figures: Figures, sent: Throughput | None, seen: Accuracy | None) -> None:
    """Writes the page; a part that was not measured is left out."""
    plots = []
    if sent is not None:
        plots.append(("Requests a second", THROUGHPUT, page.svg(_throughput(sent))))
    if seen is not None:
        plots.append(("What is reported, and what is true", ACCURACY, page.svg(_tails(seen))))
    absent = {"ghz": "not on the PATH"} if seen is not None and seen.ghz is None else {}
    text = page.render(
        TEMPLATE,
        title="The load test, measured",
        about=ABOUT,
        command=figures.command,
        commit=git_commit(),
        machine=machine(),
        figures=figures.results,
        holds=figures.hold,
        plots=plots,
        absent=absent,
    )
    path.write_text(text, encoding="utf-8")


def _throughput(taken: Throughput) -> matplotlib.figure.Figure:
    figure = matplotlib.figure.Figure(figsize=(9, 2.4), layout="constrained")
    axes = figure.subplots()
    rows = (("bare stub", taken.bare_per_s, "closed"), ("generator", taken.ours_per_s, "open"))
    for at, (_, values, color) in enumerate(rows):
        axes.plot(values, [at] * len(values), "o", color=COLORS[color], alpha=0.6)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set(xlabel="requests/s", ylim=(-0.5, 1.5))
    axes.set_xlim(left=0)
    _style(axes)
    return figure


def _tails(taken: Accuracy) -> matplotlib.figure.Figure:
    figure = matplotlib.figure.Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, seen in (("open", taken.open), ("closed", taken.closed), ("ghz", taken.ghz)):
        if seen is None:
            continue
        latencies_ms = 1000 * np.sort(seen.latencies_s)
        beyond = 1 - np.arange(len(latencies_ms)) / len(latencies_ms)
        axes.plot(latencies_ms, beyond, color=COLORS[name], label=f"as the {name} loop sees it")
    truth = taken.open.truth_ms
    axes.plot(truth, [0.5, 0.01, 0.001], "x", color=COLORS["truth"], label="truth: p50, p99, p99.9")
    axes.set(xscale="log", yscale="log", xlabel="ms", ylabel="share that took longer")
    axes.legend(frameon=False)
    _style(axes)
    return figure


def _style(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e9ed", linewidth=0.8)
    axes.set_axisbelow(True)
