"""What a count says of the share behind it.

Exact for every sample size (Clopper and Pearson, Biometrika 26, 1934), which matters here: a target
of 95 % recall is decided by a handful of missed images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import ArrayLike, NDArray


def at_least(successes: ArrayLike, trials: ArrayLike, confidence: float) -> NDArray[Any]:
    """The lower bounds of shares, one-sided.

    Args:
        successes: int [...], 0 to trials.
        trials: int [...], how many there were; none say nothing.
        confidence: 0-1, how often the true share lies above such a bound, at the least.

    Returns:
        float [...], 0-1.
    """
    successes, trials = np.broadcast_arrays(successes, trials)
    # Without a success the function is not defined, and the bound is 0.
    some = np.maximum(successes, 1)
    bounds = scipy.special.betaincinv(some, trials - successes + 1, 1 - confidence)
    return np.where(successes > 0, bounds, 0.0)


def at_most(successes: ArrayLike, trials: ArrayLike, confidence: float) -> NDArray[Any]:
    """The upper bounds of shares, one-sided; as `at_least`."""
    return 1 - at_least(np.subtract(trials, successes), trials, confidence)


def interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Both bounds of one share, each missed half as often as `confidence` allows: 0-1 each."""
    one_sided = (1 + confidence) / 2
    lower, upper = (bound(successes, trials, one_sided) for bound in (at_least, at_most))
    return float(lower), float(upper)


def intervals(
    shares: Mapping[str, tuple[int, int]],
) -> dict[str, tuple[float, float] | None]:
    """The intervals of several shares by name, each (successes, trials); None without trials."""
    return {
        name: interval(successes, trials) if trials else None
        for name, (successes, trials) in shares.items()
    }


def fewest_trials(share: float, confidence: float) -> int:
    """How many trials, all of them successes, say that a share is at least `share`.

    Args:
        share: above 0, below 1.
        confidence: above 0, below 1.
    """
    # All of n: the bound is (1 - confidence) ** (1 / n).
    return math.ceil(math.log(1 - confidence) / math.log(share) - 1e-9)
