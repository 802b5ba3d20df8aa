"""One line a request: what the users write down and what the figures are computed from.

Raw samples, because Locust's own percentiles are of latencies rounded to whole milliseconds. Knows
nothing about Locust or servers.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, TextIO

import numpy as np

OK: Final = "OK"

NOT_SENT: Final = "NOT_SENT"
"""Was due, and never had a place in flight."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One request, answered or failed."""

    start_s: float
    """Unix time at which it was meant to be sent; in a closed loop, at which it was."""
    latency_ms: float
    """From start_s until the answer (or the error) was in the caller's hands."""
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
    """The label that was asked for."""


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
                sample.name,
                sample.code,
                "" if sample.version is None else sample.version,
                " ".join(sample.details.split())[:300],
                f"{sample.late_ms:.4f}",
                sample.label,
            ]
        )

    def flush(self) -> None:
        """Puts what was written so far on disk."""
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


def read(path: Path) -> list[Sample]:
    """All whole lines of a file, in order of their start; none if there is no file.

    A generator that was killed leaves half a line at the end, which is left out.
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
                    name=name,
                    code=code,
                    version=int(version) if version else None,
                    details=details,
                    late_ms=float(late_ms),
                    label=label,
                )
            )
    return sorted(samples, key=lambda sample: sample.start_s)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run comes to."""

    requests: int
    failures: int
    seconds: float
    """From the first request's start to the last one's end."""
    requests_per_s: float
    """Right answers a second; failures do not count."""
    p50_ms: float | None
    """Percentiles are those of the right answers; None where there is none."""
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    by_code: tuple[tuple[str, int, str], ...]
    """Failures: code, how many, and the first one's words; the most frequent first."""
    by_version: tuple[tuple[int, int], ...]
    """Right answers: version and how many."""


def summarise(samples: Sequence[Sample]) -> Summary:
    """Counts and percentiles of a run."""
    right = [sample for sample in samples if sample.code == OK]
    wrong = [sample for sample in samples if sample.code != OK]
    seconds = 0.0
    if samples:
        end_s = max(sample.start_s + sample.latency_ms / 1000 for sample in samples)
        seconds = end_s - samples[0].start_s
    first_words: dict[str, str] = {}
    for sample in wrong:
        first_words.setdefault(sample.code, sample.details)
    codes = Counter(sample.code for sample in wrong).most_common()
    versions = Counter(sample.version for sample in right if sample.version is not None)
    p50, p95, p99, largest = percentiles((sample.latency_ms for sample in right), (50, 95, 99, 100))
    return Summary(
        requests=len(samples),
        failures=len(wrong),
        seconds=seconds,
        requests_per_s=len(right) / seconds if seconds else 0.0,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=largest,
        by_code=tuple((code, count, first_words[code]) for code, count in codes),
        by_version=tuple(sorted(versions.items())),
    )


def percentiles(values: Iterable[float], shares: Sequence[float]) -> tuple[float | None, ...]:
    """Percentiles, linear between the samples; None for each where there are no values."""
    array = np.array(list(values))
    if not array.size:
        return (None,) * len(shares)
    found = (float(value) for value in np.percentile(array, shares))
    return tuple(None if math.isnan(value) else value for value in found)
