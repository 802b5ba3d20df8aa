"""What a run comes to: counts, rates and percentiles, for the first table of the report."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from loadtest.results.recording import Recording
from loadtest.results.samples import OK, Sample


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
    """Percentiles and the maximum are those of the right answers; None where there is none."""
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    by_code: tuple[tuple[str, int, str], ...]
    """Failures: code, how many, and the first one's words; the most frequent first."""
    by_version: tuple[tuple[int, int], ...]
    """Right answers: version and how many."""


def summarise(samples: Sequence[Sample], recording: Recording) -> Summary:
    """Adds a run up.

    Args:
        samples: of the run, in order of their start.
        recording: of the same samples. Percentiles are taken from it, as the gate takes them.
    """
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
    found = {one.share: one.value_ms for one in recording.percentiles((50, 95, 99, 100))}
    return Summary(
        requests=len(samples),
        failures=len(wrong),
        seconds=seconds,
        requests_per_s=len(right) / seconds if seconds else 0.0,
        p50_ms=found.get(50),
        p95_ms=found.get(95),
        p99_ms=found.get(99),
        max_ms=found.get(100),
        by_code=tuple((code, count, first_words[code]) for code, count in codes),
        by_version=tuple(sorted(versions.items())),
    )
