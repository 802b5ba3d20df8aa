"""What the rollout's page shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from foundation.palette import BLUE, GREY, INK, ORANGE
from tests.bench.page import Section, figure as new_figure
from tests.bench.rollout import timeline
from tests.bench.rollout.callers import FAILED, LABELS
from tests.bench.rollout.traffic import Traffic

TRAFFIC = """Answers a second by the version that gave them, for callers who ask for stable. Grey:
a command runs."""

ROLLBACK = """From the start of the command (a process that has yet to start) to the last answer of
the version that is left."""

LATENCY = """Requests that were under way while a command ran, beside all others."""

EXPERIMENT = """Share of simulated experiments in which a difference is declared, with a look after
every outcome: where there is none, and where it is the one that was planned for."""


@dataclasses.dataclass
class Found:
    """What was measured; a part that was not is left out."""

    traffic: dict[str, Traffic] = dataclasses.field(default_factory=dict)
    simulated: Mapping[str, float | int | None] = dataclasses.field(default_factory=dict)
    """Figures of the simulation."""


def sections(found: Found) -> list[Section]:
    """The page's sections, in order."""
    shown = []
    if "rpc" in found.traffic or "file" in found.traffic:
        shown.append(Section("Rollback", ROLLBACK, _rollbacks(found.traffic)))
    for part, taken in found.traffic.items():
        shown.append(Section(f"Who answered: {part}", TRAFFIC, _answers(taken)))
    if found.traffic:
        shown.append(Section("Latency", LATENCY, _latencies(found.traffic)))
    if found.simulated:
        shown.append(Section("Experiments", EXPERIMENT, _experiments(found.simulated)))
    return shown


def _rollbacks(traffic: Mapping[str, Traffic]) -> Figure:
    figure = new_figure(2.2)
    axes = figure.subplots()
    for part, found in traffic.items():
        seconds = np.sort(timeline.last_answers_s(found.commands, found.rows))
        share = np.arange(1, len(seconds) + 1) / len(seconds)
        axes.step(seconds, 100 * share, where="post", label=f"{part} ({len(seconds)})")
    axes.set_xlabel("seconds")
    axes.set_ylabel("% of rollbacks")
    axes.set_xlim(left=0)
    axes.legend(frameon=False)
    return figure


def _answers(found: Traffic) -> Figure:
    """A stretch of the beginning: at most 20 seconds, or the whole would be a blur."""
    start = found.commands[0].begun - 1
    end = min(found.commands[-1].ended + 1, start + 20)
    own = found.rows[found.rows["label"] == 0]
    edges = np.arange(start, end, 0.1)
    figure = new_figure(2.2)
    axes = figure.subplots()
    for version, colour in ((1, BLUE), (2, ORANGE), (FAILED, INK)):
        counts, _ = np.histogram(own["ended"][own["version"] == version], edges)
        label = "failed" if version == FAILED else f"version {version}"
        axes.plot(edges[:-1] - start, counts * 10, color=colour, label=label)
    for command in found.commands:
        if command.begun < end:
            axes.axvspan(command.begun - start, command.ended - start, color=GREY, alpha=0.15)
    axes.set_xlabel("seconds")
    axes.set_ylabel(f"answers/s, {LABELS[0]}")
    axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.98))
    return figure


def _latencies(traffic: Mapping[str, Traffic]) -> Figure:
    figure = new_figure(2.4)
    each: Any = figure.subplots(1, len(traffic), squeeze=False)[0]
    for axes, (part, found) in zip(each, traffic.items()):
        took = 1000 * (found.rows["ended"] - found.rows["begun"])
        during = np.zeros(len(took), bool)
        for command in found.commands:
            before, after = found.rows["ended"] < command.begun, found.rows["begun"] > command.ended
            during |= ~(before | after)
        edges = np.geomspace(max(took.min(), 0.1), took.max(), 60)
        for chosen, colour, label in (
            (~during, BLUE, "no command"),
            (during, ORANGE, "during one"),
        ):
            if chosen.any():
                weights = np.full(int(chosen.sum()), 100 / chosen.sum())
                axes.hist(
                    took[chosen], edges, weights=weights, histtype="step", color=colour, label=label
                )
        axes.set_xscale("log")
        axes.set_title(part, fontsize=9)
        axes.set_xlabel("ms")
    each[0].set_ylabel("% of requests")
    each[0].legend(frameon=False)
    return figure


def _experiments(simulated: Mapping[str, float | int | None]) -> Figure:
    shares = [
        (name.replace("_", " "), 100 * float(value))
        for name, value in simulated.items()
        if value is not None and "outcomes" not in name and float(value) <= 1
    ][::-1]
    figure = new_figure(0.3 * len(shares) + 0.8)
    axes = figure.subplots()
    axes.barh([name for name, _ in shares], [percent for _, percent in shares], color=BLUE)
    for at, (_, percent) in enumerate(shares):
        axes.text(percent + 1, at, f"{percent:.2f} %", va="center")
    axes.axvline(5, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, 112)
    axes.set_xlabel("% of experiments (dotted: 5 %)")
    return figure
