"""HdrHistograms of microseconds, exact to three digits, and their percentiles."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from loadtest.results.percentiles import of_counts

LOWEST_US: Final = 1
HIGHEST_US: Final = 100_000_000
"""100 s; a longer latency is recorded as this."""
DIGITS: Final = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Percentile:
    """One percentile, and the number of samples behind it."""

    share: float
    """0-100."""
    value_ms: float
    samples: int
    """In all."""
    beyond: float
    """How many samples the share leaves above it: 2 for the p99.9 of 2,000 samples."""


def percentiles(histogram: Any, shares: Sequence[float]) -> list[Percentile]:
    """Percentiles of an HdrHistogram of microseconds; none of no samples.

    HdrHistogram's own function is not used: it rounds the rank, which at p99.9 is a sample too few
    as often as not.
    """
    values_us, counts = distribution(histogram)
    count = int(counts.sum())
    if not count:
        return []
    return [
        Percentile(
            share=share,
            value_ms=float(value_us) / 1000,
            samples=count,
            beyond=round(count * (1 - share / 100), 3),
        )
        for share, value_us in zip(shares, of_counts(values_us, counts, shares))
    ]


def distribution(histogram: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What an HdrHistogram holds.

    Its iterators take a second for what this takes in a hundredth of one.

    Returns:
        Distinct values in microseconds, int64 [K], ascending; and how many of each, int64 [K].
    """
    counts = np.frombuffer(histogram.encoder.payload.counts, np.uint64)[: histogram.counts_len]
    found = np.flatnonzero(counts)
    return _values_us()[found], counts[found].astype(np.int64)


@functools.cache
def _values_us() -> NDArray[np.int64]:
    """Index of a count → the largest value that is counted there."""
    histogram = empty()
    lowest = (histogram.get_value_from_index(at) for at in range(histogram.counts_len))
    return np.array([histogram.get_highest_equivalent_value(one) for one in lowest], np.int64)


def empty() -> Any:
    """An HdrHistogram of microseconds, as all of them are here."""
    return HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)


def decoded(data: bytes) -> Any:
    """Reads what HdrHistogram's `encode` gave, into a new one."""
    histogram = empty()
    histogram.decode_and_add(data)
    return histogram


def record(histogram: Any, latency_ms: float) -> None:
    """Counts one latency; one that is out of range counts as the range's end."""
    latency_us = round(1000 * latency_ms)
    histogram.record_value(min(max(latency_us, LOWEST_US), HIGHEST_US))


def of_latencies(latencies_ms: Iterable[float]) -> Any:
    """The HdrHistogram of some latencies."""
    histogram = empty()
    for latency_ms in latencies_ms:
        record(histogram, latency_ms)
    return histogram
