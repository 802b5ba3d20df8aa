"""What the load test's page shows."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from foundation.pages import plots
from foundation.pages.palette import BLUE, GREEN, INK, ORANGE
from tests.bench.loadtest.accuracy import Accuracy
from tests.bench.loadtest.knee import OBJECTIVES, Knees
from tests.bench.loadtest.throughput import Throughput
from tests.bench.page import Section

COLORS = {"open": BLUE, "closed": ORANGE, "ghz": GREEN, "truth": INK}

LOOPS = {"open": "the open loop", "closed": "the closed loop", "ghz": "ghz"}

THROUGHPUT = """One generator process, with its bookkeeping, and a bare stub in a loop take turns at
a server that answers at once. Each point is a turn."""

ACCURACY = """The share of requests that took longer. Every answer is delayed by its own draw, and
now and then the whole server stalls. Truth: the model's latency from when a request was due, and
the road to the server. The closed loop sends nothing while it waits, so that it hardly sees a
stall."""


KNEE = """Each point is one measurement of the sweep; the lines are the knees that the searches
found, with their intervals, and the one that the sweep found. The server works on two requests at a
time."""


def throughput(taken: Throughput) -> Section:
    """Requests a second, a point a turn."""
    return Section("Requests a second", THROUGHPUT, lambda: _turns(taken))


def knees(taken: Knees) -> Section:
    """The knees that search and sweep found."""
    return Section("The knee, searched and swept", KNEE, lambda: _sweep(taken))


def tails(taken: Accuracy) -> Section:
    """The share of requests that took longer, as each loop sees it."""
    return Section("What is reported, and what is true", ACCURACY, lambda: _beyond(taken))


def _turns(taken: Throughput) -> Figure:
    figure, (axes,) = plots.panels(2.4)
    rows = (("bare stub", taken.bare_per_s, "closed"), ("generator", taken.ours_per_s, "open"))
    for at, (_, values, color) in enumerate(rows):
        axes.plot(values, [at] * len(values), "o", color=COLORS[color], alpha=0.6)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set(xlabel="requests/s", ylim=(-0.5, 1.5))
    plots.from_zero(axes)
    plots.style(axes)
    return figure


def _sweep(taken: Knees) -> Figure:
    figure, (axes,) = plots.panels(3.6)
    answered = [(one.rate, one.p99_ms) for one in taken.points if one.p99_ms is not None]
    axes.plot(*zip(*answered), "o", color=COLORS["truth"], alpha=0.6, label="p99, sweep")
    axes.axhline(OBJECTIVES.limits["p99_ms"], color=COLORS["truth"], linestyle="--", linewidth=1)
    if taken.swept is not None:
        axes.axvline(taken.swept, color=COLORS["truth"], label="knee, sweep")
    for number, found in enumerate(taken.searched):
        if found.rate is None or found.high is None:
            continue
        label = "knee, search" if not number else None
        axes.axvline(found.rate, color=COLORS["closed"], linewidth=1, label=label)
        axes.axvspan(found.low, found.high, color=COLORS["closed"], alpha=0.12)
    axes.set_yscale("log")
    axes.set(xlabel="requests offered a second", ylabel="p99, ms")
    plots.style(axes)
    return figure


def _beyond(taken: Accuracy) -> Figure:
    figure, (axes,) = plots.panels(4.4)
    for name, seen in taken.loops.items():
        latencies_ms = 1000 * np.sort(seen.latencies_s)
        beyond = 1 - np.arange(len(latencies_ms)) / len(latencies_ms)
        axes.plot(latencies_ms, beyond, color=COLORS[name], label=f"as {LOOPS[name]} sees it")
    truth = taken.open.truth_ms
    axes.plot(truth, [0.5, 0.01, 0.001], "x", color=COLORS["truth"], label="truth: p50, p99, p99.9")
    axes.set(xscale="log", yscale="log", xlabel="ms", ylabel="share that took longer")
    plots.style(axes)
    return figure
