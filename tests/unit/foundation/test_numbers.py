"""Numbers for people."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foundation.pages import numbers

MINUS = numbers.MINUS
NOTHING = numbers.NOTHING
UNKNOWN = (None, math.nan, math.inf, -math.inf)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8530.4, "8,530"),
        (8.53e3, "8,530"),
        (12.345, "12.3"),
        (9.996, "10.0"),
        (0.01234, "0.0123"),
        (1e-7, "0.000000100"),
        (0, "0"),
        (-0.0, "0"),
        (1234567, "1,234,567"),
        (-4.2, f"{MINUS}4.20"),
        (3.4e38, "3.4 × 10^38"),  # noqa: RUF001
        (5e-324, f"4.94 × 10^{MINUS}324"),  # noqa: RUF001
        (np.float64(2.5), "2.50"),
    ],
)
def test_a_measured_number_has_the_digits_that_count(value: float, text: str) -> None:
    assert numbers.number(value) == text


@pytest.mark.parametrize("value", UNKNOWN)
def test_what_is_not_known_is_a_dash(value: float | None) -> None:
    for one in (
        numbers.number(value),
        numbers.fixed(value, 2),
        numbers.signed(value, 2),
        numbers.percent(value),
        numbers.part(value),
        numbers.chance(value),
        numbers.amount(value, "ms"),
        numbers.shown(value),
    ):
        assert one == NOTHING


def test_a_column_has_its_places_and_hides_no_number() -> None:
    assert numbers.fixed(8530.456, 2) == "8,530.46"
    assert numbers.fixed(0.0, 3) == "0.000"
    assert numbers.fixed(0.00012, 3) == "0.0001"
    assert numbers.fixed(-0.00012, 3) == f"{MINUS}0.0001"


def test_a_difference_has_its_sign() -> None:
    assert numbers.signed(0.0123, 3) == "+0.012"
    assert numbers.signed(-1234.5, 1) == f"{MINUS}1,234.5"
    assert numbers.signed(-0.0001, 3) == "0.000"


def test_no_share_and_no_part_is_below_nothing() -> None:
    assert numbers.percent(0.123).replace(numbers.NO_BREAK, " ") == "12.3 %"
    assert numbers.percent(-0.04).replace(numbers.NO_BREAK, " ") == "0.0 %"
    assert numbers.part(-0.3) == "about 0"
    assert numbers.part(0.3) == "0.300"


def test_a_chance_is_not_written_as_a_power() -> None:
    assert numbers.chance(3.1e-5) == "< 0.0001"
    assert numbers.chance(0.00612) == "0.0061"
    assert numbers.chance(1.0) == "1.0"


def test_a_number_and_its_unit_are_one_piece() -> None:
    assert numbers.amount(8530.4, "ms") == f"8,530{numbers.NO_BREAK}ms"
    assert numbers.amount(3, "") == "3"


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("2026-01-02T03:04:05+00:00", "2026-01-02 03:04:05 UTC"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02 01:04:05 UTC"),
        (1_700_000_000, "2023-11-14 22:13:20 UTC"),
        ("yesterday", "yesterday"),
        (1e300, "1e+300"),
        (None, NOTHING),
    ],
)
def test_a_time_is_one_of_the_calendar(time: str | float | None, text: str) -> None:
    assert numbers.moment(time) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-05, "0.00001"),
        (0.1 + 0.2, "0.3"),
        (30.0, "30"),
        (1_000_000.0, "1,000,000"),
        (True, "yes"),
        (8500, 8500),
        ({"stable": 1, "canary": None}, f"stable 1, canary {NOTHING}"),
        ((1e-5, False), "0.00001, no"),
        ([], NOTHING),
        (np.float32(0.1), "0.1"),
        ("nan", "nan"),
    ],
)
def test_a_value_without_a_format_is_legible(value: object, text: object) -> None:
    assert numbers.shown(value) == text
