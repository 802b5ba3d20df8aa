"""The page of a sweep: the ranking, and each seed's figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib.figure

from foundation.pages import page, plots
from foundation.pages.page import Origin
from foundation.pages.palette import BLUE, GREY, INK
from training.comparing.pages import NAMES
from training.sweeping.ranking import FIGURES, Row

TEMPLATE: Final = Path(__file__).with_name("sweep.html")


def write(path: Path, rows: Sequence[Row], by: str, origin: Origin) -> None:
    """Writes the page.

    Args:
        path: of the page.
        rows: the best first.
        by: which figure of validation they are ranked by.
        origin: shown in its head.
    """
    page.write(
        path,
        TEMPLATE,
        origin=origin,
        rows=rows,
        by=by,
        figures=[(name, NAMES[name]) for name in FIGURES],
        spread=page.drawn(f"{NAMES[by]} of each variant, seed by seed", _spread, rows, by),
    )


def _spread(rows: Sequence[Row], by: str) -> matplotlib.figure.Figure:
    figure, (ax,) = plots.panels(0.45 * len(rows) + 1.0)
    for place, row in enumerate(rows[::-1]):
        for found, color in ((row.test[by], GREY), (row.validation[by], BLUE)):
            values = [value for value in found.values if value is not None]
            shift = 0.14 if color == BLUE else -0.14
            ax.plot(values, [place + shift] * len(values), "o", color=color, alpha=0.6)
            if found.mean is not None:
                ax.plot([found.mean], [place + shift], "|", color=INK, markersize=10)
    ax.set_yticks(range(len(rows)), [plots.name(row.variant.name) for row in rows[::-1]])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set(title="Blue: validation; grey: test; a dot a seed", xlabel=NAMES[by])
    plots.style(ax, "x")
    return figure
