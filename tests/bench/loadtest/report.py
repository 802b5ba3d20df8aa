"""What the load test's page shows."""

from __future__ import annotations

import numpy as np

from foundation.palette import BLUE, GREEN, INK, ORANGE
from foundation.plots import style
from tests.bench.loadtest.accuracy import Accuracy
from tests.bench.loadtest.knee import OBJECTIVES, Knees
from tests.bench.loadtest.throughput import Throughput
from tests.bench.page import Section, figure as new_figure

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
    figure = new_figure(2.4)
    axes = figure.subplots()
    rows = (("bare stub", taken.bare_per_s, "closed"), ("generator", taken.ours_per_s, "open"))
    for at, (_, values, color) in enumerate(rows):
        axes.plot(values, [at] * len(values), "o", color=COLORS[color], alpha=0.6)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set(xlabel="requests/s", ylim=(-0.5, 1.5))
    axes.set_xlim(left=0)
    style(axes)
    return Section("Requests a second", THROUGHPUT, figure)


def knees(taken: Knees) -> Section:
    """The knees that search and sweep found."""
    figure = new_figure(3.4)
    axes = figure.subplots()
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
    style(axes)
    return Section("The knee, searched and swept", KNEE, figure)


def tails(taken: Accuracy) -> Section:
    """The share of requests that took longer, as each loop sees it."""
    figure = new_figure(4.2)
    axes = figure.subplots()
    for name, seen in taken.loops.items():
        latencies_ms = 1000 * np.sort(seen.latencies_s)
        beyond = 1 - np.arange(len(latencies_ms)) / len(latencies_ms)
        axes.plot(latencies_ms, beyond, color=COLORS[name], label=f"as {LOOPS[name]} sees it")
    truth = taken.open.truth_ms
    axes.plot(truth, [0.5, 0.01, 0.001], "x", color=COLORS["truth"], label="truth: p50, p99, p99.9")
    axes.set(xscale="log", yscale="log", xlabel="ms", ylabel="share that took longer")
    axes.legend(frameon=False)
    style(axes)
    return Section("What is reported, and what is true", ACCURACY, figure)
