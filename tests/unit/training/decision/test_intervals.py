"""Intervals hold the true figure as often as they say, also of few images and without a mistake."""

from __future__ import annotations

import time

import numpy as np
import pytest
import scipy.stats

from training.decision import chance, intervals


def test_of_two_classes_without_a_spread_between_recalls_it_is_jeffreys_interval() -> None:
    # all of the second class is right, so that the first one's recall alone is uncertain
    found = intervals.of_confusion(np.array([[45, 5], [0, 10**6]]))["balanced_accuracy"]
    lower, upper = scipy.stats.beta.interval(0.95, 45.5, 5.5)
    assert found == pytest.approx(((lower + 1) / 2, (upper + 1) / 2), abs=0.003)


def test_few_images_without_a_mistake_are_not_certain() -> None:
    for classes in (2, 3, 10):
        for name, found in intervals.of_confusion(8 * np.eye(classes, dtype=int)).items():
            assert found is not None
            assert 0.5 < found[0] < 0.97, name
            assert found[1] > 0.98


def test_a_class_without_images_leaves_no_interval() -> None:
    assert intervals.of_confusion(np.array([[3, 1], [0, 0]])) == {
        "balanced_accuracy": None,
        "f1": None,
    }
    assert set(intervals.of_confusion(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 1]])).values()) == {
        None
    }


RIGHT = {
    2: np.array([[0.9, 0.1], [0.25, 0.75]]),
    3: np.array([[0.9, 0.05, 0.05], [0.2, 0.6, 0.2], [0.0, 0.3, 0.7]]),
}


@pytest.mark.parametrize("classes", [2, 3])
def test_the_true_figures_lie_inside_about_as_often_as_they_should(classes: int) -> None:
    random = np.random.default_rng(classes)
    counts = np.array([60, 30, 20])[:classes]
    expected = RIGHT[classes] * counts[:, np.newaxis]
    recall = np.diag(RIGHT[classes])
    f1 = 2 * np.diag(expected) / (counts + expected.sum(axis=0))
    true = {"balanced_accuracy": recall.mean()}
    if classes == 2:
        true["f1"] = f1[1]
    else:
        true["macro_precision"] = np.mean(np.diag(expected) / expected.sum(axis=0))
        true["macro_f1"] = f1.mean()
    inside = dict.fromkeys(true, 0)
    rounds = 250
    for _ in range(rounds):
        drawn = [random.multinomial(count, row) for count, row in zip(counts, RIGHT[classes])]
        for name, found in intervals.of_confusion(np.array(drawn)).items():
            assert found is not None
            inside[name] += found[0] <= true[name] <= found[1]
    # 0.91 of 250 is about three standard deviations below 0.95
    assert {name for name, count in inside.items() if count < 0.91 * rounds} == set()


def test_the_loss_of_most_samples_lies_inside() -> None:
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        found = intervals.of_log_losses(random.exponential(0.5, 200))
        assert found is not None
        inside += found[0] <= 0.5 <= found[1]
    assert inside > 0.91 * 400
    assert intervals.of_log_losses(np.array([1.0])) is None
    assert intervals.of_log_losses(np.array([0.0, 0.0, 0.1])) == pytest.approx(
        (0, 0.0987), abs=1e-4
    )


def test_of_two_classes_the_mean_area_has_the_interval_of_the_one_area() -> None:
    random = np.random.default_rng(2)
    targets = (random.random(300) < 0.4).astype(int)
    positive = (0.4 * random.random(300) + 0.3 * targets).astype(np.float32)
    scores = np.stack([1 - positive, positive], axis=1)
    one = chance.roc_auc_interval(positive, targets == 1)
    assert intervals.of_mean_area(targets, scores) == pytest.approx(one, abs=0.002)
    assert intervals.of_mean_area(np.array([0, 0, 1]), scores[:3]) is None
    assert intervals.of_mean_area(targets, np.stack([1 - targets, targets], 1)) is None


def test_the_mean_area_lies_inside_about_as_often_as_it_should() -> None:
    random = np.random.default_rng(3)

    def area_and_interval(count: int) -> tuple[float, tuple[float, float] | None]:
        targets = random.integers(0, 3, count)
        scores = random.normal(0, 1, (count, 3)) + 1.2 * np.eye(3)[targets]
        areas = [
            float(np.mean(chance.placements(scores[:, place], targets == place)[0]))
            for place in range(3)
        ]
        return float(np.mean(areas)), intervals.of_mean_area(targets, scores.astype(np.float32))

    true, _ = area_and_interval(200_000)
    found = [area_and_interval(120)[1] for _ in range(300)]
    inside = sum(one is not None and one[0] <= true <= one[1] for one in found)
    assert inside > 0.91 * 300


def test_a_precision_recall_area_is_surer_with_more_positives_and_never_certain() -> None:
    few, many = (intervals.of_precision_recall(0.8, count) for count in (20, 2000))
    assert few[0] < many[0] < 0.8 < many[1] < few[1]
    assert intervals.of_precision_recall(1.0, 10)[0] < 0.9
    assert intervals.of_precision_recall(0.0, 1)[1] > 0.5


@pytest.mark.thorough
def test_three_hundred_classes_take_little_time() -> None:
    confusion = np.random.default_rng(4).integers(0, 3, (300, 300)) + 20 * np.eye(300, dtype=int)
    started = time.process_time()
    assert None not in intervals.of_confusion(confusion).values()
    assert time.process_time() - started < 10
