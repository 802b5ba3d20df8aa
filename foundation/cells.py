"""Text in the cells of CSV files that people open: a spreadsheet must not take it for a formula.

A name of a file or a label may begin with =, +, - or @ (also as full-width signs), and a
spreadsheet would run it. So it gets an apostrophe in front, by which spreadsheets know text;
readers take it off again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_FORMULA: Final = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Apostrophes count along, so that what is read is what was written."""


def as_text(cell: str) -> str:
    """The cell for a text; numbers are written as they are."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def text_of(cell: str) -> str:
    """The text of a cell that `as_text` made, or that never needed it."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def texts_of(row: Mapping[Any, Any]) -> dict[Any, Any]:
    """A row of csv.DictReader with the text of each cell; a missing cell, None, stays."""
    return {name: text_of(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
