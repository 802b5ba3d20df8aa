"""Figures over several runs."""

import math

import pytest

from training.comparing.folds import Spread, spread


def test_mean_deviation_and_interval_are_those_of_student() -> None:
    found = spread([0.7, 0.8, 0.9])
    assert found.mean == pytest.approx(0.8)
    assert found.deviation == pytest.approx(0.1)
    # t of two degrees of freedom: 4.3027
    reach = 4.3027 * 0.1 / math.sqrt(3)
    assert found.interval == pytest.approx((0.8 - reach, 1.0), abs=1e-4)


def test_an_interval_stays_where_its_figure_can_be() -> None:
    assert spread([0.9, 1.0]).interval == (pytest.approx(0.3147, abs=1e-4), 1.0)
    lower, upper = spread([0.5, 2.0], math.inf).interval or (0, 0)
    assert lower == 0
    assert upper > 2


def test_a_single_run_has_no_spread_and_a_missing_figure_no_mean() -> None:
    assert spread([0.7]) == Spread(values=(0.7,), mean=0.7, deviation=None, interval=None)
    assert spread([0.7, None]) == Spread(
        values=(0.7, None), mean=None, deviation=None, interval=None
    )
