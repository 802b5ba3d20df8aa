"""What training is to answer: labels, probabilities, a teacher's answers, and how they mix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foundation.command_line import InputError
from training.config import RunConfig
from training.data import targets
from training.data.items import Dataset, Item


def _dataset(names: tuple[str, ...], rows: list[tuple[str, float | None]]) -> Dataset:
    """Of rows (label, probability)."""
    items = tuple(
        Item(path=f"{place}.png", label=label, probability=probability, stratum=label)
        for place, (label, probability) in enumerate(rows)
    )
    return Dataset(
        source="rows", root=Path(), class_names=names, positive_by="by its name", items=items
    )


TWO = _dataset(("ok", "nok"), [("ok", 0.0), ("nok", 2 / 3), ("ok", 1 / 3), ("nok", 1.0)])
THREE = _dataset(("a", "b", "c"), [("a", None), ("c", None), ("b", None)])
TAUGHT = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.5, 0.5]], np.float32)


@pytest.mark.parametrize(
    ("settings", "taught", "expected"),
    [
        ({}, None, [0, 1, 0, 1]),
        ({"soft_labels": True}, None, [0, 2 / 3, 1 / 3, 1]),
        ({"label_smoothing": 0.1}, None, [0.05, 0.95, 0.05, 0.95]),
        ({"teacher": "a"}, TAUGHT, [0.05, 0.9, 0.3, 0.75]),
        ({"teacher": "a", "teacher_share": 1.0}, TAUGHT, [0.1, 0.8, 0.6, 0.5]),
        ({"teacher": "a", "teacher_share": 0.0}, TAUGHT, [0, 1, 0, 1]),
        (
            {"soft_labels": True, "teacher": "a", "label_smoothing": 0.2},
            TAUGHT,
            [0.14, 0.1 + 0.8 * (1 / 3 + 0.4), 0.1 + 0.8 * (1 / 6 + 0.3), 0.7],
        ),
    ],
)
def test_of_two_classes_a_target_is_the_positive_ones_probability(
    settings: dict[str, object], taught: np.ndarray | None, expected: list[float]
) -> None:
    found = targets.of(TWO, TWO.items, RunConfig(**settings), taught)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_of_more_classes_a_target_is_a_place_or_a_share_of_each() -> None:
    np.testing.assert_array_equal(targets.of(THREE, THREE.items, RunConfig()), [0, 2, 1])
    for settings in ({"mixup": 0.2}, {"label_smoothing": 0.0, "mixup": 0.2}):
        shares = targets.of(THREE, THREE.items, RunConfig(**settings))
        np.testing.assert_array_equal(shares, [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    smooth = targets.of(THREE, THREE.items, RunConfig(label_smoothing=0.3))
    np.testing.assert_allclose(smooth[0], [0.8, 0.1, 0.1], atol=1e-6)
    taught = np.full((3, 3), 1 / 3, np.float32)
    learned = targets.of(THREE, THREE.items, RunConfig(teacher="a"), taught)
    np.testing.assert_allclose(learned[1], [1 / 6, 1 / 6, 2 / 3], atol=1e-6)


def test_classes_weigh_the_same_together_and_an_image_one_on_average() -> None:
    rows = [("ok", None)] * 9 + [("nok", None)]
    few = _dataset(("ok", "nok"), rows)
    weights = targets.weights(few, few.items)
    np.testing.assert_allclose(weights, [10 / 18, 10 / 2])
    assert 9 * weights[0] == pytest.approx(weights[1])
    assert (9 * weights[0] + weights[1]) / 10 == pytest.approx(1)


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        (
            _dataset(("ok", "nok"), [("ok", 0.1), ("nok", None)]),
            "1 images without, the first 1.png",
        ),
        (
            _dataset(("ok", "nok"), [("ok", 0.9), ("nok", 0.2)]),
            "lower ones for it (0.20 on average)",
        ),
        (_dataset(("ok", "nok"), [("ok", 0.0), ("nok", 0.0)]), "Received: 0 of all 2 training"),
        (THREE, "Expected two classes for --soft-labels. Received: 3"),
    ],
)
def test_soft_labels_that_cannot_be_are_one_line(dataset: Dataset, told: str) -> None:
    with pytest.raises(InputError) as error:
        targets.of(dataset, dataset.items, RunConfig(soft_labels=True))
    assert told in str(error.value)


def test_other_soft_labels_are_another_run() -> None:
    other = _dataset(("ok", "nok"), [("ok", 0.0), ("nok", 0.7), ("ok", 1 / 3), ("nok", 1.0)])
    assert targets.digest(TWO) != targets.digest(other)


def test_a_teacher_means_the_same_by_its_numbers() -> None:
    targets.check_teacher("big-1", ("ok", "nok"), ("ok", "nok"))
    for theirs in (("nok", "ok"), ("ok", "nok", "odd"), ("a", "b")):
        with pytest.raises(InputError, match="Expected a teacher of the classes ok, nok"):
            targets.check_teacher("big-1", theirs, ("ok", "nok"))
