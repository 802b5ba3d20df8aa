"""The search for batching parameters as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib.figure
from matplotlib.ticker import MaxNLocator

from foundation.pages import page, plots
from foundation.pages.palette import BLUE, GREEN, GREY, ORANGE
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
    origin: page.Origin,
) -> None:
    """Writes the page."""
    ordered = sorted(tried, key=lambda one: (not one.last, -one.order))
    page.write(
        path,
        TEMPLATE,
        origin=origin,
        verdict=verdict,
        tried=ordered,
        side_by_side=side_by_side(tried, turns),
        chosen=chosen,
        objectives=objectives,
        shared_fate=" ".join(SHARED_FATE),
        bars=page.drawn("The knee of each set of parameters", _bars, ordered, chosen)
        if ordered
        else "",
        pairs=page.drawn(
            "Latency over its limit in each pair, with and without batching", _pairs, turns
        )
        if turns is not None
        else "",
    )


def _bars(ordered: Sequence[Tried], chosen: Tried | None) -> matplotlib.figure.Figure:
    """Each one's knee with its interval; the last looks above.

    Where no knee was found, a triangle stands at the highest rate that held.
    """
    figure, (axes,) = plots.panels(0.9 + 0.32 * len(ordered))
    for at, one in enumerate(reversed(ordered)):
        knee = one.found.knee
        color = GREEN if one is chosen else BLUE if one.last else GREY
        high = knee.low if knee.high is None else knee.high
        axes.hlines(at, knee.low, high, color=color, linewidth=4)
        rate, mark = (knee.low, ">") if knee.rate is None else (knee.rate, "o")
        axes.plot([rate], [at], mark, color=color)
    names = [
        f"{one.candidate.name}{'' if one.last else ' (first look)'}" for one in reversed(ordered)
    ]
    axes.set_yticks(range(len(names)), names)
    for label, one in zip(axes.get_yticklabels(), reversed(ordered)):
        label.set_fontweight("bold" if one.candidate == OFF else "normal")
    axes.set(xlabel="requests/s that hold the objectives; 90 % interval")
    plots.from_zero(axes)
    plots.style(axes)
    return figure


def _pairs(turns: InTurns) -> matplotlib.figure.Figure:
    """Both strains of each pair; what failed more often than allowed stands at the upper edge."""
    figure, (axes,) = plots.panels(3.0)
    seen = [value for pair in turns.pairs for value in pair if math.isfinite(value)]
    edge = 1.5 * max([1.0, *seen])
    for at, color, label in ((0, BLUE, "with batching"), (1, ORANGE, "without batching")):
        values = [min(pair[at], edge) for pair in turns.pairs]
        axes.plot(range(1, len(values) + 1), values, "o", color=color, label=label)
    axes.axhline(1, color=GREY, linestyle="--", linewidth=1, label="allowed")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="pair", ylabel="latency over its limit")
    plots.style(axes)
    return figure
