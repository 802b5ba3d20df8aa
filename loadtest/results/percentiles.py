"""What a percentile is, in every table, picture, gate and search here: the nearest rank.

The pN of n values is the smallest of them that at least N percent of the values do not exceed: the
one at rank ceil(n * N / 100), in ascending order (definition 1 of Hyndman and Fan, The American
Statistician 50, 1996). Of 49 requests of 10 ms and one of 1,000 ms the p99 is 1,000 ms. Why this
one, and not a value interpolated between two ranks (which would be 514.9 ms):

- It is a latency that a caller had. Nobody waited for 514.9 ms.
- "p99 <= 100 ms" means exactly that at least 99 % of the requests took at most 100 ms, which is how
  objectives are written. Interpolation passes runs that miss this, and fails runs that meet it.
- It is HdrHistogram's, and so that of wrk2 and of the tools that read HdrHistogram's logs: figures
  can be set beside theirs.
- It needs counts alone, so histograms that are merged, cut by seconds or resampled give it too.

Latencies come from HdrHistograms (see `histograms`), which know three digits: a percentile is the
largest value that the histogram does not tell from the recorded one (1,000.4 for 1,000 ms).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-9
"""In ranks. 99.9 % of 1,000 is 999, also where floating point makes it a little more."""


def ranks(share: float, counts: NDArray[Any]) -> NDArray[np.float64]:
    """The rank of a percentile for each of several counts of values.

    Args:
        share: 0 to 100.
        counts: how many values there are, at least one each; any shape.

    Returns:
        Whole numbers from 1 to the count, of the same shape.
    """
    found: NDArray[np.float64] = np.maximum(1.0, np.ceil(share * counts / 100 - ROUNDING))
    return found


def rank(share: float, count: int) -> int:
    """The rank of a percentile among so many values, from 1 to count."""
    return int(ranks(share, np.array(count)))


def of_values(values: Sequence[float], share: float) -> float | None:
    """The percentile of a few plain numbers, in any order; None of none."""
    return sorted(values)[rank(share, len(values)) - 1] if values else None


def of_counts(
    values: NDArray[Any], counts: NDArray[Any], shares: Sequence[float]
) -> NDArray[np.float64]:
    """Percentiles of distinct values that were counted, once or several times.

    Args:
        values: ascending [K], at least one.
        counts: whole numbers, how many of each value, [K] or [N, K]; each sum is at least 1.
        shares: 0 to 100 each.

    Returns:
        float64 [shares] or [shares, N]
    """
    below = np.cumsum(counts, axis=-1)
    at = [(below < ranks(share, below[..., -1])[..., np.newaxis]).sum(axis=-1) for share in shares]
    found: NDArray[np.float64] = values[np.array(at)].astype(np.float64)
    return found
