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
from export.gate.images import HeldOut, Image, Version, place_of
from training.decision import chance, decision
from training.decision.metrics_of_many import metrics_of_many

CANDIDATE, STABLE = "candidate", "stable"

_LOWEST, _HIGHEST = -1.0, 2.0
"""Scores below and above every probability."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """One version's answers on N images beside the truth."""

    answers: Answers
    right: np.ndarray
    """bool [N]; an image that the version cannot judge counts as wrong"""
    said: np.ndarray
    """int [N]: the place of the class that was answered; -1 where it was none"""
    likelihoods: np.ndarray
    """float [N], 0-1: the probability of the right class; 0 where the version cannot judge"""
    scores: np.ndarray
    """float [N], of two classes: the probability of the positive one; where there is none, the
    worst score for the image's class"""
    strange: np.ndarray
    """bool [N]: said to be valid, and yet without a number. The check `finite` counts these, and
    comparisons leave them out, so that one fault does not look like two."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside:
    """The versions on the same N images; `who` is "candidate" or "stable"."""

    truth: np.ndarray
    """int [N]: the place of each image's class"""
    class_names: tuple[str, ...]
    """K of them; of two, negative, positive"""
    held_out: dict[str, Judged]
    corrupted: dict[str, dict[str, Judged]]
    """who -> kind of corruption -> on `corrupted_rows`"""
    corrupted_rows: np.ndarray
    """int [M]: which of the N images were corrupted"""
    usable: np.ndarray
    """bool [N]: no version is strange about the image as it is"""
    corrupted_usable: np.ndarray
    """bool [M]: nor about any corruption of it"""

    @property
    def many(self) -> bool:
        """Whether there are more than two classes."""
        return len(self.class_names) > 2


def set_beside(
    evidence: Evidence,
    asked: dict[str, Version],
    held_out: HeldOut,
    corrupted: Sequence[int],
) -> Beside:
    """Sets the evidence beside the truth.

    Args:
        evidence: complete.
        asked: "candidate", and "stable" if there is one whose classes are comparable.
        held_out: the images in the order in which they were asked, and their classes.
        corrupted: indices of those that were corrupted.
    """
    truth = np.array([image.place for image in held_out.images])
    rows = np.array(corrupted, int)

    def judged(who: str, pictures: str, truth: np.ndarray) -> Judged:
        own = asked[who].class_names
        return _judged(evidence.answers(who, pictures), truth, own, held_out.class_names)

    as_they_are = {who: judged(who, HELD_OUT, truth) for who in asked}
    by_kind = {
        who: {kind: judged(who, f"{CORRUPTED}.{kind}", truth[rows]) for kind in corruptions.KINDS}
        for who in asked
    }
    usable = ~np.any([one.strange for one in as_they_are.values()], axis=0)
    strange = [one.strange for kinds in by_kind.values() for one in kinds.values()]
    return Beside(
        truth=truth,
        class_names=held_out.class_names,
        held_out=as_they_are,
        corrupted=by_kind,
        corrupted_rows=rows,
        usable=usable,
        corrupted_usable=usable[rows] & ~np.any(strange, axis=0),
    )


def _judged(
    answers: Answers, truth: np.ndarray, own: tuple[str, ...], reference: tuple[str, ...]
) -> Judged:
    places = {label: place_of(label, own, reference) for label in own}
    said = np.array([places.get(label, -1) for label in answers.label.tolist()], int)
    said = np.where(answers.valid, said, -1)
    numbers = np.isfinite(answers.probability)
    judged = answers.valid & numbers
    of_classes = _of_classes(answers)
    columns = np.argsort([places[label] for label in own])  # own order -> the reference's
    likelihoods = np.take_along_axis(of_classes[:, columns], truth[:, np.newaxis], axis=1)[:, 0]
    return Judged(
        answers=answers,
        right=said == truth,
        said=said,
        likelihoods=np.where(judged, likelihoods, 0.0),
        scores=np.where(judged, answers.probability, np.where(truth == 1, _LOWEST, _HIGHEST)),
        strange=answers.valid & ~numbers,
    )


def _of_classes(answers: Answers) -> np.ndarray:
    """The probability of each class: float [N, K], in the version's order."""
    if answers.scores.ndim == 2:
        return answers.scores
    # of two classes, by a version from before there could be more
    return np.stack([1 - answers.probability, answers.probability], axis=1)


def balanced(right: np.ndarray, truth: np.ndarray, classes: int) -> float | None:
    """Mean of the classes' accuracies; None where a class is missing.

    Args:
        right: bool or float [N].
        truth: int [N].
        classes: how many there are.
    """
    present = np.unique(truth)
    if len(present) < classes:
        return None
    return float(np.mean([right[truth == one].mean() for one in present]))


def metrics(one: Judged, beside: Beside) -> dict[str, Any] | None:
    """A version's figures on the usable images; decisions are the version's own labels.

    Returns:
        JSON-ready, named as in a run's metrics.json; None where a class is missing. An image that
        the version cannot judge stands with the wrong ones: in confusion_matrix as well.
    """
    if len(np.unique(beside.truth[beside.usable])) < len(beside.class_names):
        return None
    return _metrics_of_many(one, beside) if beside.many else _metrics_of_two(one, beside)


def _metrics_of_many(one: Judged, beside: Beside) -> dict[str, Any]:
    rows = beside.usable
    truth, said = beside.truth[rows], one.said[rows]
    count = len(beside.class_names)
    scores = one.answers.scores[rows]
    unjudged = said < 0
    # Sure of a wrong class.
    said = np.where(unjudged, (truth + 1) % count, said)
    scores = np.where(unjudged[:, np.newaxis], np.eye(count)[said], scores)
    answers = decision.Answers(
        scores=scores, decided=said, review=one.answers.needs_review[rows].astype(bool)
    )
    found = metrics_of_many(truth, answers, beside.class_names)
    return {**found, "not_valid": int(np.sum(~one.answers.valid[rows]))}


def _metrics_of_two(one: Judged, beside: Beside) -> dict[str, Any]:
    usable = beside.usable
    truth = beside.truth[usable] == 1
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
        "balanced_accuracy": balanced(said == truth, truth, 2),
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
    if beside.many:
        distance = np.abs(_of_classes(candidate) - _of_classes(stable)).max(axis=1)
    else:
        distance = np.abs(candidate.probability - stable.probability)
    apart = np.nan_to_num(distance, nan=2.0)
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
