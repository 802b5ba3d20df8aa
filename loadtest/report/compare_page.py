"""The comparison of two runs as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib.figure
import numpy as np
from numpy.typing import NDArray

from foundation.pages import page, plots
from foundation.pages.palette import BLUE, GREEN, GREY, INK, ORANGE, RED
from loadtest.results.percentiles import of_counts
from loadtest.verdicts.comparison import Comparison, Slices
from loadtest.verdicts.sides import Sides

TEMPLATE: Final = Path(__file__).with_name("compare.html")


def write(
    path: Path,
    *,
    found: Comparison,
    sides: Sides,
    notes: Sequence[str],
    origin: page.Origin,
) -> None:
    """Writes the page.

    Args:
        path: of the page.
        found: the answers.
        sides: A and B.
        notes: what a reader has to know before them.
        origin: where they come from.
    """
    cut = [side.slices for side in sides]
    both = [side.run.settings for side in sides]
    names = [f"{letter}: {side.name}" for letter, side in zip("AB", sides)]
    page.write(
        path,
        TEMPLATE,
        origin=origin,
        found=found,
        sides=sides,
        notes=notes,
        settings=[
            (name, *(one.get(name, "-") for one in both))
            for name in dict.fromkeys([*both[0], *both[1]])
        ],
        ratios=page.drawn("Ratio of B to A with its interval, in percent", _ratios, found),
        tails=page.drawn("Share of the right answers that took longer", _tails, cut, names),
        over_time=page.drawn("Median and p95 of each second", _over_time, cut, names),
    )


def _ratios(found: Comparison) -> matplotlib.figure.Figure:
    """Each ratio with its interval."""
    rows = [row for row in found.rows if row.name != "failures" and row.ratio is not None]
    figure, (axes,) = plots.panels(2.4)
    for at, row in enumerate(reversed(rows)):
        assert row.ratio is not None
        assert row.low is not None
        assert row.high is not None
        color = RED if row.worse else GREEN if row.better else GREY
        axes.hlines(at, 100 * row.low - 100, 100 * row.high - 100, color=color, linewidth=4)
        axes.plot([100 * row.ratio - 100], [at], "o", color=color)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)])
    axes.set(
        xlabel="B against A, %; the intervals hold together with 95 %", ylim=(-0.6, len(rows) - 0.4)
    )
    plots.style(axes)
    return figure


def _tails(cut: Sequence[Slices], names: Sequence[str]) -> matplotlib.figure.Figure:
    """The share of the right answers that took longer."""
    figure, (axes,) = plots.panels(3.4)
    for side, name, color in zip(cut, names, (BLUE, ORANGE)):
        counts = side.counts.sum(axis=0)
        beyond = 1 - (np.cumsum(counts) - counts) / counts.sum()
        axes.step(side.values_us / 1000, beyond, where="post", color=color, label=plots.name(name))
    axes.set(xscale="log", yscale="log", title="Share that took longer", xlabel="ms")
    plots.style(axes)
    return figure


def _over_time(cut: Sequence[Slices], names: Sequence[str]) -> matplotlib.figure.Figure:
    """Each second's median and p95."""
    figure, (axes,) = plots.panels(3.4)
    for side, name, color in zip(cut, names, (BLUE, ORANGE)):
        for share, line in ((50, "-"), (95, ":")):
            values = _of_each(side, share) / 1000
            label = f"{plots.name(name)}, p{share}"
            axes.plot(np.arange(side.count), values, line, color=color, label=label)
    axes.set(title="Latency of each second", xlabel="seconds since the begin", ylabel="ms")
    axes.set_ylim(bottom=0)
    plots.style(axes)
    return figure


def _of_each(side: Slices, share: float) -> NDArray[np.float64]:
    """A percentile of each second [seconds]; NaN where no request was answered rightly."""
    found = np.full(side.count, np.nan)
    answered = side.counts.any(axis=1)
    (found[answered],) = of_counts(side.values_us, side.counts[answered], (share,))
    return found
