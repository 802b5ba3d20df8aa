"""The benchmark as one self-contained HTML page.

Knows nothing about bars: those come with the figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import matplotlib.figure
import numpy as np

from foundation import page, plots
from foundation.figures import Figures
from foundation.palette import BLUE, GREY, INK, ORANGE, SERIES
from tests.bench.rollout import timeline
from tests.bench.rollout.callers import FAILED, LABELS
from tests.bench.rollout.traffic import Traffic

TEMPLATE = Path(__file__).parents[1] / "report.html"

ABOUT = """Server, callers and commands share the cores."""

TRAFFIC = """Answers a second by the version that gave them, for callers who ask for stable. Grey:
a command runs."""

ROLLBACK = """From the start of the command (a process that has yet to start) to the last answer of
the version that is left."""

LATENCY = """Requests that were under way while a command ran, beside all others."""

EXPERIMENT = """Share of simulated experiments without a difference that are ever called one, while
looking after every outcome; and with the difference that was planned for."""


class Simulated(NamedTuple):
    """One figure of the simulation."""

    name: str
    value: float | int | None


@dataclasses.dataclass
class Page:
    """What there is to show; a part that was not measured is left out."""

    traffic: dict[str, Traffic] = dataclasses.field(default_factory=dict)
    simulated: list[Simulated] = dataclasses.field(default_factory=list)

    def write(self, path: Path, figures: Figures) -> None:
        """Writes the page."""
        shown = []
        if "rpc" in self.traffic or "file" in self.traffic:
            shown.append(("Rollback", ROLLBACK, _rollbacks(self.traffic)))
        for part, found in self.traffic.items():
            shown.append((f"Who answered: {part}", TRAFFIC, _answers(found)))
        if self.traffic:
            shown.append(("Latency", LATENCY, _latencies(self.traffic)))
        if self.simulated:
            shown.append(("Experiments", EXPERIMENT, _experiments(self.simulated)))
        page.write(
            path,
            TEMPLATE,
            origin=page.origin(figures.command),
            title="The rollout, measured",
            about=ABOUT,
            absent={},
            figures=figures.results,
            holds=figures.hold,
            plots=shown,
        )


def _rollbacks(traffic: Mapping[str, Traffic]) -> str:
    figure = matplotlib.figure.Figure(figsize=(9, 2.2), layout="constrained")
    axes = figure.subplots()
    for (part, found), color in zip(traffic.items(), SERIES):
        seconds = np.sort(timeline.last_answers_s(found.commands, found.rows))
        share = np.arange(1, len(seconds) + 1) / len(seconds)
        axes.step(seconds, 100 * share, where="post", color=color, label=f"{part} ({len(seconds)})")
    axes.set_xlabel("seconds")
    axes.set_ylabel("% of rollbacks")
    axes.set_xlim(left=0)
    plots.style(axes)
    axes.legend(frameon=False)
    return page.svg(figure)


def _answers(found: Traffic) -> str:
    """A stretch of the beginning: at most 20 seconds, or the whole would be a blur."""
    start = found.commands[0].begun - 1
    end = min(found.commands[-1].ended + 1, start + 20)
    own = found.rows[found.rows["label"] == 0]
    edges = np.arange(start, end, 0.1)
    figure = matplotlib.figure.Figure(figsize=(9, 2.2), layout="constrained")
    axes = figure.subplots()
    for version, color in ((1, BLUE), (2, ORANGE), (FAILED, INK)):
        counts, _ = np.histogram(own["ended"][own["version"] == version], edges)
        label = "failed" if version == FAILED else f"version {version}"
        axes.plot(edges[:-1] - start, counts * 10, color=color, label=label)
    for command in found.commands:
        if command.begun < end:
            axes.axvspan(command.begun - start, command.ended - start, color=GREY, alpha=0.15)
    axes.set_xlabel("seconds")
    axes.set_ylabel(f"answers/s, {LABELS[0]}")
    plots.style(axes)
    axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.98))
    return page.svg(figure)


def _latencies(traffic: Mapping[str, Traffic]) -> str:
    figure = matplotlib.figure.Figure(figsize=(9, 2.4), layout="constrained")
    each: Any = figure.subplots(1, len(traffic), squeeze=False)[0]
    for axes, (part, found) in zip(each, traffic.items()):
        took = 1000 * (found.rows["ended"] - found.rows["begun"])
        during = np.zeros(len(took), bool)
        for command in found.commands:
            before, after = found.rows["ended"] < command.begun, found.rows["begun"] > command.ended
            during |= ~(before | after)
        edges = np.geomspace(max(took.min(), 0.1), took.max(), 60)
        for chosen, color, label in (
            (~during, BLUE, "no command"),
            (during, ORANGE, "during one"),
        ):
            if chosen.any():
                weights = np.full(int(chosen.sum()), 100 / chosen.sum())
                axes.hist(
                    took[chosen], edges, weights=weights, histtype="step", color=color, label=label
                )
        axes.set_xscale("log")
        axes.set_title(part, fontsize=9)
        axes.set_xlabel("ms")
        plots.style(axes)
    each[0].set_ylabel("% of requests")
    each[0].legend(frameon=False)
    return page.svg(figure)


def _experiments(simulated: list[Simulated]) -> str:
    shares = [row for row in simulated if row.value is not None and "outcomes" not in row.name]
    shares = [row for row in shares if float(row.value or 0) <= 1][::-1]
    figure = matplotlib.figure.Figure(figsize=(9, 0.3 * len(shares) + 0.8), layout="constrained")
    axes = figure.subplots()
    axes.barh(
        [row.name.replace("_", " ") for row in shares],
        [100 * float(row.value or 0) for row in shares],
        color=BLUE,
    )
    for at, row in enumerate(shares):
        axes.text(
            100 * float(row.value or 0) + 1, at, f"{100 * float(row.value or 0):.2f} %", va="center"
        )
    axes.axvline(5, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, 112)
    axes.set_xlabel("% of experiments (dotted: 5 %)")
    plots.style(axes, "x")
    return page.svg(figure)
