"""How surely a latency is known: intervals from the calls that were timed.

Calls one after the other share whatever slows the machine for a while. So blocks of consecutive
calls are drawn with replacement, wrapping around the end (circular block bootstrap: Politis and
Romano, 1992, in Exploring the Limits of Bootstrap), and each draw gives the figure anew. Where two
versions were timed in turns, the same calls are drawn of both.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from training.comparing.paired import CONFIDENCE

BLOCK = 10
"""Calls drawn together."""

DRAWS = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure, and one-sided bounds of it, each with paired.CONFIDENCE."""

    value: float
    lower: float
    upper: float


def ratio_of_medians(candidate: np.ndarray, stable: np.ndarray) -> Interval:
    """How many times as long the candidate's median call takes.

    Args:
        candidate: float [calls], above 0, any unit.
        stable: the same of the other version, timed in turns with it.
    """
    chosen = _draws(len(candidate))
    drawn = np.median(candidate[chosen], axis=1) / np.median(stable[chosen], axis=1)
    return _interval(float(np.median(candidate) / np.median(stable)), drawn)


def percentile(spent: np.ndarray, share: float) -> Interval:
    """A percentile of one version's calls.

    Args:
        spent: float [calls].
        share: 0-100.
    """
    drawn = np.percentile(spent[_draws(len(spent))], share, axis=1)
    return _interval(float(np.percentile(spent, share)), drawn)


def _draws(calls: int) -> np.ndarray:
    """Which calls are in each draw: int [DRAWS, calls]. The same every time."""
    starts = np.random.default_rng(1).integers(0, calls, (DRAWS, math.ceil(calls / BLOCK)))
    chosen = (starts[:, :, None] + np.arange(BLOCK)) % calls
    return chosen.reshape(DRAWS, -1)[:, :calls]


def _interval(value: float, drawn: np.ndarray) -> Interval:
    lower, upper = np.quantile(drawn, [1 - CONFIDENCE, CONFIDENCE])
    return Interval(value=value, lower=min(value, float(lower)), upper=max(value, float(upper)))
