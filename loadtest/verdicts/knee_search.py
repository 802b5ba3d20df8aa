"""The knee: the highest rate at which the objectives are held, by search over noisy measurements.

A measurement of a rate holds the objectives or misses them, and at the same rate one may hold and
the next one miss. The knee is the rate at which half of them hold. A climb brackets it. Then each
rate to measure is the one expected to leave the least uncertainty (`belief`), and the interval
contains the knee with the probability SHARE.

The p99 of a short measurement lies more often below a long run's p99 than above it, because slow
requests come in clusters. So the knee found is above that of a long run: in five simulated queues
by 17 to 28 % where a measurement has 200 requests, 10 to 14 % with 500, 5 to 11 % with 1,000, 2 to
5 % with 2,500 and 1 to 4 % with 5,000. Longer measurements mend it, more of them do not.

A generator at its limit makes latencies longer, never shorter. So a rate that held in spite of it
has held; one that missed says nothing, and no higher rate is tried again. A knee outside of the
rates that could be tried gets no value, only what it is at least or at most.
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
"""Measurements of a rate in the climb: the first miss may be an accident, and refining does not
mend a climb that ended far below the knee."""

MARGIN: Final = 4.0
"""The knee is looked for from the highest rate that held, divided by this, to the highest rate that
was measured, times this."""

ENOUGH: Final = 4
"""Measurements after the climb before an interval is given: the first ones follow from the assumed
curve more than from what was seen."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """One rate, measured once."""

    rate: float
    """Requests a second that were due."""
    holds: bool
    """Whether the objectives were met."""
    limited: str = ""
    """Why the generator limited it; empty if it did not."""

    @property
    def counts(self) -> bool:
        """Whether it says something about the server."""
        return self.holds or not self.limited


class LostError(Exception):
    """Measuring cannot go on, as when the server is gone. The message is for people."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How far a search goes."""

    lowest: float = 10.0
    """Requests a second at which the climb begins."""
    highest: float = 100_000.0
    """Requests a second at which it ends."""
    width: float = 0.1
    """The search ends when the interval is narrower than this share of the knee."""
    most: int = 40
    """Measurements at most."""
    seconds: float = math.inf
    """Seconds at most, by `clock`."""


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
    """Whether it ended by itself and was not broken off."""
    measurements: int

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
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
    """Searches for the knee.

    Args:
        measure: measures a rate once; raises LostError when it cannot go on.
        limits: how far to go.
        clock: returns the seconds spent so far, which limits.seconds bounds.
        look: measures a rate during the climb, where a shorter measurement is enough; None: as
            `measure` does.
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
        except KeyboardInterrupt:  # what was measured is kept
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
        """Doubles the rate until it does not hold; None: refining is next."""
        rate = self._limits.lowest
        while self._mostly_holds(rate):
            if spent := self._spent():
                return self._broken_off(spent)
            if rate >= self._ceiling:
                break
            rate = min(CLIMB * rate, self._ceiling)
        return None if self._held() else self._not_even()

    def _mostly_holds(self, rate: float) -> bool:
        """Measures up to TRIES times; one that the generator limited ends it as a miss."""
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
        # A miss far below a rate that held is an accident: it must not bound the places.
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
        """The highest rate to try, and whether no rate up to the ceiling is left to try."""
        if not self._limited:
            return self._ceiling, True
        below = [rate for rate in self._held() if rate < self._ceiling]
        held = max(below, default=self._limits.lowest)
        if self._ceiling <= held * (1 + self._limits.width):
            return held, True
        return math.sqrt(held * self._ceiling), False

    def _so_far(self, why: str, *, complete: bool = True) -> Knee:
        """The knee by the belief; without a value unless rates on both its sides could be tried."""
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
