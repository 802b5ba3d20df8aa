"""Whether the search for the knee finds what an exhaustive sweep finds.

The server works on a few requests at a time, each as long as its draw says, so that it bends where
any queue does. The sweep measures every rate of a ladder several times, pools what each rate's
requests waited, and looks where the pooled p99 crosses the objective, without the search's curve.
Searches and rounds of the sweep take turns, so that a slower minute of the machine meets both.
"""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
from scipy.optimize import isotonic_regression

from loadtest.loops import searching
from loadtest.loops.measuring import Measuring
from loadtest.plan.search import Search
from loadtest.plan.settings import Settings
from loadtest.results.histograms import empty, percentiles
from loadtest.results.point import Point
from loadtest.verdicts.knee_search import Knee, Limits
from loadtest.verdicts.objectives import Objectives
from tests.bench.loadtest.servers import delaying
from tests.bench.loadtest.truth import Slowness

BENDING = Slowness(median_s=0.008, sigma=0.3, stall_s=0.0, places=2)

CAPACITY_PER_S = BENDING.places / (BENDING.median_s * float(np.exp(BENDING.sigma**2 / 2)))
"""Requests a second that it could work on (the mean of a log-normal draw)."""

OBJECTIVES = Objectives(limits={"p99_ms": 60.0, "error_rate": 0.001}, source="the bench")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knees:
    """What search and sweep found."""

    searched: tuple[Knee, ...]
    search_s: tuple[float, ...]
    """How long each search took."""
    swept: float | None
    """Requests a second; None: the ladder does not cross the objective."""
    sweep_s: float
    points: tuple[Point, ...]
    """Of the sweep."""


def measure(folder: Path, *, searches: int, rungs: int, seconds_each: float) -> Knees:
    """Searches and sweeps, in turns: as many rounds of the ladder as searches."""
    ladder = np.geomspace(0.55 * CAPACITY_PER_S, 1.02 * CAPACITY_PER_S, rungs).tolist()
    searched, search_s, points, sweep_s = [], [], [], 0.0
    with delaying(BENDING, folder) as (_, target):
        for number in range(searches):
            settings = Settings(target=target, seed=1000 * number)
            search = Search(
                settings=settings,
                objectives=OBJECTIVES,
                limits=Limits(),
                seconds_each=seconds_each,
            )
            found = searching.find(search)
            searched.append(found.knee)
            search_s.append(found.seconds)
            with Measuring(
                dataclasses.replace(settings, seed=settings.seed + 500),
                OBJECTIVES,
                seconds_each=seconds_each,
            ) as measuring:
                for rate in random.Random(number).sample(ladder, len(ladder)):
                    measuring.measure(rate)
                points += measuring.points
                sweep_s += measuring.clock()
    return Knees(
        searched=tuple(searched),
        search_s=tuple(search_s),
        swept=crossing(points, OBJECTIVES.limits["p99_ms"]),
        sweep_s=sweep_s,
        points=tuple(points),
    )


def crossing(points: list[Point], limit_ms: float) -> float | None:
    """Where the pooled p99, made to rise with the rate, crosses the limit; None: nowhere."""
    rates = sorted({point.rate for point in points})
    pooled = []
    for rate in rates:
        histogram = empty()
        for point in points:
            if point.rate == rate:
                # What failed waited until the deadline or was never sent: longer than any limit.
                histogram.add(point.recording.histogram(code=None))
        pooled.append(percentiles(histogram, (99,))[0].value_ms)
    rising = isotonic_regression(np.log(pooled)).x
    wanted = np.log(limit_ms)
    if not rising[0] <= wanted <= rising[-1]:
        return None
    above = int(np.searchsorted(rising, wanted))
    low, high = rising[above - 1], rising[above]
    share = (wanted - low) / (high - low) if high > low else 0.5
    return float(np.exp(np.interp(share, [0, 1], np.log([rates[above - 1], rates[above]]))))
