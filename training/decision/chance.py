"""Is a classifier better than guessing, as far as its held-out images tell?

    doubts(metrics["test"])   -> ["ROC-AUC 0.531 on 80 images, with 95% confidence …"]

Needs no TensorFlow: training, export and the gate ask it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.special
import scipy.stats

CONFIDENCE = 0.95
"""Of the interval, two-sided."""


def placements(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components, in n log n by ranks (ties count one half).

    By ranks: Sun and Xu, "Fast Implementation of DeLong's Algorithm for Comparing the Areas Under
    Correlated Receiver Operating Characteristic Curves", IEEE Signal Processing Letters 21 (2014).

    Args:
        scores: float [N].
        positive: bool [N].

    Returns:
        for each positive the share of negatives that score lower, and for each negative the share
        of positives that score higher. The mean of either is the area under the curve.
    """
    scores = np.asarray(scores, float)
    ranks = scipy.stats.rankdata(scores)
    of_positives = ranks[positive] - scipy.stats.rankdata(scores[positive])
    of_negatives = ranks[~positive] - scipy.stats.rankdata(scores[~positive])
    return of_positives / (~positive).sum(), 1 - of_negatives / positive.sum()


def roc_auc_interval(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float] | None:
    """The interval of the area under the ROC curve.

    DeLong's variance (Biometrics 44, 1988) on the logit scale, which stays within 0-1. An area of 0
    or 1 has no variance: there the smaller class's images all fell on one side, and the bound is
    that of so many trials without a failure (Clopper and Pearson, Biometrika 26, 1934).

    Args:
        scores: float [N], any scale, no NaN.
        positive: bool [N].

    Returns:
        lower and upper bound, 0-1; None where a class is missing. (0, 1) where a class has a single
        image, which says nothing about others.
    """
    positive = np.asarray(positive, bool)
    least = int(min(positive.sum(), (~positive).sum()))
    if least == 0:
        return None
    if least == 1:
        return 0.0, 1.0
    of_positives, of_negatives = placements(scores, positive)
    area = float(of_positives.mean())
    if area in (0.0, 1.0):
        reach = ((1 - CONFIDENCE) / 2) ** (1 / least)
        return (reach, 1.0) if area else (0.0, 1 - reach)
    variance = sum(np.var(part, ddof=1) / len(part) for part in (of_positives, of_negatives))
    return on_logit_scale(area, math.sqrt(variance))


def reach(deviation: float) -> float:
    """How far to either side the interval of a normally distributed figure goes."""
    return float(scipy.special.ndtri((1 + CONFIDENCE) / 2)) * deviation


def on_logit_scale(share: float, deviation: float) -> tuple[float, float]:
    """The interval of a figure that stays within 0-1.

    Args:
        share: the figure, above 0 and below 1.
        deviation: its standard deviation.
    """
    logit, to_side = scipy.special.logit(share), reach(deviation) / (share * (1 - share))
    return float(scipy.special.expit(logit - to_side)), float(scipy.special.expit(logit + to_side))


def doubts(metrics: Mapping[str, Any]) -> list[str]:
    """Why a classifier is not shown to be better than guessing.

    Args:
        metrics: of one split, as in metrics.json. Figures that are missing there raise no doubt.

    Returns:
        one sentence's part a reason, for people; empty where it is shown to be better.
    """
    found = []
    if "classes" in metrics:
        return _doubts_of_many(metrics)
    interval, accuracy = metrics.get("roc_auc_interval"), metrics.get("balanced_accuracy")
    if interval is not None and interval[0] <= 0.5:
        found.append(
            f"ROC-AUC {metrics['roc_auc']:.3f} on {metrics['count']} images, with "
            f"{CONFIDENCE:.0%} confidence {interval[0]:.3f} to {interval[1]:.3f}; guessing has 0.5"
        )
    if accuracy is not None and accuracy <= 0.5:
        one_answer = not all(map(any, zip(*metrics["confusion_matrix"])))
        why = "with the same answer to every image" if one_answer else "and guessing has 0.5"
        found.append(f"balanced accuracy {accuracy:.3f}, {why}")
    return found


def _doubts_of_many(metrics: Mapping[str, Any]) -> list[str]:
    """As doubts(), of more than two classes: guessing is always to answer the most frequent one."""
    found = []
    lower, upper = metrics["intervals"]["accuracy"]
    most = metrics["most_frequent_share"]
    if lower <= most:
        found.append(
            f"accuracy {metrics['accuracy']:.3f} on {metrics['count']} images, with "
            f"{CONFIDENCE:.0%} confidence {lower:.3f} to {upper:.3f}; always answering the most "
            f"frequent class has {most:.3f}"
        )
    macro, classes = metrics["balanced_accuracy"], len(metrics["classes"])
    if macro is not None and macro <= 1 / classes:
        found.append(f"balanced accuracy {macro:.3f}, and guessing has {1 / classes:.3f}")
    return found
