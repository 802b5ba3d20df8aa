"""How good a decision between more than two classes is; definitions are scikit-learn's.

Macro figures are means over the classes, each of which weighs the same. Micro ones are shares of
all images: where each image has one label they all are the accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray

from training.decision import bounds, calibration, chance, intervals, metrics
from training.decision.decision import Answers


def metrics_of_many(
    targets: NDArray[np.int_], answers: Answers, class_names: Sequence[str]
) -> dict[str, Any]:
    """All figures of one split.

    Args:
        targets: int [N], 0 to K-1; at least one.
        answers: to the N images.
        class_names: K of them.

    Returns:
        JSON-ready; None where what a figure is a share of is not there, and macro figures where a
        class is missing. `classes` has each class against the rest. confusion_matrix has a row a
        true class and a column an answered one. most_frequent_share is the accuracy of always
        answering the class that is most frequent here. Intervals hold with 95 % confidence.
        calibration_error is that of the likeliest class's probability; see metrics.metrics.
    """
    places = range(len(class_names))
    confusion = sklearn.metrics.confusion_matrix(targets, answers.decided, labels=list(places))
    of_each = [
        _one_class(confusion, targets, answers, place, name)
        for place, name in zip(places, class_names)
    ]
    right = answers.decided == targets
    rest = ~answers.review
    top = answers.scores.max(axis=1)
    null = calibration.null_error(top)
    losses = metrics.log_losses(targets, answers.scores)
    shares = {
        "accuracy": (int(right.sum()), len(targets)),
        "review_share": (int(answers.review.sum()), len(targets)),
        "accuracy_without_review": (int(right[rest].sum()), int(rest.sum())),
    }
    return {
        "count": len(targets),
        **{name: count / of if of else None for name, (count, of) in shares.items()},
        "intervals": {
            **bounds.intervals(shares),
            **intervals.of_confusion(confusion),
            "roc_auc": intervals.of_mean_area(targets, answers.scores),
            "log_loss": intervals.of_log_losses(losses),
        },
        "most_frequent_share": metrics.most_frequent_share(targets),
        "balanced_accuracy": _mean([one["recall"] for one in of_each]),
        "macro_precision": _mean([one["precision"] for one in of_each]),
        "macro_f1": _mean([one["f1"] for one in of_each]),
        "roc_auc": metrics.roc_auc(targets, answers.scores),
        "log_loss": float(np.mean(losses)),
        "calibration_error": calibration.error(right.astype(int), top),
        "calibration_error_by_chance": {"mean": null.mean, "upper": null.upper},
        "classes": of_each,
        "confusion_matrix": confusion.tolist(),
    }


def _one_class(
    confusion: NDArray[np.int_],
    targets: NDArray[np.int_],
    answers: Answers,
    place: int,
    name: str,
) -> dict[str, Any]:
    """A class against the rest."""
    found = int(confusion[place, place])
    of_class, called = int(confusion[place].sum()), int(confusion[:, place].sum())
    own = targets == place
    both = 0 < of_class < len(targets)
    return {
        "name": name,
        "count": of_class,
        "recall": found / of_class if of_class else None,
        "recall_interval": bounds.interval(found, of_class) if of_class else None,
        "precision": found / called if called else None,
        "precision_interval": bounds.interval(found, called) if called else None,
        "f1": 2 * found / (of_class + called) if of_class else None,
        "roc_auc": float(sklearn.metrics.roc_auc_score(own, answers.scores[:, place]))
        if both
        else None,
        "roc_auc_interval": chance.roc_auc_interval(answers.scores[:, place], own),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
