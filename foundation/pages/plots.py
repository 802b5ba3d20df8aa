"""What all plots on the project's pages look like.

A page shows each plot wide, or narrow on a phone: it is drawn twice, by the same function, and
`panels` gives it the room that there is. Panels that stand side by side stand below each other on a
phone. `style` comes last: it sees what was drawn.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import matplotlib
import matplotlib.figure
from cycler import cycler
from matplotlib import ticker

from foundation.command_line import one_line
from foundation.pages import numbers, palette

WIDE: Final = 9.0
NARROW: Final = 4.3
"""Inches; as wide as a phone's screen, so that text is as large there as on a page."""
FONT_SIZE: Final = 9.0
"""Points"""
NARROW_NAME: Final = 20
"""Characters; longer names at a vertical axis have several lines on a phone."""

_width: contextvars.ContextVar[float] = contextvars.ContextVar("width", default=WIDE)

matplotlib.rcParams.update(
    {
        "font.size": FONT_SIZE,
        "axes.titlesize": FONT_SIZE + 1,
        "axes.titlelocation": "left",
        "legend.fontsize": FONT_SIZE,
        "legend.frameon": False,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"),
            palette.INK,
        ),
        "axes.prop_cycle": cycler(color=palette.SERIES),
        "axes.edgecolor": palette.MUTED,
        "grid.color": palette.GRID,
    }
)


@contextlib.contextmanager
def narrow() -> Iterator[None]:
    """Within, plots are drawn for a phone."""
    token = _width.set(NARROW)
    try:
        yield
    finally:
        _width.reset(token)


def is_narrow() -> bool:
    """Whether a plot is drawn for a phone."""
    return _width.get() == NARROW


def panels(
    height: float, rows: int = 1, columns: int = 1, **subplots: Any
) -> tuple[matplotlib.figure.Figure, list[Any]]:
    """An empty plot as wide as there is room.

    Args:
        height: of all rows, in inches, where panels stand side by side.
        rows: of panels.
        columns: of panels; they stand below each other where there is little room.
        subplots: as Figure.subplots takes them, such as sharex.

    Returns:
        the figure, and its axes row by row.
    """
    if is_narrow():
        height, rows, columns = height * max(columns, 1.3), rows * columns, 1
    drawn = matplotlib.figure.Figure(figsize=(_width.get(), height), layout="constrained")
    return drawn, list(drawn.subplots(rows, columns, squeeze=False, **subplots).flat)


def style(axes: Any, grid: Literal["both", "x", "y"] = "both") -> None:
    """Gives axes the project's frame, grid, numbers and legend. Call it when all is drawn.

    The legend stands above the data, and the title above it.

    Args:
        axes: matplotlib's.
        grid: the axis whose values have grid lines.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(linewidth=0.8, axis=grid)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_locator(LogTicks())
            axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: numbers.shown(value)))
            axis.set_minor_locator(ticker.NullLocator())
            axis.set_minor_formatter(ticker.NullFormatter())
        elif type(axis.get_major_formatter()) is ticker.ScalarFormatter:
            axis.set_major_formatter(LinearNumbers())
    if is_narrow() and _names(axes):
        places, names = axes.get_yticks(), _names(axes)
        axes.set_yticks(places, [textwrap.fill(name, NARROW_NAME) for name in names])
    _legend(axes)


def _names(axes: Any) -> list[str]:
    """What stands at the vertical axis where that is no numbers."""
    if isinstance(axes.yaxis.get_major_formatter(), LinearNumbers) or axes.get_yscale() == "log":
        return []
    return [label.get_text() for label in axes.get_yticklabels()]


def from_zero(axes: Any) -> None:
    """Lets the horizontal axis begin at 0, and end behind the last point. Call it after drawing."""
    _, end = axes.get_xlim()
    axes.set_xlim(0, max(end, 1.03 * axes.dataLim.x1))


def _legend(axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    title = textwrap.fill(axes.get_title(loc="left"), int(_room(axes) / (0.58 * FONT_SIZE)))
    axes.set_title("" if handles else title, loc="left")
    if not handles:
        return
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        borderpad=0,
        ncols=_columns(axes, labels),
        title=title or None,
        title_fontsize=FONT_SIZE + 1,
        alignment="left",
        handlelength=1.6,
        columnspacing=1.4,
    )
    legend.set_zorder(0)


def _room(axes: Any) -> float:
    """How wide axes are, about, in points."""
    across = axes.get_subplotspec().get_gridspec().ncols
    aside = max((len(line) for name in _names(axes) for line in name.split("\n")), default=7)
    return float(72 * axes.figure.get_size_inches()[0] / across - 0.6 * FONT_SIZE * (aside + 2))


def _columns(axes: Any, labels: Sequence[str]) -> int:
    """How many columns of a legend fit beside each other."""
    sizes = [FONT_SIZE * (0.6 * len(label) + 3.4) for label in labels]
    for columns in range(len(labels), 1, -1):
        each = math.ceil(len(labels) / columns)
        if sum(max(sizes[at : at + each]) for at in range(0, len(sizes), each)) < _room(axes):
            return columns
    return 1


class LinearNumbers(ticker.ScalarFormatter):
    """1,000 and 0.25, without a power or an offset at the axis' end."""

    def __init__(self) -> None:
        super().__init__(useOffset=False)
        self.set_scientific(False)

    def __call__(self, x: float, pos: int | None = None) -> str:
        """A value in words."""
        text = super().__call__(x, pos).replace(numbers.MINUS, "-")
        places = len(text.partition(".")[2])
        return f"{round(x, places) + 0.0:,.{places}f}".replace("-", numbers.MINUS)


class LogTicks(ticker.Locator):
    """As many round values of a logarithmic axis as have room for their numbers."""

    MOST: Final = 9

    def __call__(self) -> list[float]:
        """The values within the axis' limits."""
        return self.tick_values(*self.axis.get_view_interval())  # type: ignore[union-attr]

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """The finest of the series below that has room."""
        low, high = sorted((vmin, vmax))
        if low <= 0 or low == high:
            return []
        for values in _round_values(low, high):
            within = [value for value in values if low * 0.999 <= value <= high * 1.001]
            if 2 <= len(within) <= self.MOST and self._fits(within, low, high):
                return within
        return [low]

    def _fits(self, values: Sequence[float], low: float, high: float) -> bool:
        """Whether the numbers do not touch, written along or above each other."""
        axis: Any = self.axis
        box = axis.axes.get_window_extent()
        along = axis.axis_name == "x"
        length = (box.width if along else box.height) * 72 / axis.get_figure(root=True).dpi
        at = [length * math.log(value / low) / math.log(high / low) for value in values]
        sizes = [1.4] * len(values)
        if along:
            sizes = [0.62 * len(numbers.shown(value)) + 0.6 for value in values]
        return all(
            at[i + 1] - at[i] >= FONT_SIZE * (sizes[i] + sizes[i + 1]) / 2
            for i in range(len(at) - 1)
        )


def _round_values(low: float, high: float) -> Iterator[list[float]]:
    """Series of round values from low to high, the finest first."""
    if high < 12 * low:
        for bins in (8, 6, 5, 4, 3, 2):
            yield list(ticker.MaxNLocator(bins, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        yield [float(f"{digit}e{power}") for power in powers for digit in digits]
    for step in (2, 3, 5, 10, 20, 50, 100):
        yield [float(f"1e{power}") for power in powers if power % step == 0]


def name(text: str, longest: int = 60) -> str:
    """A name that somebody else has chosen (of a class, say), for matplotlib to show as it is.

    Between two dollar signs matplotlib reads mathematics, and it leaves a label that begins with an
    underscore out of the legend. A very long one would leave the plot no room.

    Args:
        text: as it was chosen.
        longest: longer ones lose their middle; in characters, and half as many on a phone.
    """
    if is_narrow():
        longest //= 2
    if len(text) > longest:
        text = f"{text[: longest // 2 - 1]}…{text[-longest // 2 :]}"
    text = one_line(text).replace("$", r"\$")
    return f"\N{WORD JOINER}{text}" if text.startswith("_") else text
