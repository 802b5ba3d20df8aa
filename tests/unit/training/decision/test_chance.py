"""Better than guessing, or not: the interval of the area, and what follows."""

from __future__ import annotations

import numpy as np
import pytest

from training.decision import chance


def _draw(random: np.random.Generator, count: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of `count` images a class, normal, and their classes."""
    positive = np.arange(2 * count) < count
    return random.normal(positive * shift, 1), positive


@pytest.mark.parametrize(("shift", "area"), [(0.0, 0.5), (1.0, 0.7602), (2.5, 0.9615)])
def test_the_interval_holds_the_true_area_about_nineteen_times_in_twenty(
    shift: float, area: float
) -> None:
    random = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        lower, upper = chance.roc_auc_interval(*_draw(random, 40, shift))
        assert 0 < lower < upper < 1
        held += lower <= area <= upper
    assert 930 <= held <= 975


def test_a_perfect_order_of_a_few_images_proves_nothing() -> None:
    for count, told in ((2, False), (5, False), (6, True), (50, True)):
        positive = np.arange(2 * count) < count
        lower, upper = chance.roc_auc_interval(positive.astype(float), positive)
        assert upper == 1
        assert (lower > 0.5) is told
        assert chance.roc_auc_interval(-positive.astype(float), positive) == pytest.approx(
            (0, 1 - lower)
        )


def test_one_image_of_a_class_says_nothing_and_none_has_no_interval() -> None:
    assert chance.roc_auc_interval(np.arange(9.0), np.arange(9) == 8) == (0, 1)
    assert chance.roc_auc_interval(np.arange(9.0), np.zeros(9, bool)) is None


def test_equal_scores_are_a_guess() -> None:
    assert chance.roc_auc_interval(np.ones(80), np.arange(80) < 40) == (0.5, 0.5)


def _metrics(**other: object) -> dict[str, object]:
    sound = {
        "count": 80,
        "roc_auc": 0.8,
        "roc_auc_interval": (0.7, 0.88),
        "balanced_accuracy": 0.75,
        "confusion_matrix": [[30, 10], [10, 30]],
    }
    return sound | other


def test_a_run_that_tells_the_classes_apart_raises_no_doubt() -> None:
    assert chance.doubts(_metrics()) == []
    assert chance.doubts({}) == []
    assert chance.doubts(_metrics(roc_auc_interval=None, balanced_accuracy=None)) == []


def test_an_interval_that_holds_a_half_is_told() -> None:
    (told,) = chance.doubts(_metrics(roc_auc=0.6, roc_auc_interval=(0.48, 0.71)))
    assert told == (
        "ROC-AUC 0.600 on 80 images, with 95% confidence 0.480 to 0.710; guessing has 0.5"
    )
    assert chance.doubts(_metrics(roc_auc=0.2, roc_auc_interval=(0.1, 0.3)))


@pytest.mark.parametrize(
    ("matrix", "accuracy", "why"),
    [
        ([[40, 0], [40, 0]], 0.5, "with the same answer to every image"),
        ([[20, 20], [24, 16]], 0.45, "and guessing has 0.5"),
    ],
)
def test_decisions_that_a_guess_would_make_are_told(
    matrix: list, accuracy: float, why: str
) -> None:
    (told,) = chance.doubts(_metrics(balanced_accuracy=accuracy, confusion_matrix=matrix))
    assert told == f"balanced accuracy {accuracy:.3f}, {why}"
