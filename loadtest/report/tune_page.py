"""The search for batching parameters as one self-contained HTML page.

Knows nothing about servers or searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import matplotlib.figure

from loadtest.report.plots import BLUE, GREY
from loadtest.tuning.candidates import OFF
from loadtest.verdicts.objectives import Objectives
from training import page

if TYPE_CHECKING:
    from loadtest.tune import Tried

TEMPLATE: Final = Path(__file__).with_name("tune.html")


def write(
    path: Path,
    *,
    verdict: str,
    tried: Sequence[Tried],
    chosen: Tried | None,
    objectives: Objectives,
    command: str,
) -> None:
    """Writes the page."""
    ordered = sorted(tried, key=lambda one: (not one.last, -one.order))
    text = page.render(
        TEMPLATE,
        verdict=verdict,
        tried=ordered,
        chosen=chosen,
        objectives=objectives,
        command=command,
        bars=page.svg(_bars(ordered, chosen)) if ordered else "",
    )
    path.write_text(text, encoding="utf-8")


def _bars(ordered: Sequence[Tried], chosen: Tried | None) -> matplotlib.figure.Figure:
    """Each one's knee with its interval; the last looks above."""
    height = 0.9 + 0.32 * len(ordered)
    figure = matplotlib.figure.Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots()
    for at, one in enumerate(reversed(ordered)):
        knee = one.found.knee
        color = "#2e7d4f" if one is chosen else BLUE if one.last else GREY
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
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e9ed", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure
