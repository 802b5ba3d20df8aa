"""The search for batching parameters as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib.figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from foundation import page, plots
from foundation.palette import BLUE, GREEN, GREY, ORANGE
from loadtest.tuning.candidates import OFF
from loadtest.tuning.in_turns import InTurns
from loadtest.tuning.recommendation import SHARED_FATE, Tried, side_by_side
from loadtest.verdicts.objectives import Objectives

TEMPLATE: Final = Path(__file__).with_name("tune.html")


def write(
    path: Path,
    *,
    verdict: str,
    tried: Sequence[Tried],
    turns: InTurns | None,
    chosen: Tried | None,
    objectives: Objectives,
    command: str,
) -> None:
    """Writes the page."""
    ordered = sorted(tried, key=lambda one: (not one.last, -one.order))
    page.write(
        path,
        TEMPLATE,
        origin=page.origin(command),
        verdict=verdict,
        tried=ordered,
        side_by_side=side_by_side(tried, turns),
        chosen=chosen,
        objectives=objectives,
        shared_fate=" ".join(SHARED_FATE),
        bars=page.drawn(_bars, ordered, chosen) if ordered else "",
        pairs=page.drawn(_pairs, turns) if turns is not None else "",
    )


def _bars(ordered: Sequence[Tried], chosen: Tried | None) -> matplotlib.figure.Figure:
    """Each one's knee with its interval; the last looks above."""
    height = 0.9 + 0.32 * len(ordered)
    figure = matplotlib.figure.Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots()
    for at, one in enumerate(reversed(ordered)):
        knee = one.found.knee
        color = GREEN if one is chosen else BLUE if one.last else GREY
        high = knee.low if knee.high is None else knee.high
        axes.plot([knee.low, high], [at, at], color=color, linewidth=4)
        if knee.rate is not None:
            axes.plot([knee.rate], [at], "o", color=color)
    names = [
        f"{one.candidate.name}{'' if one.last else ' (first look)'}" for one in reversed(ordered)
    ]
    axes.set_yticks(range(len(names)), names)
    for label, one in zip(axes.get_yticklabels(), reversed(ordered)):
        label.set_fontweight("bold" if one.candidate == OFF else "normal")
    axes.set(xlabel="highest rate that holds the objectives, requests/s; 90 % interval")
    axes.set_xlim(left=0)
    plots.style(axes)
    return figure


def _pairs(turns: InTurns) -> matplotlib.figure.Figure:
    """Both strains of each pair; what failed more often than allowed stands at the upper edge."""
    figure = matplotlib.figure.Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    seen = [value for pair in turns.pairs for value in pair if math.isfinite(value)]
    edge = 1.5 * max([1.0, *seen])
    for at, color, label in ((0, BLUE, "with batching"), (1, ORANGE, "without batching")):
        values = [min(pair[at], edge) for pair in turns.pairs]
        axes.plot(range(1, len(values) + 1), values, "o", color=color, label=label)
    axes.axhline(1, color=GREY, linestyle="--", linewidth=1, label="allowed")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(plots.plain_numbers())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="pair", ylabel="latency over its limit")
    plots.style(axes)
    axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return figure
