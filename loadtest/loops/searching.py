"""Searches the knee of a running server: chooses rates, measures them, and keeps what was seen."""

from __future__ import annotations

import dataclasses

from loadtest.loops.measuring import Measuring
from loadtest.plan.search import Search
from loadtest.results.point import Point
from loadtest.verdicts import knee_search
from loadtest.verdicts.knee_search import Knee


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to."""

    knee: Knee
    points: tuple[Point, ...]
    """All measurements, in order of time."""
    seconds: float


def find(search: Search, *, brief: bool = False) -> Found:
    """Searches once.

    Args:
        search: checked.
        brief: whether every measurement is as short as those of the climb, where a rough knee is
            enough.

    Raises:
        InputError: no server, or nothing to send.
    """
    with Measuring(
        search.settings, search.objectives, seconds_each=search.seconds_each
    ) as measuring:
        measure = measuring.look if brief else measuring.measure
        knee = knee_search.search(measure, search.limits, measuring.clock, look=measuring.look)
        return Found(knee=knee, points=tuple(measuring.points), seconds=measuring.clock())
