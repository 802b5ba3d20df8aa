"""Rows out of many files of lines: JSONL and CSV, rotated and compressed ones too, one at a time.

A line that cannot be read is counted and left out: where a process died in the middle of a line,
the lines of all others still count.
"""

from __future__ import annotations

import codecs
import csv
import glob
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from foundation import cells
from foundation.command_line import InputError

LONGEST: Final = 1 << 20
"""Bytes of a line; a longer line is read in pieces, so that memory stays bounded."""

Row = dict[str, Any]


class Lines:
    """The rows of some files, in the order of their names; `skipped` counts the unreadable lines.

    Args:
        what: what the files hold, for error messages.
        paths: of files, or globs. JSONL, or CSV with a head line if a suffix is .csv; a last
            suffix .gz means gzip. `log.csv.2.gz` is a CSV file.
        columns: that a CSV file must have.
        one_of: columns of which a CSV file must have at least one.

    Raises:
        InputError: a path or glob names no file.
    """

    def __init__(
        self,
        what: str,
        paths: Sequence[str],
        *,
        columns: Sequence[str],
        one_of: Sequence[str] = (),
    ):
        self.skipped = 0
        self.files: list[Path] = []
        self._what, self._columns, self._one_of = what, columns, one_of
        for path in paths:
            found = [Path(path)] if Path(path).is_file() else _matching(Path(path))
            files = [one for one in found if one.is_file()]
            if not files:
                raise InputError(
                    f"Expected a file, or a glob of files, with {what}. Received: {path}; correct "
                    "the path"
                )
            self.files += files
        # A file that a path and a glob both name counts once.
        self.files = list({one.resolve(): one for one in self.files}.values())

    def __iter__(self) -> Iterator[Row]:
        for path in self.files:
            opener: Any = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rb") as file:
                rows = self._csv(path, file) if ".csv" in path.suffixes else self._json(file)
                try:
                    yield from rows
                except (EOFError, gzip.BadGzipFile, zlib.error):  # its end is missing
                    self.skipped += 1

    def _json(self, file: IO[bytes]) -> Iterator[Row]:
        while line := file.readline(LONGEST):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                self.skipped += bool(line.strip())
                continue
            if isinstance(row, dict):
                yield row
            else:
                self.skipped += 1

    def _csv(self, path: Path, file: IO[bytes]) -> Iterator[Row]:
        pieces = iter(lambda: file.readline(LONGEST), b"")
        rows = csv.DictReader(piece.decode(errors="replace") for piece in _without_mark(pieces))
        try:
            names = rows.fieldnames or []
        except csv.Error:
            names = []
        lacking = [name for name in self._columns if name not in names]
        if self._one_of and not set(self._one_of) & set(names):
            lacking.append(" or ".join(self._one_of))
        if lacking:
            raise InputError(
                f"Expected {self._what} with a head line that names {' and '.join(lacking)}. "
                f"Received: {path}, which begins with {', '.join(names)[:80]!r}; add it"
            )
        while True:
            try:
                row = next(rows, None)
            except csv.Error:
                self.skipped += 1
                continue
            if row is None:
                return
            if None in row or None in row.values():  # too many or too few fields
                self.skipped += 1
            else:
                yield cells.texts_of(row)


def _matching(pattern: Path) -> list[Path]:
    """What a glob names, sorted; a folder that stands there is no part of the pattern.

    So "runs[1]/*.jsonl" finds the files of the folder runs[1].
    """
    folder = next((parent for parent in pattern.parents if parent.is_dir()), pattern)
    rest = str(pattern.relative_to(folder))
    found = glob.glob(rest, root_dir=folder, recursive=True)  # noqa: PTH207 - Path.glob's ** finds no files
    return sorted(folder / one for one in found)


def _without_mark(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Without the byte order mark that spreadsheets put first."""
    yield next(pieces, b"").removeprefix(codecs.BOM_UTF8)
    yield from pieces
