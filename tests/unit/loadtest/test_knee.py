"""The search for the knee, over servers whose knee is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foundation.figures import Figures
from loadtest import knee
from loadtest.loops.searching import Found
from loadtest.verdicts.knee_search import Knee, Limits, LostError, Measurement, search
from loadtest.verdicts.objectives import Objectives

CAPACITY = 400.0
OBJECTIVE_S = 0.05
KNEE = CAPACITY - math.log(100) / OBJECTIVE_S
"""Of one queue with one server (M/M/1): the time that 99 % wait less than is ln(100) over what
capacity is left (any text on queues)."""


class Simulated:
    """A queue whose p99 is measured with noise, now and then by accident."""

    def __init__(self, seed: int, *, noise: float = 0.1, accidents: float = 0.03):
        self._random = np.random.default_rng(seed)
        self._noise, self._accidents = noise, accidents
        self.rates: list[float] = []

    def __call__(self, rate: float) -> Measurement:
        self.rates.append(rate)
        left = CAPACITY - rate
        p99_s = math.log(100) / left if left > 0 else math.inf
        p99_s *= math.exp(self._random.normal(0, self._noise))
        accident = self._random.random() < self._accidents
        return Measurement(rate=rate, holds=p99_s <= OBJECTIVE_S and not accident)


@pytest.mark.thorough
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_the_interval_holds_the_knee_as_often_as_it_says_and_the_knee_is_near(noise):
    found = [search(Simulated(seed, noise=noise)) for seed in range(60)]
    assert np.mean([one.low <= KNEE <= one.high for one in found]) >= 0.8
    assert np.mean([abs(one.rate / KNEE - 1) <= 0.1 for one in found]) >= 0.9
    assert np.mean([one.complete for one in found]) == 1


@pytest.mark.thorough
def test_more_noise_takes_more_measurements_and_leaves_wider_intervals():
    quiet, noisy = (
        [search(Simulated(seed, noise=noise, accidents=0)) for seed in range(20)]
        for noise in (0.02, 0.4)
    )
    assert np.mean([k.measurements for k in quiet]) < np.mean([k.measurements for k in noisy])
    assert np.mean([k.high / k.low for k in quiet]) < np.mean([k.high / k.low for k in noisy])
    assert all(k.high <= 1.1 * k.low for k in quiet)


def test_a_search_is_cheaper_than_a_sweep():
    simulated = Simulated(1, noise=0.05, accidents=0)
    found = search(simulated)
    # A sweep by the same steps, of the same range, with as many looks at each: hundreds.
    steps = math.log(max(simulated.rates) / min(simulated.rates)) / math.log(1.1)
    assert found.measurements == len(simulated.rates) < 0.3 * (3 * steps)


def test_an_accident_in_the_climb_does_not_end_it():
    simulated, seen = Simulated(1, noise=0.02, accidents=0), []

    def measure(rate: float) -> Measurement:
        seen.append(rate)
        return Measurement(rate=rate, holds=False) if len(seen) == 2 else simulated(rate)

    assert search(measure).rate == pytest.approx(KNEE, rel=0.1)


def test_objectives_that_not_even_the_lowest_rate_holds_are_said_so():
    found = search(lambda rate: Measurement(rate=rate, holds=False), Limits(lowest=7))
    assert found.rate is None
    assert (found.low, found.high, found.complete) == (0.0, 7, True)
    assert found.words == "not found: not even 7 requests/s hold the objectives"
    assert found.measurements == 2


def test_a_server_that_never_bends_has_a_knee_of_at_least_the_highest_rate():
    found = search(lambda rate: Measurement(rate=rate, holds=True), Limits(lowest=10, highest=100))
    assert (found.rate, found.low, found.high) == (None, 100, None)
    assert found.words.startswith("at least 100 requests/s: 100 requests/s still hold")
    assert found.measurements == 9  # 10, 20, 40, 80, and 100 until it is no accident


def limited_from(least: float, knee: float, *, holds_beyond: bool = False):
    rates = []

    def measure(rate: float) -> Measurement:
        rates.append(rate)
        limited = "limited by the generator: it is tired" if rate >= least else ""
        holds = rate < knee and (not limited or holds_beyond)
        return Measurement(rate=rate, holds=holds, limited=limited)

    return measure, rates


def test_a_limit_of_the_generator_is_not_the_servers_knee():
    measure, rates = limited_from(200.0, 1e9)
    found = search(measure)
    assert (found.rate, found.high) == (None, None)
    assert 160 <= found.low < 200
    assert "limited by the generator: it is tired" in found.words
    assert len([rate for rate in rates if rate >= 200]) < 6  # never much above it


def test_a_knee_below_the_generators_limit_is_found():
    measure, _ = limited_from(200.0, 140.0)
    found = search(measure)
    assert found.rate == pytest.approx(140, rel=0.1)
    assert found.low <= 140 <= found.high


def test_what_holds_in_spite_of_a_tired_generator_has_held():
    measure, _ = limited_from(200.0, 300.0, holds_beyond=True)
    found = search(measure)
    assert found.low >= 190


def test_a_generator_that_cannot_even_send_the_lowest_rate_is_named():
    measure, _ = limited_from(1.0, 1e9)
    found = search(measure)
    assert (found.rate, found.low) == (None, 0.0)
    assert found.words == "not found: limited by the generator: it is tired"


def test_a_server_that_is_lost_leaves_what_there_is():
    simulated = Simulated(1, noise=0.02, accidents=0)

    def measure(rate: float) -> Measurement:
        if len(simulated.rates) == 6:
            raise LostError("the server is gone")
        return simulated(rate)

    found = search(measure)
    assert found == Knee(
        rate=None,
        low=160.0,
        high=320.0,
        why="the server is gone",
        complete=False,
        measurements=6,
    )


@pytest.mark.parametrize("limits", [Limits(most=12), Limits(seconds=12)], ids=["most", "seconds"])
def test_a_budget_ends_the_search_with_the_interval_that_there_is(limits):
    simulated = Simulated(1, noise=0.3)
    found = search(simulated, limits, lambda: float(len(simulated.rates)))
    assert found.measurements == 12
    assert found.complete
    assert "12" in found.why
    assert "wider than 10%" in found.why
    assert found.low <= KNEE <= found.high


def test_a_budget_that_ends_in_the_climb_says_what_held():
    found = search(Simulated(1, accidents=0), Limits(most=3))
    assert (found.rate, found.low, found.complete) == (None, 40.0, False)


@pytest.mark.slow
def test_a_search_that_is_broken_off_late_keeps_its_interval():
    for seed in range(20):
        simulated = Simulated(seed)

        def measure(rate: float, simulated: Simulated = simulated) -> Measurement:
            if len(simulated.rates) == 20:
                raise KeyboardInterrupt
            return simulated(rate)

        found = search(measure, Limits(width=0.01))
        assert found.rate is not None
        assert found.high is not None
        assert found.low < found.rate < found.high
        assert (found.why, found.complete) == ("interrupted", False)
        assert found.words.endswith("; partial: interrupted")


@pytest.mark.slow
@pytest.mark.parametrize("highest", [KNEE / 2, KNEE / 1.1])
def test_a_knee_above_what_may_be_tried_is_not_named(highest):
    found = [search(Simulated(seed), Limits(highest=highest)) for seed in range(20)]
    assert np.mean([one.rate is None for one in found]) >= 0.95
    assert all(one.low <= highest and one.high is None for one in found if one.rate is None)


def test_a_knee_below_what_may_be_tried_is_not_named():
    found = [search(Simulated(seed), Limits(lowest=1.05 * KNEE)) for seed in range(20)]
    assert [one.rate for one in found if one.rate is not None and one.rate < 1.05 * KNEE] == []
    assert np.mean([one.rate is None and one.low == 0 for one in found]) >= 0.9


def test_the_climb_only_looks_and_the_rest_is_measured():
    simulated, looked = Simulated(1, noise=0.02, accidents=0), []

    def look(rate: float) -> Measurement:
        looked.append(rate)
        return simulated(rate)

    search(simulated, look=look)
    assert looked == simulated.rates[: len(looked)]
    assert looked[:6] == [10, 20, 40, 80, 160, 320]
    assert len(looked) < len(simulated.rates)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"rate": 120.0, "low": 110.0, "high": 130.0}, "objectives met"),
        ({"rate": 80.0, "low": 70.0, "high": 90.0}, "objectives missed"),
        ({"rate": 100.0, "low": 90.0, "high": 110.0}, "no verdict"),
        ({"rate": 120.0, "low": 110.0, "high": 130.0, "complete": False}, "no verdict"),
        ({"rate": None, "low": 160.0, "high": 320.0, "complete": False}, "no verdict"),
        ({"rate": None, "low": 160.0, "high": None}, "objectives met"),
    ],
)
def test_a_gate_passes_only_a_whole_search_whose_interval_lies_above(found, words):
    usual = {"why": "gone", "complete": True, "measurements": 6}
    whole = Found(knee=Knee(**{**usual, **found}), points=(), seconds=9.0)
    limits = {"p99_ms": 50.0, "requests_per_s": 100.0}
    objectives = Objectives(limits=limits, source="this test")
    assert knee._verdict(whole, objectives, 0.1).startswith(f"{words}, 100 requests/s wanted")
    figures = Figures("demo", "demo")
    knee._add(figures, whole, objectives)
    (bar,) = (one.verdict for one in figures.results if one.name == "knee.low")
    expected = {"objectives met": "holds", "objectives missed": "FAILS", "no verdict": "unknown"}
    assert bar == expected[words]
