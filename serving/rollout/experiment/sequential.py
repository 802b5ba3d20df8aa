"""Statistics that stay true however often one looks: intervals, a sample-ratio test, sample sizes.

A test that is planned for one look is wrong far more often than it says if one looks every day.
The chance that these are EVER wrong, at any look, is bounded.

Every function takes arrays and works along the last axis, so that the verdict on one experiment and
the simulation of ten thousand run the same lines.
"""

from __future__ import annotations

import math
import statistics
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

PRIOR_UNITS: Final = 100.0
"""Weight of the planned split in the sample-ratio test's prior. The test is exact with any value; a
larger one finds small mismatches sooner and gross ones later. With this one, a split that sends all
units to one of two equal sides is found within about 40 units."""


class Sums(NamedTuple):
    """One side's running sums, each [..., T]: all that share and variance need.

    n_u is the number of outcomes of unit u so far; s_u of them are events (right answers, errors).
    """

    total: Floats
    """Sum of n_u."""
    events: Floats
    """Sum of s_u."""
    events_squared: Floats
    """Sum of s_u²."""
    events_count: Floats
    """Sum of s_u n_u."""
    count_squared: Floats
    """Sum of n_u²."""


class Interval(NamedTuple):
    """An estimate [..., T] and its confidence sequence: NaN where there is too little yet."""

    estimate: Floats
    lower: Floats
    upper: Floats
    spread: Floats
    """The estimate's variance; infinite while a side has nothing."""


def independent_sums(events: Flags, treatment: Flags) -> tuple[Sums, Sums]:
    """Control's and treatment's sums after each outcome, where every outcome is a unit of its own.

    Args:
        events: [..., T], in order of time.
        treatment: [..., T], the side of each.
    """
    sides = []
    for side in (~treatment, treatment):
        count = np.cumsum(side, axis=-1, dtype=np.float64)
        those = np.cumsum(side & events, axis=-1, dtype=np.float64)
        sides.append(Sums(count, those, those, those, count))
    return sides[0], sides[1]


def unit_sums(events: Flags, treatment: Flags, unit: NDArray[np.integer[Any]]) -> tuple[Sums, Sums]:
    """Control's and treatment's sums after each outcome; outcomes of a unit belong together.

    One outcome x more of a unit that has n and s changes the sums of squares by 2sx + x, sn + ...
    and 2n + 1: so all looks cost one sort and a few cumulative sums.

    Args:
        events: [T], in order of time.
        treatment: [T], the side of each.
        unit: [T], the unit of each, 0 or more.
    """
    # A unit that was seen on both sides is two: each side has its own sums.
    key = unit.astype(np.int64) * 2 + treatment
    order = np.argsort(key, kind="stable")
    grouped = key[order]
    begins = np.r_[True, grouped[1:] != grouped[:-1]][: len(grouped)]
    begin = np.maximum.accumulate(np.where(begins, np.arange(len(grouped)), 0))
    x_grouped = events[order].astype(np.float64)
    before = np.cumsum(x_grouped) - x_grouped
    n, s = np.empty(len(key)), np.empty(len(key))
    n[order] = np.arange(len(grouped)) - begin
    s[order] = before - before[begin] if len(grouped) else before
    x = events.astype(np.float64)
    changes = (np.ones_like(x), x, 2 * s * x + x, s + x * n + x, 2 * n + 1)
    sides = [
        Sums(*(np.cumsum(np.where(side, change, 0.0)) for change in changes))
        for side in (~treatment, treatment)
    ]
    return sides[0], sides[1]


def variance(control: Sums, treatment: Sums) -> Floats:
    """Of the difference of the two shares, [..., T]; infinite while a side has nothing.

    Each side's by the delta method for a ratio of sums over units, sum (s_u - p n_u)² / N² (Deng,
    Knoblich and Lu, "Applying the delta method in metric analytics", 2018). Two repairs keep it
    honest while there are few events, where the plain form is wrong more often than alpha:

    - each side gets two additional units, one with only events and one with none, both of the size
      of the unit that a random outcome belongs to. With one outcome a unit, that is Agresti and
      Coull's p = (x + 1) / (n + 2); with few or very unequal units it widens the interval.
    - the variance is at least what it would be if both sides were alike, as in a score test: a
      small side that happens to have no event yet borrows the other's variance.
    """
    one, other = _smoothed(control), _smoothed(treatment)
    both = _smoothed(Sums(*(a + b for a, b in zip(control, treatment))))
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = one[0] / one[1] + other[0] / other[1]
        alike = both[0] * (1 / one[1] + 1 / other[1])
    return np.where((control.total > 0) & (treatment.total > 0), np.fmax(apart, alike), np.inf)


def _smoothed(side: Sums) -> tuple[Floats, Floats]:
    """A side's variance of one outcome, and how many outcomes it counts as."""
    size = side.count_squared / np.maximum(side.total, 1)
    count = np.maximum(side.total + 2 * size, 1)
    share = (side.events + size) / count
    squares = side.events_squared - 2 * share * side.events_count + share**2 * side.count_squared
    squares = np.maximum(squares, 0) + size**2 * ((1 - share) ** 2 + share**2)
    return squares / count, count


def half_width(spread: Floats, *, alpha: float, scale: float) -> Floats:
    """Of the confidence sequence of a difference.

    The normal mixture of the sequential probability ratio test: sqrt(V (V + t²) / t² (2 ln(1/alpha)
    + ln((V + t²) / V))). Johari, Pekelis and Walsh, "Always valid inference" (2015, Operations
    Research 2022); Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric,
    nonasymptotic confidence sequences" (2021). With an estimated V it is valid as the sums grow;
    simulate.py measures it for small ones.

    Args:
        spread: V, the estimate's variance, [...].
        alpha: chance that the true difference is ever outside, 0-1.
        scale: t, the difference for which the interval is narrowest; any scale is valid.
    """
    squared = scale**2
    with np.errstate(invalid="ignore"):
        return np.sqrt(
            spread
            * ((spread + squared) / squared)
            * (2 * math.log(1 / alpha) + np.log1p(squared / spread))
        )


def difference(
    control: Sums, treatment: Sums, *, alpha: float, scale: float, least: float
) -> Interval:
    """Treatment's share minus control's, after each outcome.

    Args:
        control: its sums, [..., T].
        treatment: its sums, [..., T].
        alpha: as for half_width.
        scale: as for half_width.
        least: outcomes on each side before there is an interval.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = treatment.events / treatment.total - control.events / control.total
    spread = variance(control, treatment)
    half = half_width(spread, alpha=alpha, scale=scale)
    half[np.minimum(control.total, treatment.total) < least] = np.nan
    return Interval(estimate, estimate - half, estimate + half, spread)


def running_intersection(lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """What all looks so far leave of an interval, [..., T]; NaN before the first one.

    A confidence sequence misses the true difference at ANY look with a chance of at most alpha, so
    the intersection of all its intervals misses it no more often. It never widens: what one look
    has excluded stays excluded. Where it is empty (lower above upper), either that chance was met
    or there is no one true difference, because it has changed meanwhile.

    Args:
        lower: ends of the interval at each look, [..., T]; NaN where there is none.
        upper: the same.
    """
    return np.fmax.accumulate(lower, axis=-1), np.fmin.accumulate(upper, axis=-1)


def mismatch_log_bayes_factor(treatment: Flags, share: float) -> Floats:
    """Evidence after each unit that units do not come in the planned proportion, [..., T].

    The log of the Bayes factor of a Dirichlet-multinomial against the planned split, which is a
    martingale under it: its chance of ever reaching 1 / alpha is at most alpha, exactly (Lindon and
    Malek, "Anytime-valid inference for multinomial count data", 2022). The prior is centred on
    the plan. Each unit multiplies it by its predicted probability over its planned one.

    Args:
        treatment: [..., T], the side of each unit at its first exposure, in order of time.
        share: of the units, planned for the treatment, 0-1.
    """
    treated = np.cumsum(treatment, axis=-1, dtype=np.float64) - treatment
    seen = np.arange(treatment.shape[-1], dtype=np.float64)
    same = np.where(treatment, treated, seen - treated)
    planned = np.where(treatment, share, 1 - share)
    predicted = (PRIOR_UNITS * planned + same) / (PRIOR_UNITS + seen)
    result: Floats = np.cumsum(np.log(predicted / planned), axis=-1)
    return result


def outcomes_needed(
    estimate: float, spread: float, *, alpha: float, smallest: float, most: float = 1e4
) -> float | None:
    """How many times the present outcomes decide, if estimate and proportions stay the same.

    Args:
        estimate: of the difference.
        spread: its variance now; it falls as 1 / outcomes.
        alpha: of the interval.
        smallest: the smallest difference that matters, which is its scale as well.
        most: the largest factor that is looked at.

    Returns:
        A factor of 1 or more; None if it is larger than `most`.
    """
    goal = max(abs(estimate), smallest - abs(estimate))
    factors = np.geomspace(1, most, 2000)
    enough = half_width(spread / factors, alpha=alpha, scale=smallest) < goal
    return float(factors[np.argmax(enough)]) if enough.any() else None


def fixed_sizes(
    baseline: float, improved: float, *, treatment_share: float, alpha: float, power: float
) -> tuple[int, int]:
    """Control's and treatment's independent outcomes for ONE two-sided test at the end.

    Normal approximation: (z(1 - alpha/2) + z(power))² times the variance of one outcome over the
    difference squared, each side's variance divided by its part of the outcomes.

    Args:
        baseline: control's share, 0-1.
        improved: treatment's share, 0-1, another one.
        treatment_share: of all outcomes, 0-1.
        alpha: chance of a false difference.
        power: chance of seeing the true one.
    """
    normal = statistics.NormalDist()
    z = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)
    one = baseline * (1 - baseline) / (1 - treatment_share)
    other = improved * (1 - improved) / treatment_share
    total = z**2 * (one + other) / (improved - baseline) ** 2
    return math.ceil(total * (1 - treatment_share)), math.ceil(total * treatment_share)
