"""Metrics, against numbers worked out by hand."""

import numpy as np
import pytest

from training.decision import metrics
from training.decision.decision import Band, Calibration, Decision

TARGETS = np.array([0, 0, 0, 1, 1])
PROBABILITIES = np.array([0.1, 0.4, 0.6, 0.5, 0.9], np.float32)


def found(decision: Decision, targets=TARGETS, probabilities=PROBABILITIES):
    scores = np.stack([1 - probabilities, probabilities], axis=1)
    return metrics.metrics(targets, decision.answers(scores))


def test_metrics_are_those_worked_out_by_hand() -> None:
    made = found(Decision(threshold=0.5, review=Band(0.35, 0.65)))
    assert made["confusion_matrix"] == [[2, 1], [0, 2]]  # 0.5 itself counts as positive
    assert made["accuracy"] == pytest.approx(4 / 5)
    assert made["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert made["precision"] == pytest.approx(2 / 3)
    assert made["recall"] == 1
    assert made["false_positive_rate"] == pytest.approx(1 / 3)
    assert made["f1"] == pytest.approx(0.8)
    assert made["roc_auc"] == pytest.approx(5 / 6)  # one of six pairs is the wrong way round
    assert made["pr_auc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert made["review_share"] == pytest.approx(3 / 5)
    assert made["accuracy_without_review"] == 1  # 0.1 and 0.9
    assert (made["count"], made["positives"]) == (5, 2)
    assert made["most_frequent_share"] == pytest.approx(3 / 5)


def test_the_threshold_moves_decisions() -> None:
    assert found(Decision(threshold=0.7))["confusion_matrix"] == [[3, 0], [1, 1]]


def test_decisions_are_made_on_calibrated_probabilities() -> None:
    # a shift of the logits by 2 takes 0.4 to 0.83
    made = found(Decision(calibration=Calibration("platt", 1.0, 2.0), threshold=0.8))
    assert made["confusion_matrix"] == [[1, 2], [0, 2]]
    assert made["roc_auc"] == pytest.approx(5 / 6)  # the order stays


def test_shares_have_intervals() -> None:
    made = found(Decision(threshold=0.5))
    # two of two: (1 - 0.975) ** (1 / 2) up to 1
    assert made["intervals"]["recall"] == pytest.approx((0.025**0.5, 1))
    assert made["intervals"]["accuracy"] == pytest.approx((0.2836, 0.9949), abs=1e-4)


def test_one_class_alone_has_no_areas_and_no_recall() -> None:
    made = found(Decision(), TARGETS[:3], PROBABILITIES[:3])
    for name in ("roc_auc", "pr_auc", "balanced_accuracy", "recall", "f1"):
        assert made[name] is None
    assert made["intervals"]["recall"] is None
    assert made["precision"] == 0


def test_what_nobody_is_called_has_no_precision() -> None:
    made = found(Decision(threshold=0.95))
    assert made["precision"] is None
    assert made["f1"] == 0


def test_where_all_go_to_review_nothing_is_left_to_be_right() -> None:
    assert found(Decision(review=Band(0, 1.1)))["accuracy_without_review"] is None


def test_log_loss_is_finite_for_a_sure_mistake() -> None:
    sure = np.array([[1.0, 0.0]])
    assert metrics.log_loss(np.array([1]), sure) == pytest.approx(16.118, abs=1e-3)
    assert metrics.log_loss(np.array([1, 0]), np.full((2, 2), 0.5)) == pytest.approx(np.log(2))
    third = np.full((1, 3), 1 / 3)
    assert metrics.log_loss(np.array([2]), third) == pytest.approx(np.log(3))
