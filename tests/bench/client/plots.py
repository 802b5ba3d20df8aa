"""The plots of the client's page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from foundation.pages import numbers, plots
from foundation.pages.palette import BLUE, GREY, GROUND, INK, ORANGE, RED
from tests.bench.client import calls, imports, outage, verdict
from tests.bench.client.arrays import Arrays
from tests.bench.client.calls import Calls
from tests.bench.client.clients.frame import CASES, FORMS
from tests.bench.client.outage import Outage
from tests.bench.client.processes import OURS
from tests.bench.environments import RIVAL_CLIENTS

CLIENTS = {
    OURS: "tfs_client",
    "ovmsclient": "ovmsclient",
    "tensorflow_serving_api": "tensorflow-serving-api",
}

KINDS = {calls.THREADS: "tfs_client, threads", calls.ASYNCIO: "tfs_client, asyncio"}

CASE_TITLES = {
    "pixels": "uint8 [32, 64, 64, 3], 0.4 MB",
    "tensor": "float32 [256, 256, 16], 4 MiB",
    "files": "32 PNG files, 0.4 MB",
}

FORM_TITLES = {
    "content": "float32 [1024, 1024] as tensor_content",
    "values": "float32 [1024, 1024] as float_val",
}

OUTCOMES = (
    (outage.STABLE, "the version asked for", BLUE),
    (outage.CANARY, "the fallback version", GREY),
    (outage.STAND_IN, "the caller's default", ORANGE),
    (outage.WRONG, "a wrong answer", RED),
    (outage.ERROR, "an error", INK),
)

Row = tuple[str, Sequence[float], str]
"""What is shown, its values, and the words beside them."""


def import_costs(rounds: imports.Rounds) -> Figure:
    """Time and memory of each import."""
    names = {
        imports.BARE: "tfs_client, no name used",
        imports.BASELINE: "grpcio, numpy, protobuf",
        **CLIENTS,
    }
    figure, both = plots.panels(2.9, columns=2, sharey=True)
    for axes, field, unit in zip(both, ("seconds", "mb"), ("s", "MB")):
        rows: list[Row] = []
        for name, title in names.items():
            values = [getattr(one[name], field) for one in rounds if name in one]
            if values:
                rows.append((title, values, numbers.amount(statistics.median(values), unit)))
        _dots(axes, rows)
        axes.set_xlabel(f"{unit}, logarithmic")
    return figure


def encoding(taken: Arrays) -> Figure:
    """Request bytes, in copies of the data."""
    figure, every = plots.panels(5.2, rows=len(CASES), sharex=True)
    for axes, case in zip(every, CASES):
        ways = [(title, f"{case}.{name}", f"{case}.{name}.copy") for name, title in CLIENTS.items()]
        ways.insert(1, ("tfs_client, until sent", f"{case}.until_sent", f"{case}.{OURS}.copy"))
        rows = [
            (
                title,
                taken.samples.ratios(of, copy, min),
                numbers.amount(taken.samples.us(of, min), "µs"),
            )
            for title, of, copy in ways
            if of in taken.samples
        ]
        axes.set_title(CASE_TITLES[case])
        _dots(axes, rows)
        if case in verdict.JUDGED_CASES:
            axes.axvline(verdict.COPIES, color=RED, linestyle="--", linewidth=1)
    every[-1].set_xlabel("copies of the data in the same process, logarithmic (dots: rounds)")
    return figure


def decoding(taken: Arrays) -> Figure:
    """Arrays from answers."""
    figure, every = plots.panels(3.6, rows=len(FORMS), sharex=True)
    for axes, form in zip(every, FORMS):
        rows = [
            (
                title,
                taken.samples.each(f"{form}.{name}", min),
                numbers.amount(taken.samples.us(f"{form}.{name}", min), "µs"),
            )
            for name, title in CLIENTS.items()
            if f"{form}.{name}" in taken.samples
        ]
        axes.set_title(FORM_TITLES[form])
        _dots(axes, rows)
    every[-1].set_xlabel("µs, logarithmic (dots: rounds)")
    return figure


def latency_ratios(taken: Calls) -> Figure:
    """Median latencies over those of the bare stub in the same process."""
    figure, (axes,) = plots.panels(2.4)
    rows = []
    for name, title in {**KINDS, **{name: CLIENTS[name] for name in RIVAL_CLIENTS}}.items():
        if name in taken.samples:
            ratios = taken.samples.ratios(name, f"{name}.bare", statistics.median)
            p50 = taken.samples.us(name, statistics.median)
            bare = taken.samples.us(f"{name}.bare", statistics.median)
            rows.append((title, ratios, f"{p50:,.0f} µs over {bare:,.0f} µs"))
    axes.axvline(verdict.LATENCY, color=RED, linestyle="--", linewidth=1)
    axes.axvline(1, color=GREY, linewidth=1)
    _dots(axes, rows, logarithmic=False)
    axes.set_xlabel("times the bare stub's median latency (dots: rounds)")
    return figure


def latencies(taken: Calls) -> Figure:
    """How the single calls are spread."""
    figure, both = plots.panels(2.9, columns=2, sharey=True)
    for axes, (kind, title) in zip(both, KINDS.items()):
        for name, label, color in (
            (f"{kind}.bare", "bare stub", GREY),
            (kind, "tfs_client", BLUE),
        ):
            seconds = np.concatenate([np.asarray(one) for one in taken.samples.rounds[name]])
            shares = np.linspace(0, 99.5, 400)
            axes.plot(np.percentile(seconds, shares) * 1e6, shares, color=color, label=label)
        axes.set(title=title, xlabel="µs", xlim=(0, None))
        plots.style(axes)
    both[0].set_ylabel("% of the calls took less")
    return figure


def memory(taken: Calls) -> Figure:
    """Growth since the warm-up."""
    figure, (axes,) = plots.panels(2.6)
    for color, (kind, resident) in zip((BLUE, ORANGE), taken.memory.items()):
        at = np.linspace(0, taken.calls, len(resident))
        axes.plot(at, np.subtract(resident, resident[0]), color=color, label=KINDS[kind])
    axes.axhline(verdict.MEMORY_GROWTH_MB, color=RED, linestyle="--", linewidth=1, label="bar")
    axes.set(xlabel="calls after the warm-up", ylabel="MB more")
    plots.style(axes)
    return figure


def outages(taken: Mapping[str, Outage]) -> Figure:
    """Which version answered, and how long each call took."""
    figure, every = plots.panels(4.4 * len(taken), rows=2 * len(taken), sharex=True)
    for at, (kind, one) in enumerate(taken.items()):
        counts, times = every[2 * at : 2 * at + 2]
        shown = [row for row in OUTCOMES if one.count(row[0])]
        edges = np.arange(0, one.begun_s.max() + 0.2, 0.2)
        counts.hist(
            [one.begun_s[one.outcomes == outcome] for outcome, _, _ in shown],
            edges,
            weights=[np.full(one.count(outcome), 5.0) for outcome, _, _ in shown],
            stacked=True,
            color=[color for _, _, color in shown],
            label=[label for _, label, _ in shown],
        )
        counts.set(title=KINDS[kind], ylabel="calls a second")
        for outcome, _, color in shown:
            those = one.outcomes == outcome
            times.plot(
                one.begun_s[those], one.took_s[those] * 1e3, ".", color=color, markersize=1.5
            )
        times.set_yscale("log")
        times.set_ylabel("ms a call")
        for axes in (counts, times):
            for when, line in ((one.killed_s, "-"), (one.ready_s, "--")):
                axes.axvline(when, color=RED, linestyle=line, linewidth=1)
            plots.style(axes)
        counts.margins(y=0.3)  # for the words above the bars
        top = counts.get_ylim()[1]
        counts.text(one.killed_s, top * 0.9, " killed", color=RED)
        counts.text(one.ready_s, top * 0.9, " its port is open again", color=RED)
    every[-1].set_xlabel("s")
    figure.align_ylabels()
    # Thousands of dots: drawn as a picture, or the page would be huge.
    for axes in every[1::2]:
        for line in axes.lines:
            line.set_rasterized(True)
    return figure


def _dots(axes: Any, rows: Sequence[Row], logarithmic: bool = True) -> None:
    """A line for each row: a dot a round, a bold one for the median, and its words."""
    for at, (title, values, words) in enumerate(rows):
        middle = statistics.median(values)
        axes.plot(values, [at] * len(values), ".", color=INK, markersize=3, alpha=0.5)
        color = BLUE if title.startswith(CLIENTS[OURS]) else ORANGE
        axes.plot(middle, at, "o", color=color, zorder=3)
        axes.annotate(
            words,
            (max(values), at),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox={"color": GROUND, "pad": 1},
        )
    axes.set_yticks(range(len(rows)), [title for title, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if logarithmic:
        axes.set_xscale("log")
    plots.style(axes)
    low, high = axes.get_xlim()
    room = (high / low) ** 0.3 if logarithmic else 1  # for the words
    axes.set_xlim(low, high * room if logarithmic else high + (high - low) * 0.3)
