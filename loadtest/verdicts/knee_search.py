"""The knee: the highest rate at which the objectives are held, by search over noisy measurements.

A measurement of one rate holds the objectives or does not, and the same rate may do both: a p99 is
noise around what it would be in a long run. The knee is the rate that holds in half of them. Around
it, the chance to hold falls with the logarithm of the rate as a logistic curve of unknown place and
width, and a few measurements are accidents that say nothing. Place and width are a grid; each
measurement multiplies each point by the chance that it would have come out so (Bayes); the next
rate is the one that leaves the least uncertainty about the place, on the average. The interval
holds so much of the place's posterior. This is the psi method of psychophysics (Kontsevich and
Tyler, Vision Research 39, 1999), which finds the threshold of a sense that answers yes or no.

A generator that was at its limit makes latencies longer, never shorter: a rate that held in spite
of it has held, one that did not says nothing, and nothing above it is tried again.

Knows nothing about servers, requests or clocks: `measure` does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

CLIMB: Final = 2.0
"""Between the rates of the climb."""

TRIES: Final = 3
"""Of a rate in the climb: the first miss may be an accident, and a climb that ends far below the
knee is not mended by the refining."""

MARGIN: Final = 4.0
"""The knee is looked for from so far below the highest rate that held to so far above the lowest
one that did not."""

ACCIDENTS: Final = 0.04
"""So many measurements say nothing about their rate: a neighbour woke up, say."""

PLACES: Final = 600
WIDTHS: Final = np.geomspace(0.005, 0.3, 9)
"""Of the curve, in natural logarithms of the rate: a rate 2.2 widths above the knee holds once in
ten times. 0.005 is a wall; 0.3 is a server whose bend is hardly one."""

ENOUGH: Final = 4
"""Measurements after the climb without which nothing is said: the first interval is that of the
curve that is assumed, not of what was seen."""

SHARE: Final = 0.9
"""Of the posterior in the interval."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """One rate, measured once."""

    rate: float
    """Requests a second that were due."""
    holds: bool
    """The objectives."""
    limited: str = ""
    """Why the generator limited it; empty if it did not."""

    @property
    def counts(self) -> bool:
        """Whether it says something about the server."""
        return self.holds or not self.limited


class LostError(Exception):
    """Measuring came to an end: the server is gone, say. The words are for people."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How far a search goes."""

    lowest: float = 10.0
    """Requests a second at which the climb begins."""
    highest: float = 100_000.0
    """At which it ends."""
    width: float = 0.1
    """Of the interval, as a share of the knee: narrower is good enough."""
    most: int = 40
    """Measurements."""
    seconds: float = math.inf
    """On `clock`'s watch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knee:
    """What a search found."""

    rate: float | None
    """Requests a second; None: none was found, see `low` and `high`."""
    low: float
    """The interval's lower end; without a knee, the highest rate that held, 0 if none did."""
    high: float | None
    """The interval's upper end; without a knee, the lowest rate that did not hold; None if every
    one did."""
    why: str
    """Why the search ended, in words."""
    complete: bool
    """Whether it ended by itself, and was not broken off."""
    measurements: int

    @property
    def words(self) -> str:
        """In one line."""
        if self.rate is not None:
            return (
                f"{self.rate:.4g} requests/s ({SHARE:.0%} interval {self.low:.4g} to "
                f"{self.high:.4g})"
            )
        if self.low > 0 and self.high is None:
            return f"at least {self.low:.4g} requests/s: {self.why}"
        return f"not found: {self.why}"


def search(
    measure: Callable[[float], Measurement],
    limits: Limits = Limits(),
    clock: Callable[[], float] = lambda: 0.0,
) -> Knee:
    """Searches.

    Args:
        measure: measures a rate once; raises LostError when it cannot go on.
        limits: how far to go.
        clock: seconds that were spent so far, held against limits.seconds.
    """
    return _Search(measure, limits, clock).run()


class _Search:
    def __init__(
        self,
        measure: Callable[[float], Measurement],
        limits: Limits,
        clock: Callable[[], float],
    ):
        self._measure, self._limits, self._clock = measure, limits, clock
        self._taken: list[Measurement] = []
        self._ceiling = limits.highest
        self._limited = ""

    def run(self) -> Knee:
        try:
            return self._climb() or self._refine()
        except LostError as lost:
            return self._without_knee(str(lost), complete=False)
        except KeyboardInterrupt:  # what there is is worth keeping
            return self._without_knee("interrupted", complete=False)

    def _try(self, rate: float) -> Measurement:
        found = self._measure(rate)
        self._taken.append(found)
        if not found.counts and rate < self._ceiling:
            self._ceiling, self._limited = rate, found.limited
        return found

    def _spent(self) -> str:
        if len(self._taken) >= self._limits.most:
            return f"{self._limits.most} measurements were made"
        if self._clock() >= self._limits.seconds:
            return f"{self._limits.seconds:.0f} s were spent"
        return ""

    def _climb(self) -> Knee | None:
        """Doubles the rate until it does not hold; None: there is something to refine."""
        rate = self._limits.lowest
        while self._mostly_holds(rate):
            if spent := self._spent():
                return self._without_knee(spent, complete=False)
            if rate >= self._ceiling:
                break
            rate = min(CLIMB * rate, self._ceiling)
        if not any(one.holds for one in self._taken):
            words = f"not even {self._limits.lowest:g} requests/s hold the objectives"
            return self._without_knee(self._limited or words, complete=True)
        if not self._limited and rate >= self._ceiling and self._taken[-1].holds:
            words = f"{self._limits.highest:g} requests/s still hold the objectives"
            return self._without_knee(words, complete=True)
        return None

    def _mostly_holds(self, rate: float) -> bool:
        """Tries until most of TRIES are known; a limit of the generator is a miss that counts."""
        held = missed = 0
        while max(held, missed) <= TRIES // 2:
            found = self._try(rate)
            if found.holds and not missed:
                return True
            held, missed = held + found.holds, missed + (not found.holds)
            if not found.counts:
                return False
        return held > missed

    def _refine(self) -> Knee:
        climbed = len(self._taken)
        if self._limited and not any(one.counts and not one.holds for one in self._taken):
            below = self._below_the_limit()
            if below is not None:
                return below
        held = max(one.rate for one in self._taken if one.holds)
        belief = _Belief(held / MARGIN, self._highest_place())
        for one in self._taken:
            belief.learn(one)
        while True:
            low, middle, high = belief.interval()
            narrow = high <= low * (1 + self._limits.width)
            if narrow and len(self._taken) - climbed >= ENOUGH:
                if self._limited and high > 0.98 * self._ceiling:
                    return self._without_knee(self._limited, complete=True)
                why = "the interval is narrow enough"
                break
            if spent := self._spent():
                why = f"{spent}; the interval is wider than {self._limits.width:.0%}"
                break
            ceiling = 0.95 * self._ceiling if self._limited else self._ceiling
            rate = max(min(belief.next_rate(), ceiling), self._limits.lowest)
            belief.learn(self._try(rate))
        return Knee(
            rate=middle,
            low=low,
            high=high,
            why=why,
            complete=True,
            measurements=len(self._taken),
        )

    def _highest_place(self) -> float:
        missed = [one.rate for one in self._taken if one.counts and not one.holds]
        return MARGIN * (max(missed) if missed else self._ceiling)

    def _below_the_limit(self) -> Knee | None:
        """Halves the way to the generator's limit; None: the server bends before it."""
        while True:
            held = max(one.rate for one in self._taken if one.holds)
            if self._ceiling <= held * (1 + self._limits.width):
                return self._without_knee(self._limited, complete=True)
            if spent := self._spent():
                return self._without_knee(spent, complete=False)
            found = self._try(math.sqrt(held * self._ceiling))
            if found.counts and not found.holds:
                return None

    def _without_knee(self, why: str, *, complete: bool) -> Knee:
        held = [one.rate for one in self._taken if one.holds]
        missed = [one.rate for one in self._taken if one.counts and not one.holds]
        return Knee(
            rate=None,
            low=max(held, default=0.0),
            high=min(missed, default=None),
            why=why,
            complete=complete,
            measurements=len(self._taken),
        )


class _Belief:
    """What is known about place and width of the curve: a grid of chances."""

    def __init__(self, lowest: float, highest: float):
        self._places = np.linspace(math.log(lowest), math.log(highest), PLACES)
        self._posterior: NDArray[np.float64] = np.full((PLACES, len(WIDTHS)), 1.0)
        self._posterior /= self._posterior.sum()

    def learn(self, one: Measurement) -> None:
        """From a measurement that counts."""
        if not one.counts:
            return
        holds = self._chance(np.array([math.log(one.rate)]))[0]
        self._posterior = self._posterior * (holds if one.holds else 1 - holds)
        self._posterior /= self._posterior.sum()

    def interval(self) -> tuple[float, float, float]:
        """Lower end, middle and upper end of the place, as rates."""
        below = np.cumsum(self._posterior.sum(axis=1))
        shares = ((1 - SHARE) / 2, 0.5, (1 + SHARE) / 2)
        found = np.exp(np.interp(shares, below, self._places))
        return float(found[0]), float(found[1]), float(found[2])

    def next_rate(self) -> float:
        """The rate that is expected to leave the least uncertainty about the place."""
        low, _, high = self.interval()
        rates = np.linspace(math.log(low / 1.05), math.log(high * 1.05), 41)
        holds = self._chance(rates)  # [rates, places, widths]
        entropy = np.zeros(len(rates))
        for chance in (holds, 1 - holds):
            after = chance * self._posterior
            weight = after.sum(axis=(1, 2))
            place = after.sum(axis=2) / weight[:, None]
            entropy -= weight * (place * np.log(place + 1e-300)).sum(axis=1)
        return float(np.exp(rates[entropy.argmin()]))

    def _chance(self, log_rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """That these rates hold, for each place and width: [rates, places, widths]."""
        distance = (self._places[None, :, None] - log_rates[:, None, None]) / WIDTHS
        clean = 1 / (1 + np.exp(-np.clip(distance, -60, 60)))
        found: NDArray[np.float64] = ACCIDENTS / 2 + (1 - ACCIDENTS) * clean
        return found
