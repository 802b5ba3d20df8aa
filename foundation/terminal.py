"""What the other end of stderr or stdout is: a terminal or not, how wide, and whether in colour."""

from __future__ import annotations

import os
from typing import Final, Literal, TextIO, TypeAlias

Color: TypeAlias = Literal["green", "red", "yellow"]

_CODES: Final = {"green": "32", "red": "31", "yellow": "33"}
_USUAL_COLUMNS: Final = 80

OF_VERDICTS: Final[dict[str, Color]] = {
    "holds": "green",
    "passed": "green",
    "FAILS": "red",
    "BROKEN": "red",
    "unknown": "yellow",
}
"""Words that say how something was judged, and the colour of each."""


def is_terminal(file: TextIO) -> bool:
    """Whether a person may be looking on."""
    try:
        return file.isatty()
    except ValueError:  # it is closed
        return False


def columns(file: TextIO) -> int:
    """How many characters a line of the terminal has; 80 where that cannot be told."""
    try:
        return os.get_terminal_size(file.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS


def has_color(file: TextIO) -> bool:
    """Whether colour is shown: on terminals that know it, unless NO_COLOR is set (no-color.org)."""
    known = os.environ.get("TERM", "") not in ("", "dumb")
    return is_terminal(file) and known and not os.environ.get("NO_COLOR")


def colored(text: str, color: Color, file: TextIO) -> str:
    """The text in a colour, where the file shows any; else as it is."""
    return f"\x1b[{_CODES[color]}m{text}\x1b[0m" if has_color(file) else text


def judged(word: str, file: TextIO, width: int = 0) -> str:
    """A word of a verdict in its colour, filled up with spaces to a width."""
    color = OF_VERDICTS.get(word.strip())
    return f"{word:<{width}}" if color is None else colored(f"{word:<{width}}", color, file)
