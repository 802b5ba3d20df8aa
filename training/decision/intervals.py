"""Where the true figure lies, for figures that are no plain share: with 95 % confidence, two-sided.

Shares have exact bounds (bounds.py), the area under one ROC curve DeLong's (chance.py). The
calibration error has none: it grows with chance alone, and stands beside what chance makes of it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from training.decision.chance import CONFIDENCE, on_logit_scale, placements, reach

DRAWS = 2000
"""Of confusion matrices."""

LEAST_DRAWS = 200
"""Of large ones, which cost so much more: see NUMBERS."""

NUMBERS = 10**7
"""Drawn at most, unless LEAST_DRAWS need more."""

Interval = tuple[float, float]


def of_confusion(confusion: NDArray[np.int_]) -> dict[str, Interval | None]:
    """The figures that a confusion matrix holds.

    Draws the shares of each row from what its counts leave possible: a Dirichlet distribution with
    one image more, half of it right and half wrong. Of two classes that is Jeffreys' interval of
    each recall, whose coverage is near to what it says also for few images (Brown, Cai and
    DasGupta, Statistical Science 16, 2001). Resampling the images would say that a figure without
    a mistake is certain, however few images there were. Each class keeps its number of images.

    Args:
        confusion: int [K, K], a row a true class.

    Returns:
        balanced_accuracy, and of two classes f1 (of the second), of more macro_precision and
        macro_f1; None where a class has no image.
    """
    counts, classes = confusion.sum(axis=1), len(confusion)
    names = ["balanced_accuracy", *(["f1"] if classes == 2 else ["macro_precision", "macro_f1"])]
    if not counts.all():
        return dict.fromkeys(names)
    random = np.random.default_rng(0)
    draws = min(DRAWS, max(LEAST_DRAWS, NUMBERS // classes**2))
    right = np.empty((classes, draws))
    called = np.zeros((classes, draws))
    for place, row in enumerate(confusion):
        prior = np.full(classes, 0.5 / (classes - 1))
        prior[place] = 0.5
        drawn = random.dirichlet(row + prior, draws).T * counts[place]
        right[place] = drawn[place]
        called += drawn
    recall = right / counts[:, np.newaxis]
    f1 = 2 * right / (counts[:, np.newaxis] + called)
    found = {"balanced_accuracy": recall.mean(axis=0)}
    if classes == 2:
        found["f1"] = f1[1]
    else:
        found["macro_precision"] = np.mean(right / called, axis=0)
        found["macro_f1"] = f1.mean(axis=0)
    outside = (1 - CONFIDENCE) / 2
    bounds = {name: np.quantile(found[name], [outside, 1 - outside]).tolist() for name in names}
    return {name: (lower, upper) for name, (lower, upper) in bounds.items()}


def of_log_losses(losses: NDArray[np.float64]) -> Interval | None:
    """The mean of one image's losses each, in nats: by their spread, and not below 0.

    Args:
        losses: float [N].

    Returns:
        None of a single image, which has no spread.
    """
    if len(losses) < 2:
        return None
    mean = float(losses.mean())
    to_side = reach(float(np.std(losses, ddof=1)) / math.sqrt(len(losses)))
    return max(0.0, mean - to_side), mean + to_side


def of_precision_recall(area: float, positives: int) -> Interval:
    """The area under a precision-recall curve, on the logit scale.

    Boyd, Eng and Page, "Area under the Precision-Recall Curve: Point Estimates and Confidence
    Intervals", ECML PKDD 2013: the logit interval, which holds as often as it says also where
    positives are rare.

    Args:
        area: 0-1.
        positives: how many there were, at least one.
    """
    inside = 0.5 / (positives + 1)  # an area of 0 or 1 has no logit
    area = min(max(area, inside), 1 - inside)
    return on_logit_scale(area, math.sqrt(area * (1 - area) / positives))


def of_mean_area(targets: NDArray[np.int_], scores: NDArray[np.float32]) -> Interval | None:
    """The mean of the areas under the ROC curves of each class against the rest.

    By what each image adds to the mean: DeLong's components (Biometrics 44, 1988) summed over the
    curves, in all of which it takes part. On the logit scale, which stays within 0-1.

    Args:
        targets: int [N], 0 to K-1.
        scores: float32 [N, K].

    Returns:
        None where a class has fewer than two images, or no area differs from 1.
    """
    classes = scores.shape[1]
    if np.bincount(targets, minlength=classes).min() < 2:
        return None
    added = np.zeros(len(targets))
    areas = []
    for place in range(classes):
        own = targets == place
        of_own, of_others = placements(scores[:, place], own)
        areas.append(float(of_own.mean()))
        added[own] += (of_own - areas[-1]) / own.sum()
        added[~own] += (of_others - areas[-1]) / (~own).sum()
    mean, spread = float(np.mean(areas)), math.sqrt(float((added**2).sum())) / classes
    return None if mean in (0.0, 1.0) else on_logit_scale(mean, spread)
