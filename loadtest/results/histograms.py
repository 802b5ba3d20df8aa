"""HdrHistograms of microseconds, exact to three digits, and the percentiles that they hold.

Knows nothing about whose latencies they are.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

LOWEST_US: Final = 1
HIGHEST_US: Final = 100_000_000
"""100 s; what took longer is recorded as this."""
DIGITS: Final = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Percentile:
    """One percentile, and what it stands on."""

    share: float
    """0-100."""
    value_ms: float
    samples: int
    """In all."""
    beyond: float
    """Samples that lie above it: a p99.9 of 2,000 samples stands on 2."""


def percentiles(histogram: Any, shares: Sequence[float]) -> list[Percentile]:
    """Percentiles of an HdrHistogram of microseconds; none of no samples.

    By the nearest rank: the smallest latency that so many percent of the samples do not exceed, as
    the largest value that HdrHistogram does not tell from it. HdrHistogram's own function rounds
    the rank, which at p99.9 is a sample too few as often as not.
    """
    values_us, counts = distribution(histogram)
    count = int(counts.sum())
    ranks = counts.cumsum()
    return [
        Percentile(
            share=share,
            value_ms=float(values_us[np.searchsorted(ranks, _rank(share, count))]) / 1000,
            samples=count,
            beyond=round(count * (1 - share / 100), 3),
        )
        for share in (shares if count else ())
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


def _rank(share: float, count: int) -> int:
    return max(1, math.ceil(share * count / 100 - 1e-9))


def empty() -> Any:
    """An HdrHistogram of microseconds, as all of them are here."""
    return HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)


def decoded(data: bytes) -> Any:
    """A new one of what `encode` gave."""
    histogram = empty()
    histogram.decode_and_add(data)
    return histogram


def record(histogram: Any, value_us: int) -> None:
    """Counts one latency; what is out of range counts as the range's end."""
    histogram.record_value(min(max(value_us, LOWEST_US), HIGHEST_US))
