"""The colours of all pages and plots, each for a light screen and for a dark one.

Programs name the light one. A page has a CSS variable for each, and a plot on it uses these, so
that both follow what the reader's system prefers. Lines and bars that stand side by side take
SERIES, whose colours people with each kind of colour blindness can tell apart. Good and bad are
always said in words as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GROUND: Final = "#ffffff"
"""Behind everything."""
INK: Final = "#1c2733"
MUTED: Final = "#5b6875"
"""Text that explains."""

RULE: Final = "#d9dee4"
"""Lines between parts of a page."""
GRID: Final = "#e6e9ed"
"""Lines behind a plot, or between the rows of a table."""

BLUE: Final = "#2563a8"
GREEN: Final = "#23a26d"
PURPLE: Final = "#8e5376"
YELLOW: Final = "#d8c433"
ORANGE: Final = "#ca6f15"
RED: Final = "#b3261e"
"""For what is bad, and the bar that something is held against."""
GREY: Final = "#9aa3ad"
"""For what something is compared with."""

SERIES: Final = (BLUE, GREEN, PURPLE, YELLOW, ORANGE)
BLUES: Final = ("#9dbbdc", "#5a8fc7", BLUE)
"""From little to much."""

GOOD: Final = "#1b6e3c"
"""Text that says that something holds."""
GOOD_GROUND: Final = "#e7f4ec"
BAD_GROUND: Final = "#fbeae9"
CODE_GROUND: Final = "#f4f6f8"

COLORS: Final[Mapping[str, tuple[str, str]]] = {
    "ground": (GROUND, "#14191f"),
    "ink": (INK, "#e4e9ee"),
    "muted": (MUTED, "#a3afbb"),
    "rule": (RULE, "#3a444f"),
    "grid": (GRID, "#29323b"),
    "blue": (BLUE, "#627fff"),
    "green": (GREEN, "#2ed493"),
    "purple": (PURPLE, "#a749aa"),
    "yellow": (YELLOW, "#ffd672"),
    "orange": (ORANGE, "#ff810a"),
    "red": (RED, "#ff3c4e"),
    "grey": (GREY, "#7d838b"),
    "blue-1": (BLUES[0], "#2a3a7a"),
    "blue-2": (BLUES[1], "#435bbd"),
    "good": (GOOD, "#5fce8c"),
    "bad": (RED, "#ff8a82"),
    "good-ground": (GOOD_GROUND, "#14301f"),
    "bad-ground": (BAD_GROUND, "#3b1b19"),
    "code-ground": (CODE_GROUND, "#1e252d"),
}
"""Name of the CSS variable → light and dark. Text that says what is bad is lighter than a red line
on a dark screen."""

VARIABLES: Final[Mapping[str, str]] = {
    **{light: f"var(--{name})" for name, (light, _) in reversed(list(COLORS.items()))},
    "#000000": "var(--ink)",
}
"""A light colour, or matplotlib's black → what stands for it on a page."""
