"""What all plots on the project's pages look like."""

from __future__ import annotations

from typing import Any, Literal

from matplotlib.ticker import FuncFormatter

from foundation import palette


def style(axes: Any, grid: Literal["both", "x", "y"] = "both") -> None:
    """Gives axes the project's frame and grid.

    Args:
        axes: matplotlib's.
        grid: the axis whose values have grid lines.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=palette.GRID, linewidth=0.8, axis=grid)
    axes.set_axisbelow(True)


def plain_numbers() -> FuncFormatter:
    """Writes the numbers of a logarithmic axis as 0.5, 1, 20 in place of powers of ten."""
    return FuncFormatter(lambda value, _: f"{value:g}")
