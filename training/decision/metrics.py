"""How good a decision is, on images of which the right answer is known.

Definitions are scikit-learn's; positive is class 1. Needs no TensorFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray

from training import chance
from training.decision import bounds, calibration
from training.decision.decision import Answers


def log_loss(targets: NDArray[np.int_], probabilities: NDArray[np.float32]) -> float:
    """Mean binary cross-entropy, in nats; probabilities are kept 1e-7 away from 0 and 1."""
    inside = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(targets == 1, np.log(inside), np.log1p(-inside))))


def roc_auc(targets: NDArray[np.int_], probabilities: NDArray[np.float32]) -> float | None:
    """Area under the ROC curve; None where only one class is there."""
    if len(np.unique(targets)) < 2:
        return None
    return float(sklearn.metrics.roc_auc_score(targets, probabilities))


def metrics(targets: NDArray[np.int_], answers: Answers, threshold: float) -> dict[str, Any]:
    """All figures of one split.

    Args:
        targets: int [N], 0 or 1; at least one.
        answers: to the N images.
        threshold: that they were decided by, for the record.

    Returns:
        JSON-ready; None where what a figure is a share of is not there, and the areas where only
        one class is. roc_auc_interval is that of training/chance.py; the other intervals hold with
        95 % confidence. confusion_matrix is
        [[true negatives, false positives], [false negatives, true positives]].
        calibration_error stands beside the one that a perfectly calibrated model would have by
        chance on as many images: its mean, and the one that 5 % of such models exceed.
    """
    probabilities = answers.probabilities
    decisions = answers.positive.astype(int)
    both = len(np.unique(targets)) == 2
    confusion = sklearn.metrics.confusion_matrix(targets, decisions, labels=[0, 1])
    (right_negatives, false_alarms), (missed, found) = confusion.tolist()
    rest = ~answers.review
    right = decisions == targets
    null = calibration.null_error(probabilities)
    shares = {
        "accuracy": (int(right.sum()), len(targets)),
        "precision": (found, found + false_alarms),
        "recall": (found, found + missed),
        "false_positive_rate": (false_alarms, false_alarms + right_negatives),
        "review_share": (int(answers.review.sum()), len(targets)),
        "accuracy_without_review": (int(right[rest].sum()), int(rest.sum())),
    }
    return {
        "count": len(targets),
        "positives": int(targets.sum()),
        "threshold": threshold,
        **{name: count / of if of else None for name, (count, of) in shares.items()},
        "intervals": {
            name: bounds.interval(count, of) if of else None for name, (count, of) in shares.items()
        },
        "balanced_accuracy": float(sklearn.metrics.balanced_accuracy_score(targets, decisions))
        if both
        else None,
        "f1": 2 * found / (2 * found + false_alarms + missed) if missed + found else None,
        "roc_auc": roc_auc(targets, probabilities),
        "roc_auc_interval": chance.roc_auc_interval(probabilities, targets == 1),
        "pr_auc": float(sklearn.metrics.average_precision_score(targets, probabilities))
        if both
        else None,
        "log_loss": log_loss(targets, probabilities),
        "calibration_error": calibration.error(targets, probabilities),
        "calibration_error_by_chance": {"mean": null.mean, "upper": null.upper},
        "confusion_matrix": confusion.tolist(),
    }
