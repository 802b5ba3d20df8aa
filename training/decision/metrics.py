"""How good a decision is, on images of which the right answer is known.

Definitions are scikit-learn's; positive is class 1. Needs no TensorFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray

from training.decision import bounds, calibration, chance, intervals
from training.decision.decision import INSIDE, Answers


def log_loss(targets: NDArray[np.int_], scores: NDArray[np.float32]) -> float:
    """Mean cross-entropy, in nats; probabilities are kept 1e-7 away from 0 and 1.

    Args:
        targets: int [N], 0 to K-1.
        scores: float32 [N, K].
    """
    return float(np.mean(log_losses(targets, scores)))


def log_losses(targets: NDArray[np.int_], scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each image's cross-entropy: float64 [N]; arguments as of `log_loss`."""
    wide = np.asarray(scores, np.float64)
    if wide.shape[1] == 2:
        # The other class's is what this one leaves; as a float32 it would have lost digits.
        positive = np.clip(wide[:, 1], INSIDE, 1 - INSIDE)
        return -np.where(targets == 1, np.log(positive), np.log1p(-positive))
    own = wide[np.arange(len(targets)), targets]
    return -np.log(np.clip(own, INSIDE, 1 - INSIDE))


def roc_auc(targets: NDArray[np.int_], scores: NDArray[np.float32]) -> float | None:
    """Area under the ROC curve; of more than two classes the mean of each against the rest.

    Args:
        targets: int [N], 0 to K-1.
        scores: float32 [N, K].

    Returns:
        None where a class is missing, or is the only one.
    """
    present = np.unique(targets)
    if len(present) < scores.shape[1]:
        return None
    places = [1] if len(present) == 2 else present
    areas = [sklearn.metrics.roc_auc_score(targets == place, scores[:, place]) for place in places]
    return float(np.mean(areas))


def most_frequent_share(targets: NDArray[np.int_]) -> float:
    """The accuracy of always answering the class that is most frequent here: int [N] -> 0-1."""
    return float(np.bincount(targets).max() / len(targets))


def metrics(targets: NDArray[np.int_], answers: Answers) -> dict[str, Any]:
    """All figures of one split of two classes; of more see metrics_of_many.py.

    Args:
        targets: int [N], 0 or 1; at least one.
        answers: to the N images.

    Returns:
        JSON-ready; None where what a figure is a share of is not there, and the areas where only
        one class is. Intervals hold with 95 % confidence; roc_auc_interval stands apart, as it did
        before the others came. confusion_matrix is
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
    losses = log_losses(targets, answers.scores)
    pr_auc = (
        float(sklearn.metrics.average_precision_score(targets, probabilities)) if both else None
    )
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
        **{name: count / of if of else None for name, (count, of) in shares.items()},
        "intervals": {
            **bounds.intervals(shares),
            **intervals.of_confusion(confusion),
            "pr_auc": None
            if pr_auc is None
            else intervals.of_precision_recall(pr_auc, int(targets.sum())),
            "log_loss": intervals.of_log_losses(losses),
        },
        "most_frequent_share": most_frequent_share(targets),
        "balanced_accuracy": float(sklearn.metrics.balanced_accuracy_score(targets, decisions))
        if both
        else None,
        "f1": 2 * found / (2 * found + false_alarms + missed) if missed + found else None,
        "roc_auc": roc_auc(targets, answers.scores),
        "roc_auc_interval": chance.roc_auc_interval(probabilities, targets == 1),
        "pr_auc": pr_auc,
        "log_loss": float(np.mean(losses)),
        "calibration_error": calibration.error(targets, probabilities),
        "calibration_error_by_chance": {"mean": null.mean, "upper": null.upper},
        "confusion_matrix": confusion.tolist(),
    }
