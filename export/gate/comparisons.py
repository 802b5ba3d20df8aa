"""The checks of the gate that compare: is the candidate worse than the stable version, in pairs?"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from export.gate import corruptions
from export.gate.figures import CANDIDATE, STABLE, Beside, balanced
from export.gate.verdict import FAILS, HOLDS, UNKNOWN, Check, Limits, not_reached, skipped
from training.comparing import paired
from training.comparing.paired import LEAST_OF_A_CLASS
from training.decision.decision import INSIDE


def not_worse(beside: Beside, limits: Limits) -> list[Check]:
    """Whether balanced accuracy, and area or likelihood, are not worse, on images in pairs."""
    second = "not_worse.log_likelihood" if beside.many else "not_worse.roc_auc"
    names = ("not_worse.balanced_accuracy", second)
    if STABLE not in beside.held_out:
        return [skipped(name) for name in names]
    rows = beside.usable
    truth = beside.truth[rows]
    if not _enough(truth, beside):
        return [_too_few_numbers(name, beside) for name in names]
    candidate, stable = beside.held_out[CANDIDATE], beside.held_out[STABLE]
    right = candidate.right[rows], stable.right[rows]
    decisions = {
        "only_candidate_right": int(np.sum(right[0] & ~right[1])),
        "only_stable_right": int(np.sum(right[1] & ~right[0])),
        "mcnemar_p": paired.mcnemar_p(*right),
    }
    accuracy = paired.balanced_accuracy(*right, truth)
    left_out = {"left_out": int(np.sum(~rows))}
    more = "--data with"
    first = _compared(names[0], accuracy, limits.margin, more, **left_out, **decisions)
    if beside.many:
        likelihoods = (
            np.log(np.clip(one.likelihoods[rows], INSIDE, 1)) for one in (candidate, stable)
        )
        found = paired.log_likelihood(*likelihoods)
        flag = "--log-loss-margin"
        return [
            first,
            _compared(names[1], found, limits.log_loss_margin, more, flag=flag, **left_out),
        ]
    scores = candidate.scores[rows], stable.scores[rows]
    area = paired.roc_auc(*scores, truth == 1)
    compared = [first, _compared(names[1], area, limits.margin, more, **left_out)]
    if compared[0].state == UNKNOWN and compared[1].state == HOLDS:
        cures = _other_threshold(scores[0], truth == 1, accuracy, limits.margin)
        compared[0] = dataclasses.replace(compared[0], cures=(*compared[0].cures, *cures))
    return compared


def _other_threshold(
    scores: np.ndarray, positive: np.ndarray, found: paired.Comparison, margin: float
) -> tuple[str, ...]:
    """The candidate ranks as well as the stable version: would it also decide as well?"""
    places = np.unique(scores)
    below_positives, below_negatives = (
        np.searchsorted(np.sort(scores[rows]), places) / rows.sum()
        for rows in (positive, ~positive)
    )
    reached = (1 - below_positives + below_negatives) / 2
    best = int(reached.argmax())
    reach = found.difference - found.lower
    if reached[best] - found.stable - reach < -margin or not 0 < places[best] < 1:
        return ()
    return (
        f"another threshold: it ranks the images as well, and at {places[best]:.2g} its balanced "
        f"accuracy on these is {reached[best]:.4f}; have one chosen by the validation images, "
        "make decide TARGET=balanced, and export again",
    )


def robust(beside: Beside, limits: Limits) -> Check:
    """Whether the candidate stands corruptions as well as the stable version does."""
    rows = beside.corrupted_usable
    truth = beside.truth[beside.corrupted_rows][rows]
    classes = len(beside.class_names)
    if not _enough(truth, beside):
        return _too_few_numbers("robust", beside)
    right = {
        who: np.array([one.right[rows] for one in kinds.values()])
        for who, kinds in beside.corrupted.items()
    }
    table = [
        {"corruption": kind}
        | {who: balanced(found[row], truth, classes) for who, found in right.items()}
        for row, kind in enumerate(corruptions.KINDS)
    ]
    clean = {
        who: balanced(one.right[beside.corrupted_rows][rows], truth, classes)
        for who, one in beside.held_out.items()
    }
    mean = {who: balanced(found.mean(axis=0), truth, classes) for who, found in right.items()}
    figures = {
        "corruptions": table,
        "clean": clean,
        "mean": mean,
        "drop": {who: clean[who] - mean[who] for who in mean},
    }
    if STABLE not in right:
        return skipped("robust", **figures)
    compared = paired.balanced_accuracy(
        right[CANDIDATE].mean(axis=0), right[STABLE].mean(axis=0), truth
    )
    return _compared("robust", compared, limits.margin, "--corrupted-images, and", **figures)


def _too_few_numbers(name: str, beside: Beside) -> Check:
    """The candidate's own missing numbers are what `finite` fails; the other version's are not."""
    own = [beside.held_out[CANDIDATE], *beside.corrupted[CANDIDATE].values()]
    if any(one.strange.any() for one in own):
        return not_reached(name, "too few images have a number, as `finite` says")
    return Check(
        name=name,
        state=UNKNOWN,
        expected=f"{LEAST_OF_A_CLASS} images of each class with a number from both versions",
        received="fewer: the other version gives none, so it is nothing to compare with",
        detail={"note": ""},
        cures=("--against another version",),
    )


def _enough(truth: np.ndarray, beside: Beside) -> bool:
    counts = np.bincount(truth, minlength=len(beside.class_names))
    return bool(counts.min() >= LEAST_OF_A_CLASS)


def _compared(
    name: str,
    found: paired.Comparison,
    margin: float,
    more: str,
    flag: str = "--margin",
    **figures: Any,
) -> Check:
    """Holds a comparison against its margin.

    Args:
        name: of the check.
        found: the comparison.
        margin: how much worse the candidate may be.
        more: the flag that brings more images.
        flag: the flag of the margin.
        **figures: go into the details.
    """
    outcome = found.outcome(margin)
    state = {paired.NOT_WORSE: HOLDS, paired.WORSE: FAILS}.get(outcome, UNKNOWN)
    needed = found.images_needed(margin) if state == UNKNOWN else None
    return Check(
        name=name,
        state=state,
        expected=f"difference above -{margin:g} with {paired.CONFIDENCE:.0%} confidence",
        received=f"{outcome}: {found.candidate:.4f} against {found.stable:.4f}, difference "
        f"{found.difference:+.4f}, bounds {found.lower:+.4f} and {found.upper:+.4f}",
        detail={
            **dataclasses.asdict(found),
            "outcome": outcome,
            "confidence": paired.CONFIDENCE,
            "margin": margin,
            "images_needed": needed,
            "note": "",
            **figures,
        },
        cures=_cures(found, margin, needed, more, flag) if state == UNKNOWN else (),
    )


def _cures(
    found: paired.Comparison, margin: float, needed: int | None, more: str, flag: str
) -> tuple[str, ...]:
    """What would tell whether the candidate is worse by more than the margin."""
    cures = []
    if needed is None:
        cures.append("the difference is the margin itself: no number of images would tell")
    else:
        worse = ", and rather that it is worse" if found.difference < -margin else ""
        cures.append(
            f"more images: {more} about {needed:,} like these {found.images:,} would tell{worse}, "
            "if the difference stays as it is"
        )
    wide = math.ceil(-1000 * found.lower) / 1000
    if wide < 1:
        cures.append(f"another margin: {flag} {wide:g} would hold, if so much worse is no harm")
    return tuple(cures)
