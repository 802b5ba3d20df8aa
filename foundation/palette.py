"""The colours of all pages and plots.

Lines and bars that stand side by side take SERIES, whose colours people with each kind of colour
blindness can tell apart. Good and bad are always said in words as well.
"""

from __future__ import annotations

from typing import Final

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
