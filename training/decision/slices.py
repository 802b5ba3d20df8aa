"""The figures of parts of the images: of one cell type, one camera, one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from training.decision import bounds, metrics
from training.decision.decision import Answers

MOST_VALUES: Final = 20
"""Of a column: one with more (a serial number, a time) divides the images into nothing."""

LEVEL: Final = 0.05
"""Chance of calling any slice worse where none is, over all slices of a split together."""


def columns(rows: Sequence[Mapping[str, str]]) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Which columns divide the images.

    Args:
        rows: an image each, of all splits: column → value, empty where it has none.

    Returns:
        column → its values, of those with 2 to MOST_VALUES; column → how many, of the others.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    values = {name: sorted({row.get(name, "") for row in rows} - {""}) for name in names}
    taken = {name: found for name, found in values.items() if 2 <= len(found) <= MOST_VALUES}
    return taken, {name: len(found) for name, found in values.items() if name not in taken}


def slices(
    targets: NDArray[np.int_],
    answers: Answers,
    rows: Sequence[Mapping[str, str]],
    taken: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """The figures of each slice of a split.

    Args:
        targets: int [N], 0 to K-1.
        answers: to the N images.
        rows: of the N images, as for `columns`.
        taken: column → its values.

    Returns:
        JSON-ready, one a column and value: how many images, accuracy with its 95 % interval,
        balanced accuracy and ROC-AUC (None where a class is missing), the accuracy of all other
        images, and whether the slice is worse than these by Fisher's exact test, with Holm's
        correction for the number of slices.
    """
    right = answers.decided == targets
    found = []
    for column, values in taken.items():
        for value in values:
            inside = np.array([row.get(column) == value for row in rows], bool)
            if inside.any():
                found.append(_slice(column, value, inside, right, targets, answers))
    _mark(found)
    return found


def _slice(
    column: str,
    value: str,
    inside: NDArray[np.bool_],
    right: NDArray[np.bool_],
    targets: NDArray[np.int_],
    answers: Answers,
) -> dict[str, Any]:
    count, good = int(inside.sum()), int(right[inside].sum())
    others, good_others = int((~inside).sum()), int(right[~inside].sum())
    recalls = [
        float(np.mean(right[inside & (targets == place)]))
        for place in range(answers.scores.shape[1])
        if (inside & (targets == place)).any()
    ]
    whole = len(recalls) == answers.scores.shape[1]
    table = [[good, count - good], [good_others, others - good_others]]
    return {
        "column": column,
        "value": value,
        "count": count,
        "accuracy": good / count,
        "interval": bounds.interval(good, count),
        "balanced_accuracy": float(np.mean(recalls)) if whole else None,
        "roc_auc": metrics.roc_auc(targets[inside], answers.scores[inside]),
        "accuracy_of_others": good_others / others if others else None,
        "p": float(scipy.stats.fisher_exact(table, alternative="less").pvalue) if others else 1.0,
    }


def _mark(found: list[dict[str, Any]]) -> None:
    """Holm's step-down: the smallest p against LEVEL / count, the next one against one less."""
    worse = True
    for place, one in enumerate(sorted(found, key=lambda one: one["p"])):
        worse = worse and one["p"] <= LEVEL / (len(found) - place)
        one["worse"] = worse


def told(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The slices that are worse, a line each, for people."""
    return [
        f"{one['column']}={one['value']}: accuracy {one['accuracy']:.3f} on {one['count']} images, "
        f"{one['accuracy_of_others']:.3f} on the others"
        for one in found
        if one["worse"]
    ]
