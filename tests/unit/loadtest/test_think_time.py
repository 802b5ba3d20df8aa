"""How long a user thinks."""

from __future__ import annotations

import random

import numpy as np
import pytest

from foundation.command_line import InputError
from loadtest.traffic import think_time


def drawn(text: str, count: int = 4000) -> np.ndarray:
    source, think = random.Random(1), think_time.parse(text)
    return np.array([think(source) for _ in range(count)])


def test_a_number_is_always_so_long():
    assert set(drawn("0.25")) == {0.25}
    assert set(drawn("0")) == {0.0}


def test_a_span_is_even_between_its_ends():
    found = drawn("0.2-1")
    assert 0.2 <= found.min() < 0.22
    assert 0.98 < found.max() <= 1
    assert found.mean() == pytest.approx(0.6, abs=0.02)


def test_an_exponential_has_its_mean_and_a_tail():
    found = drawn("exp:0.5")
    assert found.mean() == pytest.approx(0.5, rel=0.1)
    assert found.max() > 2
    assert np.median(found) == pytest.approx(0.5 * np.log(2), rel=0.1)


def test_the_same_seed_thinks_the_same():
    assert drawn("exp:1", 20).tolist() == drawn("exp:1", 20).tolist()


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1-0.5", "0.1-0.2-0.3", "exp:0", "exp:", "exp:1-2", "nan", "inf", "1-"]
)
def test_what_is_no_time_is_refused_with_examples(text):
    with pytest.raises(InputError, match=r"0\.5, 0\.2-1 .* or exp:0\.5"):
        think_time.parse(text)
