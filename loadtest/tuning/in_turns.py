"""Two servers under the same load, in turns: which one's callers wait longer?

Two searches, one after the other, meet two machines' weathers; two servers that stand side by side
and are loaded in turns, with the same arrivals, share it. Who was slower is counted by pairs, and
the sign test says how often chance alone would come out so (any text on nonparametric statistics).

Knows nothing about batching, or how the servers came about.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from typing import Final

from loadtest.loops.measuring import Measuring
from loadtest.results.point import Point
from loadtest.verdicts.objectives import Objectives

PAIRS: Final = 10

LEAST_CHANCE: Final = 0.05
"""Of coming out so if neither were quicker; below it, the difference is taken for real. Of ten
pairs, nine."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InTurns:
    """What came of it."""

    rate: float
    """Requests a second that both were given."""
    pairs: tuple[tuple[float, float], ...]
    """The strain of the one that is to be better, and of the other: see `strain`."""

    @property
    def better(self) -> int:
        """Pairs in which the first one was strained less."""
        return sum(first < second for first, second in self.pairs)

    @property
    def chance(self) -> float:
        """Of at least so many, if neither were better; 1 without a pair that differs."""
        differ = sum(first != second for first, second in self.pairs)
        ways = sum(math.comb(differ, wins) for wins in range(self.better, differ + 1))
        return float(ways / 2**differ)

    @property
    def sure(self) -> bool:
        """Whether the first one is surely better."""
        return self.chance <= LEAST_CHANCE

    @property
    def words(self) -> str:
        """Of the first one, in half a line."""
        return (
            f"better in {self.better} of {len(self.pairs)} pairs at {self.rate:.4g} requests/s "
            f"(chance alone: {self.chance:.2g})"
        )


def compare(
    first: Measuring, second: Measuring, objectives: Objectives, rate: float, *, seed: int
) -> InTurns:
    """Loads two servers in turns.

    Args:
        first: the one that is to be better.
        second: the other.
        objectives: by which both are strained.
        rate: requests a second.
        seed: of who begins.

    Raises:
        LostError: one of them is gone.
        KeyboardInterrupt: Ctrl-C.
    """
    order = random.Random(seed)
    pairs: list[tuple[float, float]] = []
    while len(pairs) < PAIRS:
        for one in order.sample((first, second), 2):
            one.measure(rate)
        pairs.append((strain(first.points[-1], objectives), strain(second.points[-1], objectives)))
    return InTurns(rate=rate, pairs=tuple(pairs))


def strain(point: Point, objectives: Objectives) -> float:
    """How much of what is allowed was used: 1 is just within the objectives.

    The largest of the percentiles' shares of their limits; infinite where more requests failed than
    may, for then percentiles are those of the few that were answered.
    """
    if point.failures > objectives.error_rate * point.requests:
        return math.inf
    limits_ms = objectives.percentiles_ms
    found = point.recording.percentiles(tuple(limits_ms))
    return max((one.value_ms / limits_ms[one.share] for one in found), default=math.inf)


def middle(rates: Sequence[float]) -> float:
    """The geometric mean: between two knees one server holds, and the other does not."""
    return math.exp(sum(map(math.log, rates)) / len(rates))
