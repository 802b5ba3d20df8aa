"""Two servers under the same load, in turns: which one's callers wait longer?

The machine may be slower during one search than during the next, and then the knees differ although
the servers do not. Two servers that run at the same time and are loaded in turns, with the same
arrivals, are slowed alike. Each pair of loads says which server was slower, and the sign test says
how probable such a count of pairs is by chance alone (any text on nonparametric statistics).
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
"""The difference is taken for real if its probability by chance alone is at most this: from nine of
ten pairs on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InTurns:
    """The result of loading two servers in turns."""

    rate: float
    """Requests a second that were sent to both."""
    pairs: tuple[tuple[float, float], ...]
    """Of each pair the strain of the first server, which should be better, and of the second; see
    `strain`."""

    @property
    def better(self) -> int:
        """The number of pairs in which the first server was strained less."""
        return sum(first < second for first, second in self.pairs)

    @property
    def chance(self) -> float:
        """The probability of at least so many, if neither were better; 1 if no pair differs."""
        differ = sum(first != second for first, second in self.pairs)
        ways = sum(math.comb(differ, wins) for wins in range(self.better, differ + 1))
        return float(ways / 2**differ)

    @property
    def sure(self) -> bool:
        """Whether the first server is surely better."""
        return self.chance <= LEAST_CHANCE

    @property
    def words(self) -> str:
        """About the first server, in half a line."""
        return (
            f"better in {self.better} of {len(self.pairs)} pairs at {self.rate:.4g} requests/s "
            f"(chance alone: {self.chance:.2g})"
        )


def compare(
    first: Measuring, second: Measuring, objectives: Objectives, rate: float, *, seed: int
) -> InTurns:
    """Loads two servers in turns.

    Args:
        first: the one that should be better.
        second: the other.
        objectives: which the strain is measured by.
        rate: requests a second.
        seed: of the order in each pair.

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
    """How near a load came to its objectives: 1 is just within them.

    The largest quotient of a percentile and its limit. Infinite where more requests failed than
    may: the percentiles are then those of the few that were answered.
    """
    if not objectives.allow(point.failures, of=point.requests):
        return math.inf
    limits_ms = objectives.percentiles_ms
    found = point.recording.percentiles(tuple(limits_ms))
    return max((one.value_ms / limits_ms[one.share] for one in found), default=math.inf)


def middle(rates: Sequence[float]) -> float:
    """The geometric mean: a rate between two knees, which only one of the servers holds."""
    return math.exp(sum(map(math.log, rates)) / len(rates))
