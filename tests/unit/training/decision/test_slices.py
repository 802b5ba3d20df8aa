"""Figures of parts of the images, and which part is worse than the rest."""

from __future__ import annotations

import numpy as np
import pytest

from training.decision import slices
from training.decision.decision import Answers


def _answers(positive: np.ndarray) -> Answers:
    """Sure answers to images of two classes."""
    scores = np.where(positive[:, np.newaxis] == np.arange(2), 0.9, 0.1).astype(np.float32)
    return Answers(scores=scores, decided=positive.astype(int), review=np.zeros(len(scores), bool))


def test_columns_that_divide_the_images_are_taken_and_the_others_are_named() -> None:
    rows = [
        {"line": f"{place % 3}", "serial": f"{place}", "site": "here", "shift": "a"[: place % 2]}
        for place in range(60)
    ]
    taken, left = slices.columns(rows)
    assert taken == {"line": ["0", "1", "2"]}
    assert left == {"serial": 60, "site": 1, "shift": 1}
    assert slices.columns([]) == ({}, {})


def test_the_figures_of_a_slice_are_those_of_its_images() -> None:
    targets = np.array([0, 1, 1, 0, 1, 0])
    answers = _answers(np.array([0, 1, 0, 1, 1, 0]))
    rows = [{"line": name} for name in "aaabbb"]
    a, b = slices.slices(targets, answers, rows, {"line": ["a", "b"]})
    assert (a["column"], a["value"], a["count"]) == ("line", "a", 3)
    assert (a["accuracy"], a["accuracy_of_others"]) == pytest.approx((2 / 3, 2 / 3))
    assert a["balanced_accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert a["roc_auc"] == pytest.approx(0.75)
    assert b["balanced_accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert not a["worse"]


def test_a_slice_of_one_class_has_no_area_and_no_balance() -> None:
    rows = [{"line": "a"}, {"line": "b"}, {"line": "b"}]
    a, _ = slices.slices(
        np.array([1, 0, 1]), _answers(np.array([1, 0, 1])), rows, {"line": ["a", "b"]}
    )
    assert (a["roc_auc"], a["balanced_accuracy"], a["accuracy"]) == (None, None, 1.0)


def test_swapped_labels_in_a_slice_are_found_and_told() -> None:
    random = np.random.default_rng(2)
    said = random.integers(0, 2, 400)
    rows = [{"line": f"{place % 8}"} for place in range(400)]
    swapped = np.array([row["line"] == "3" for row in rows])
    targets = np.where(swapped | (random.random(400) < 0.05), 1 - said, said)
    found = slices.slices(targets, _answers(said), rows, slices.columns(rows)[0])
    assert [one["value"] for one in found if one["worse"]] == ["3"]
    (line,) = slices.told(found)
    assert line.startswith("line=3: accuracy 0.0")
    assert "on 50 images" in line


@pytest.mark.thorough
def test_where_no_slice_is_worse_hardly_one_is_called_so() -> None:
    random = np.random.default_rng(3)
    called = 0
    for _ in range(300):
        targets, said = random.integers(0, 2, 200), random.integers(0, 2, 200)
        said = np.where(random.random(200) < 0.8, targets, said)
        rows = [{"line": f"{value}"} for value in random.integers(0, 10, 200)]
        found = slices.slices(targets, _answers(said), rows, slices.columns(rows)[0])
        called += any(one["worse"] for one in found)
    assert called / 300 < 0.07
