"""What the rollout's page shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from foundation.pages import numbers, plots
from foundation.pages.palette import BLUE, GREY, INK, ORANGE
from tests.bench.page import Section
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
        shown.append(Section("Rollback", ROLLBACK, partial(_rollbacks, found.traffic)))
    for name, taken in found.traffic.items():
        shown.append(Section(f"Who answered: {name}", TRAFFIC, partial(_answers, taken)))
    if found.traffic:
        shown.append(Section("Latency", LATENCY, partial(_latencies, found.traffic)))
    if found.simulated:
        shown.append(Section("Experiments", EXPERIMENT, partial(_experiments, found.simulated)))
    return shown


def _rollbacks(traffic: Mapping[str, Traffic]) -> Figure:
    figure, (axes,) = plots.panels(2.4)
    for part, found in traffic.items():
        seconds = np.sort(timeline.last_answers_s(found.commands, found.rows))
        share = np.arange(1, len(seconds) + 1) / len(seconds)
        axes.step(seconds, 100 * share, where="post", label=f"{part} ({len(seconds)})")
    axes.set_xlabel("seconds")
    axes.set_ylabel("% of rollbacks")
    plots.from_zero(axes)
    plots.style(axes)
    return figure


def _answers(found: Traffic) -> Figure:
    """A stretch of the beginning: at most 20 seconds, or the whole would be a blur."""
    start = found.commands[0].begun - 1
    end = min(found.commands[-1].ended + 1, start + 20)
    own = found.rows[found.rows["label"] == 0]
    edges = np.arange(start, end, 0.1)
    figure, (axes,) = plots.panels(2.4)
    for version, colour in ((1, BLUE), (2, ORANGE), (FAILED, INK)):
        counts, _ = np.histogram(own["ended"][own["version"] == version], edges)
        label = "failed" if version == FAILED else f"version {version}"
        axes.plot(edges[:-1] - start, counts * 10, color=colour, label=label)
    for command in found.commands:
        if command.begun < end:
            axes.axvspan(command.begun - start, command.ended - start, color=GREY, alpha=0.15)
    axes.set_xlabel("seconds")
    axes.set_ylabel(f"answers/s, {LABELS[0]}")
    plots.style(axes)
    return figure


def _latencies(traffic: Mapping[str, Traffic]) -> Figure:
    figure, each = plots.panels(2.6, columns=len(traffic))
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
                counts, _ = np.histogram(took[chosen], edges)
                share = 100 * counts / chosen.sum()
                axes.step(edges[:-1], share, where="post", color=colour, label=label)
        axes.set_xscale("log")
        axes.set(title=part, xlabel="ms", ylabel="% of requests")
        plots.style(axes)
    return figure


def _experiments(simulated: Mapping[str, float | int | None]) -> Figure:
    shares = [
        (name.replace("_", " "), 100 * float(value))
        for name, value in simulated.items()
        if value is not None and "outcomes" not in name and float(value) <= 1
    ][::-1]
    figure, (axes,) = plots.panels(0.3 * len(shares) + 0.8)
    axes.barh([name for name, _ in shares], [percent for _, percent in shares], color=BLUE)
    for at, (_, percent) in enumerate(shares):
        axes.text(percent + 1, at, numbers.percent(percent / 100, 2), va="center")
    axes.axvline(5, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, 112)
    axes.set_xlabel("% of experiments (dotted: 5 %)")
    plots.style(axes, "x")
    return figure
