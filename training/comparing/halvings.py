"""How often a decision keeps its word: chosen on one half of the images, looked at on the other.

    kept(runs, "recall>=0.95")   -> Kept(halvings=200, held=157, …)

A run's test images are halved at random, again and again: neither half was trained on, and none of
them chose an epoch. One half stands for validation, the other for the images to come.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foundation.command_line import InputError
from training import run
from training.decision import calibration, choice, target
from training.decision.decision import Answers
from training.decision.target import Accuracy, Share

HALVINGS: Final = 200

USUAL: Final = "recall>=0.95"
"""Asked of two classes where nobody asks for another share."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """What became of decisions on images that did not choose them."""

    target: str
    confidence: float
    halvings: int
    """in which the one half could show what was asked for"""
    not_shown: int
    """further ones, in which it had too few images for that, or the other half none to judge by"""
    held: int
    """of the halvings: the other half reached the share that was asked for"""
    review_rate: float
    """share for review that was asked for, 0-1"""
    review_distance: float | None
    """mean distance of the share that went there, 0-1; None where another target says it"""
    calibrated: int
    """of the halvings: the other half's calibration error lay below what 19 in 20 perfectly
    calibrated models have by chance"""


def share_of(asked: str | None, classes: int) -> str | None:
    """The share that can hold or not: the one that is asked for, or else the usual one.

    Args:
        asked: a target of any kind, if any.
        classes: how many there are.

    Returns:
        None where there are more than two classes, and no accuracy is asked for.

    Raises:
        InputError: no such target.
    """
    if classes > 2:
        of_many = isinstance(target.parse_of_many(asked or target.LIKELIEST), Accuracy)
        return asked if of_many else None
    return asked if asked and isinstance(target.parse(asked), Share) else USUAL


def kept(
    runs: Sequence[run.Run],
    asked: str,
    *,
    confidence: float = choice.DEFAULT_CONFIDENCE,
    review_rate: float = choice.DEFAULT_REVIEW,
    halvings: int = HALVINGS,
) -> Kept:
    """Halves the test images of each run in turn.

    Args:
        runs: of the same classes, at least one.
        asked: a share, such as recall>=0.95, or of more than two classes accuracy>=0.98.
        confidence: 0.5-1.
        review_rate: 0-1.
        halvings: how many, over all runs.

    Raises:
        InputError: it is no share, or no half could show it.
    """
    two = len(runs[0].class_names) == 2
    wanted = target.parse(asked) if two else target.parse_of_many(asked)
    if not isinstance(wanted, (Share, Accuracy)):
        raise InputError(f"Expected a share such as {USUAL}. Received: {asked}.")
    random = np.random.default_rng(0)
    tests = [[row for row in made.predictions() if row.split == "test"] for made in runs]
    images = [(made.targets(rows), run.model_scores(rows)) for made, rows in zip(runs, tests)]
    held, distances, calibrated, not_shown, why = [], [], [], 0, ""
    for number in range(halvings):
        targets, said = images[number % len(images)]
        order = random.permutation(len(targets))
        chosen_by, others = np.array_split(order, 2)
        try:
            decision = choice.by_text(
                targets[chosen_by],
                said[chosen_by],
                asked,
                confidence=confidence,
                review_rate=review_rate,
            )
        except InputError as error:
            not_shown, why = not_shown + 1, str(error)
            continue
        answers = decision.answers(said[others])
        holds = _holds(wanted, targets[others], answers)
        if holds is None:
            not_shown, why = not_shown + 1, f"no image of a half tells {asked}"
            continue
        held.append(holds)
        distances.append(abs(float(answers.review.mean()) - review_rate))
        calibrated.append(_is_calibrated(targets[others], answers))
    if not held:
        raise InputError(why)
    return Kept(
        target=asked,
        confidence=confidence,
        halvings=len(held),
        not_shown=not_shown,
        held=sum(held),
        review_rate=review_rate,
        review_distance=float(np.mean(distances)) if two else None,
        calibrated=sum(calibrated),
    )


def _holds(wanted: Share | Accuracy, targets: NDArray[np.int_], answers: Answers) -> bool | None:
    """Whether these images reach the share; None where there is nothing to be a share of."""
    if isinstance(wanted, Accuracy):
        count, of = answers.decided == targets, ~answers.review
    else:
        said, true = answers.positive, targets == 1
        count, of = {
            target.RECALL: (said, true),
            target.PRECISION: (true, said),
            target.FPR: (said, ~true),
        }[wanted.figure]
    if not of.any():
        return None
    share = count[of].mean()
    at_most = isinstance(wanted, Share) and wanted.figure == target.FPR
    return bool(share <= wanted.bound if at_most else share >= wanted.bound)


def _is_calibrated(targets: NDArray[np.int_], answers: Answers) -> bool:
    true, said = calibration.judged(targets, answers)
    return bool(calibration.error(true, said) < calibration.null_error(said).upper)
