"""What all plots on the project's pages look like."""

from __future__ import annotations

from typing import Any, Literal

from matplotlib.ticker import FuncFormatter

from foundation import palette
from foundation.command_line import one_line


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


def name(text: str, longest: int = 60) -> str:
    """A name that somebody else has chosen (of a class, say), for matplotlib to show as it is.

    Between two dollar signs matplotlib reads mathematics, and it leaves a label that begins with an
    underscore out of the legend. A very long one would leave the plot no room.

    Args:
        text: as it was chosen.
        longest: longer ones lose their middle; in characters.
    """
    if len(text) > longest:
        text = f"{text[: longest // 2 - 1]}…{text[-longest // 2 :]}"
    text = one_line(text).replace("$", r"\$")
    return f"\N{WORD JOINER}{text}" if text.startswith("_") else text
