"""The knee: the highest rate at which the objectives are held, by search over noisy measurements.

A measurement of one rate holds the objectives or does not, and the same rate may do both. The knee
is the rate that holds in half of them: a climb brackets it, then each rate is the one that leaves
the least uncertainty, on the average (`belief`), and the interval holds so much of the posterior.

A short measurement's p99 lies more often below a long run's than above it, for late requests come
in clusters. So the knee is that of measurements as long as these, and above that of a long run: in
five simulated queues by 17 to 28 % where a measurement has 200 requests, 10 to 14 % with 500, 5 to
11 % with 1,000, 2 to 5 % with 2,500 and 1 to 4 % with 5,000. Longer measurements mend it, more of
them do not.

A generator that was at its limit makes latencies longer, never shorter: a rate that held in spite
of it has held, one that did not says nothing, and nothing above it is tried again. A knee that
lies outside of what could be tried is not named: it is at least or at most so much.

Knows nothing about servers, requests or clocks: `measure` does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Final

from loadtest.results.taken import INTERRUPTED
from loadtest.verdicts.belief import SHARE, Belief

CLIMB: Final = 2.0
"""Between the rates of the climb."""

TRIES: Final = 3
"""Of a rate in the climb: the first miss may be an accident, and a climb that ends far below the
knee is not mended by the refining."""

MARGIN: Final = 4.0
"""The knee is looked for from so far below the highest rate that held to so far above the lowest
one that did not."""

ENOUGH: Final = 4
"""Measurements after the climb without which nothing is said: the first interval is that of the
curve that is assumed, not of what was seen."""


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
    """The interval's lower end; without a knee, what it is at least, 0 if nothing is known."""
    high: float | None
    """The interval's upper end; without a knee, what it is at most; None: nothing is known."""
    why: str
    """Why the search ended, in words."""
    complete: bool
    """Whether it ended by itself, and was not broken off."""
    measurements: int

    @property
    def interrupted(self) -> bool:
        """By Ctrl-C."""
        return not self.complete and self.why == INTERRUPTED

    @property
    def words(self) -> str:
        """In one line."""
        if self.rate is not None:
            ends = f"{SHARE:.0%} interval {self.low:.4g} to {self.high:.4g}"
            found = f"{self.rate:.4g} requests/s ({ends})"
            return found if self.complete else f"{found}; partial: {self.why}"
        if self.low > 0 and self.high is None and self.complete:
            return f"at least {self.low:.4g} requests/s: {self.why}"
        held = f"; {self.low:.4g} requests/s held" if self.low > 0 else ""
        return f"not found: {self.why}{held}"


def search(
    measure: Callable[[float], Measurement],
    limits: Limits = Limits(),
    clock: Callable[[], float] = lambda: 0.0,
    *,
    look: Callable[[float], Measurement] | None = None,
) -> Knee:
    """Searches.

    Args:
        measure: measures a rate once; raises LostError when it cannot go on.
        limits: how far to go.
        clock: seconds that were spent so far, held against limits.seconds.
        look: measures a rate while it climbs, where less is enough; None: as `measure` does.
    """
    return _Search(measure, limits, clock, look or measure).run()


class _Search:
    def __init__(
        self,
        measure: Callable[[float], Measurement],
        limits: Limits,
        clock: Callable[[], float],
        look: Callable[[float], Measurement],
    ):
        self._measure, self._limits, self._clock, self._look = measure, limits, clock, look
        self._taken: list[Measurement] = []
        self._ceiling = limits.highest
        self._limited = ""
        self._belief: Belief | None = None
        self._climbed = 0

    def run(self) -> Knee:
        try:
            return self._climb() or self._refine()
        except LostError as lost:
            return self._broken_off(str(lost))
        except KeyboardInterrupt:  # what there is is worth keeping
            return self._broken_off(INTERRUPTED)

    def _try(self, rate: float) -> Measurement:
        found = (self._look if self._belief is None else self._measure)(rate)
        self._taken.append(found)
        if not found.counts and rate < self._ceiling:
            self._ceiling, self._limited = rate, found.limited
        if self._belief is not None and found.counts:
            self._belief.learn(found.rate, found.holds)
        return found

    def _held(self) -> list[float]:
        return [one.rate for one in self._taken if one.holds]

    def _missed(self) -> list[float]:
        return [one.rate for one in self._taken if one.counts and not one.holds]

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
                return self._broken_off(spent)
            if rate >= self._ceiling:
                break
            rate = min(CLIMB * rate, self._ceiling)
        return None if self._held() else self._not_even()

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
        self._climbed = len(self._taken)
        counted = self._held() + self._missed()
        # A miss far below what held is an accident: it must not be the end of the places.
        self._belief = Belief(max(self._held()) / MARGIN, MARGIN * max(counted))
        for one in self._taken:
            if one.counts:
                self._belief.learn(one.rate, one.holds)
        while True:
            top, closed = self._top()
            low, _, high = self._belief.interval()
            if len(self._taken) - self._climbed >= ENOUGH:
                if high < self._limits.lowest:
                    return self._not_even()
                if low >= top and closed:
                    return self._so_far(self._why_no_higher())
                if high <= low * (1 + self._limits.width):
                    return self._so_far("the interval is narrow enough")
            if spent := self._spent():
                return self._so_far(f"{spent}; the interval is wider than {self._limits.width:.0%}")
            self._try(max(min(self._belief.next_rate(), top), self._limits.lowest))

    def _top(self) -> tuple[float, bool]:
        """The highest rate to try, and whether none between it and the ceiling is left to try."""
        if not self._limited:
            return self._ceiling, True
        below = [rate for rate in self._held() if rate < self._ceiling]
        held = max(below, default=self._limits.lowest)
        if self._ceiling <= held * (1 + self._limits.width):
            return held, True
        return math.sqrt(held * self._ceiling), False

    def _so_far(self, why: str, *, complete: bool = True) -> Knee:
        """What the belief says; a knee only where rates on both its sides could be tried."""
        assert self._belief is not None
        low, middle, high = self._belief.interval()
        if middle < self._limits.lowest:
            beside = f"likelier below {self._limits.lowest:g} requests/s than above"
            return self._knee(None, 0.0, high, why, beside, complete=complete)
        if middle > max(self._top()[0], *self._missed(), 0.0):
            least = min(low, max(self._held()))
            return self._knee(None, least, None, why, self._why_no_higher(), complete=complete)
        return self._knee(middle, low, high, why, complete=complete)

    def _why_no_higher(self) -> str:
        return self._limited or f"{self._limits.highest:g} requests/s still hold the objectives"

    def _not_even(self) -> Knee:
        words = f"not even {self._limits.lowest:g} requests/s hold the objectives"
        high = self._limits.lowest if self._missed() else None
        return self._knee(None, 0.0, high, words if self._missed() else self._limited)

    def _broken_off(self, why: str) -> Knee:
        if self._belief is not None and len(self._taken) - self._climbed >= ENOUGH:
            return self._so_far(why, complete=False)
        low = max(self._held(), default=0.0)
        high = min((rate for rate in self._missed() if rate > low), default=None)
        return self._knee(None, low, high, why, complete=False)

    def _knee(
        self,
        rate: float | None,
        low: float,
        high: float | None,
        why: str,
        beside: str = "",
        *,
        complete: bool = True,
    ) -> Knee:
        return Knee(
            rate=rate,
            low=low,
            high=high,
            why=f"{why}; {beside}" if complete and beside not in ("", why) else why,
            complete=complete,
            measurements=len(self._taken),
        )
