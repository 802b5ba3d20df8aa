"""Samples, one for each request, and the CSV file that holds them.

Both loops write them. Locust's own percentiles are not used: it rounds latencies to whole
milliseconds, or coarser.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Final, TextIO

from foundation import cells

OK: Final = "OK"

NOT_SENT: Final = "NOT_SENT"
"""The code of a request that was due and got no place in flight."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One request, answered or failed."""

    start_s: float
    """Unix time at which it was meant to be sent; in a closed loop, at which it was."""
    latency_ms: float
    """From start_s until the caller had the answer (or the error)."""
    name: str
    """The signature."""
    code: str
    """"OK", a gRPC code, or what was wrong with the answer."""
    version: int | None
    """The version that answered; None for a failure."""
    details: str
    """The error's words; empty for OK."""
    late_ms: float = 0.0
    """How long after start_s it was sent: part of latency_ms. 0 in a closed loop."""
    label: str = ""
    """The label that was asked."""


COLUMNS: Final = tuple(field.name for field in dataclasses.fields(Sample))


class Writer:
    """Appends samples to a CSV file; close it to have them all on disk."""

    def __init__(self, path: Path):
        self._file: TextIO = path.open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._rows.writerow(COLUMNS)
        self._file.flush()

    def write(self, sample: Sample) -> None:
        """Adds a line."""
        self._rows.writerow(
            [
                f"{sample.start_s:.6f}",
                f"{sample.latency_ms:.4f}",
                cells.as_text(sample.name),
                cells.as_text(sample.code),
                "" if sample.version is None else sample.version,
                cells.as_text(" ".join(sample.details.split())[:300]),
                f"{sample.late_ms:.4f}",
                cells.as_text(sample.label),
            ]
        )

    def flush(self) -> None:
        """Puts what was written so far on disk."""
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


def read(path: Path) -> list[Sample]:
    """The samples of a file, in order of their start; none if there is no file.

    A generator that was killed leaves half a line at the end, which is skipped.
    """
    if not path.exists():
        return []
    samples = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.reader(file):
            if len(row) != len(COLUMNS) or row == list(COLUMNS):
                continue
            start_s, latency_ms, name, code, version, details, late_ms, label = row
            samples.append(
                Sample(
                    start_s=float(start_s),
                    latency_ms=float(latency_ms),
                    name=cells.text_of(name),
                    code=cells.text_of(code),
                    version=int(version) if version else None,
                    details=cells.text_of(details),
                    late_ms=float(late_ms),
                    label=cells.text_of(label),
                )
            )
    return sorted(samples, key=lambda sample: sample.start_s)
