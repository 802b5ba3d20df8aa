"""Compares the versions' answers with the labels: right or wrong, scores, disagreements.

Limits and verdicts are in export.gate.checks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import sklearn.metrics

from export.gate import corruptions
from export.gate.child import Answers, Evidence
from export.gate.evidence import CORRUPTED, HELD_OUT
from export.gate.images import Image, Version, is_positive
from training import chance

CANDIDATE, STABLE = "candidate", "stable"

_LOWEST, _HIGHEST = -1.0, 2.0
"""Scores below and above every probability."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """One version's answers on N images beside the truth."""

    answers: Answers
    said_positive: np.ndarray
    """bool [N]"""
    right: np.ndarray
    """bool [N]; an image that the version cannot judge counts as wrong"""
    scores: np.ndarray
    """float [N]: the probability; where there is none, the worst score for the image's class"""
    strange: np.ndarray
    """bool [N]: said to be valid, and yet without a number. The check `finite` counts these, and
    comparisons leave them out, so that one fault does not look like two."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside:
    """The versions on the same N images; `who` is "candidate" or "stable"."""

    positive: np.ndarray
    """bool [N]: the truth"""
    held_out: dict[str, Judged]
    corrupted: dict[str, dict[str, Judged]]
    """who -> kind of corruption -> on `corrupted_rows`"""
    corrupted_rows: np.ndarray
    """int [M]: which of the N images were corrupted"""
    usable: np.ndarray
    """bool [N]: no version is strange about the image as it is"""
    corrupted_usable: np.ndarray
    """bool [M]: nor about any corruption of it"""


def set_beside(
    evidence: Evidence,
    asked: dict[str, Version],
    images: Sequence[Image],
    corrupted: Sequence[int],
) -> Beside:
    """Sets the evidence beside the truth.

    Args:
        evidence: complete.
        asked: "candidate", and "stable" if there is one.
        images: the held-out ones, in the order in which they were asked.
        corrupted: indices of those that were corrupted.
    """
    positive = np.array([image.positive for image in images])
    rows = np.array(corrupted, int)
    reference = list(asked.values())[-1].class_names

    def judged(who: str, pictures: str, truth: np.ndarray) -> Judged:
        return _judged(evidence.answers(who, pictures), truth, asked[who].class_names, reference)

    held_out = {who: judged(who, HELD_OUT, positive) for who in asked}
    by_kind = {
        who: {
            kind: judged(who, f"{CORRUPTED}.{kind}", positive[rows]) for kind in corruptions.KINDS
        }
        for who in asked
    }
    usable = ~np.any([one.strange for one in held_out.values()], axis=0)
    strange = [one.strange for kinds in by_kind.values() for one in kinds.values()]
    return Beside(
        positive=positive,
        held_out=held_out,
        corrupted=by_kind,
        corrupted_rows=rows,
        usable=usable,
        corrupted_usable=usable[rows] & ~np.any(strange, axis=0),
    )


def _judged(
    answers: Answers, positive: np.ndarray, own: tuple[str, str], reference: tuple[str, str]
) -> Judged:
    said = np.array([is_positive(label, own, reference) for label in answers.label], bool)
    decided = answers.valid & np.isin(answers.label, own)
    numbers = np.isfinite(answers.probability)
    worst = np.where(positive, _LOWEST, _HIGHEST)
    return Judged(
        answers=answers,
        said_positive=said & decided,
        right=decided & (said == positive),
        scores=np.where(answers.valid & numbers, answers.probability, worst),
        strange=answers.valid & ~numbers,
    )


def balanced(right: np.ndarray, positive: np.ndarray) -> float | None:
    """Mean of the two classes' accuracies; None where a class is missing.

    Args:
        right: bool or float [N].
        positive: bool [N].
    """
    if positive.all() or not positive.any():
        return None
    return float((right[positive].mean() + right[~positive].mean()) / 2)


def metrics(one: Judged, positive: np.ndarray, usable: np.ndarray) -> dict[str, Any] | None:
    """A version's figures on the usable images; decisions are the version's own labels.

    Returns:
        JSON-ready, named as in a run's metrics.json; None where a class is missing.
        confusion_matrix is [[true negatives, false positives], [false negatives, true positives]],
        where an image that the version cannot judge stands with the wrong ones.
    """
    truth = positive[usable]
    if truth.all() or not truth.any():
        return None
    said = np.where(one.right[usable], truth, ~truth)
    scores = one.scores[usable]
    inside = np.clip(scores, 1e-7, 1 - 1e-7)
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
        truth, said, average="binary", zero_division=0.0
    )
    return {
        "count": len(truth),
        "positives": int(truth.sum()),
        "not_valid": int(np.sum(~one.answers.valid[usable])),
        "accuracy": float(np.mean(said == truth)),
        "balanced_accuracy": balanced(said == truth, truth),
        "roc_auc": float(sklearn.metrics.roc_auc_score(truth, scores)),
        "roc_auc_interval": chance.roc_auc_interval(scores, truth),
        "pr_auc": float(sklearn.metrics.average_precision_score(truth, scores)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "log_loss": float(-np.mean(np.where(truth, np.log(inside), np.log1p(-inside)))),
        "review_share": float(np.mean(one.answers.needs_review[usable])),
        "confusion_matrix": sklearn.metrics.confusion_matrix(
            truth, said, labels=[False, True]
        ).tolist(),
    }


def disagreements(beside: Beside, images: Sequence[Image]) -> list[dict[str, Any]]:
    """Every image that the two versions label differently, the most different first; JSON-ready."""
    if STABLE not in beside.held_out:
        return []
    candidate, stable = (beside.held_out[who].answers for who in (CANDIDATE, STABLE))
    apart = np.nan_to_num(np.abs(candidate.probability - stable.probability), nan=2.0)
    different = np.flatnonzero(candidate.label != stable.label)
    return [
        {
            "path": image.path,
            "source": image.source,
            "pixels_sha256": image.pixels_sha256,
            "truth": image.label,
        }
        | {
            who: {
                "label": str(beside.held_out[who].answers.label[index]),
                "probability": float(beside.held_out[who].answers.probability[index]),
                "right": bool(beside.held_out[who].right[index]),
            }
            for who in (CANDIDATE, STABLE)
        }
        for index in sorted(different, key=lambda index: -apart[index])
        for image in [images[index]]
    ]
