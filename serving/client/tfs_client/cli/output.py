"""Tables, JSON and progress on the terminal."""

from __future__ import annotations

import base64
import csv
import json
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, TextIO

from numpy.typing import NDArray


def printable(text: str) -> str:
    """The text with what would steer a terminal written out: escape sequences, ends of lines.

    Names of files, labels and errors come from others. Also written out: marks that turn the
    direction of writing, and bytes of a file's name that are no text.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )


def say(text: str, file: TextIO | None = None) -> None:
    """Prints one line, as printable makes it."""
    print(printable(text), file=file)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns, as printable makes their cells; columns of numbers to the right."""
    lines = [[printable(cell) for cell in line] for line in (header, *rows)]
    rows = lines[1:]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    numeric = [
        bool(rows) and all(row[at].replace(".", "").isdigit() or row[at] == "-" for row in rows)
        for at in range(len(header))
    ]
    for line in lines:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric)
        ]
        print("  ".join(cells).rstrip())


_FORMULA: Final = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a cell begins that a spreadsheet may take for a formula, also as full-width signs.
Apostrophes count along, so that one more of them can be taken off again."""


def print_csv(rows: Iterable[Sequence[Any]]) -> None:
    """Lines of CSV, as printable makes their cells; None is an empty cell.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, by which it is
    known as a text. Numbers are written as they are.
    """
    csv.writer(sys.stdout, lineterminator="\n").writerows(map(_cell, row) for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) else text


def print_json(content: Any) -> None:
    """Indented JSON, without NaN and infinity, which JSON does not have.

    What would steer a terminal is written as JSON escapes, which a parser takes back.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    print("\n".join(map(_escaped, text.split("\n"))))


def _escaped(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(
        one if one.isprintable() else "".join(f"\\u{unit:04x}" for unit in _utf16(one))
        for one in line
    )


def _utf16(character: str) -> tuple[int, ...]:
    raw = character.encode("utf-16-be", "surrogatepass")
    return tuple(int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2))


def values_as_json(array: NDArray[Any]) -> Any:
    """Nested lists: text for strings (or {"b64": …}), null for NaN and infinity."""
    if array.dtype.kind == "c":
        return {"real": values_as_json(array.real), "imag": values_as_json(array.imag)}
    if array.dtype.name == "bfloat16":
        array = array.astype(float)
    return _as_json(array.tolist())


def _as_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_json(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


class Progress:
    """A line with a progress bar on stderr, if that is a terminal.

    Args:
        what: the name of what is counted.
        total: how many there are at the end.
    """

    def __init__(self, what: str, total: float):
        self._what = what
        self._total = total
        self._done = 0.0
        self._shown_s = 0.0
        self._visible = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Takes the line away."""
        if self._visible and self._shown_s:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def advance(self, more: float) -> None:
        """Counts `more` as done; shown ten times a second at most."""
        self._done += more
        now = time.monotonic()
        if self._visible and now - self._shown_s > 0.1:
            self._shown_s = now
            share = min(1.0, self._done / self._total) if self._total else 1.0
            bar = "█" * round(30 * share) + "░" * (30 - round(30 * share))
            text = f"\r{bar} {self._done:.0f}/{self._total:.0f} {self._what}"
            print(text, end="", file=sys.stderr, flush=True)
