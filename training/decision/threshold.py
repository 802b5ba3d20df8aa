"""Chooses the threshold on validation images so that a target holds on images to come.

The threshold that just meets its target on validation keeps it on other images about every second
time. So a bound of the share is held against the target, and not the share itself. Recall and the
false positive rate only fall as the threshold rises: if the chosen threshold is wrong, the bound
was wrong at the one right threshold, which happens as often as the confidence allows, although
all thresholds are looked at.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from foundation.command_line import InputError
from training.decision import bounds
from training.decision.target import FPR, RECALL, Balanced, Costs, Share, Target


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A threshold, and what is said of it."""

    threshold: float
    """0-1, a float32: a probability at or above it is called positive"""
    bound: float | None
    """what the share is on images to come, with the confidence asked for; None where the target is
    no share"""


def choose(
    target: Target, targets: NDArray[np.int_], probabilities: NDArray[np.float32], confidence: float
) -> Chosen:
    """Chooses a threshold.

    Args:
        target: what is asked for.
        targets: int [N], 0 or 1, of validation images.
        probabilities: float32 [N], calibrated, of the same images.
        confidence: 0.5-1, how sure a share must be; not used otherwise.

    Raises:
        InputError: no threshold reaches the target, or the images are too few to say so.
    """
    positives = targets == 1
    match target:
        case Share():
            return _of_share(target, positives, probabilities, confidence)
        case Costs():
            # a ratio: the sum of two costs may be more than a number can hold
            return _plain(1 / (1 + target.miss / target.false_alarm))
        case Balanced():
            if not 0 < positives.sum() < len(positives):
                raise InputError(
                    "Expected validation images of both classes. Received: "
                    f"{int(positives.sum())} positives of {len(positives)}. Add images."
                )
            # Each class weighs the same where a mistake costs as much as its class is rare.
            return _plain(positives.mean())
        case _:
            return _plain(target.value)


def _plain(value: float) -> Chosen:
    return Chosen(float(np.float32(value)), None)


def _of_share(
    target: Share,
    positives: NDArray[np.bool_],
    probabilities: NDArray[np.float32],
    confidence: float,
) -> Chosen:
    _check_enough(target, positives, confidence)
    cuts = _cuts(probabilities)
    found, alarms = (
        len(part) - np.searchsorted(np.sort(part), cuts)
        for part in (probabilities[positives], probabilities[~positives])
    )
    count = int(positives.sum())
    match target.figure:
        case "recall":
            bound = bounds.at_least(found, count, confidence)
        case "fpr":
            bound = bounds.at_most(alarms, len(positives) - count, confidence)
        case _:
            bound = bounds.at_least(found, found + alarms, confidence)
    holds = bound <= target.bound if target.figure == FPR else bound >= target.bound
    if not holds.any():
        raise InputError(
            f"Expected a threshold with {target} on validation at a confidence of "
            f"{confidence:.0%}. Received: {bound.max():.3f} at most, whatever the threshold. Ask "
            "for less, or train a better run."
        )
    # Of those that hold, the one that costs least: with recall the highest, which raises the fewest
    # false alarms; otherwise the lowest, which finds the most positives.
    chosen = np.flatnonzero(holds)[-1 if target.figure == RECALL else 0]
    return Chosen(float(cuts[chosen]), float(bound[chosen]))


def _cuts(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thresholds between the probabilities, rising; the first calls all images positive.

    Between them, and not at them: a server's answers differ from training's in the last digits.
    """
    values = np.unique(probabilities)
    between = values[:-1] + (values[1:] - values[:-1]) / np.float32(2)
    # Neighbours in float32 have nothing between them.
    between = np.where(between > values[:-1], between, values[1:])
    return np.concatenate([np.zeros(1, np.float32), between]).astype(np.float32)


def _check_enough(target: Share, positives: NDArray[np.bool_], confidence: float) -> None:
    of_negatives = target.figure == FPR
    share = 1 - target.bound if of_negatives else target.bound
    least = bounds.fewest_trials(share, confidence)
    have = int((~positives if of_negatives else positives).sum())
    if have < least:
        raise InputError(
            f"Expected {least} {'negatives' if of_negatives else 'positives'} or more among the "
            f"validation images, which {target} takes at a confidence of {confidence:.0%}. "
            f"Received: {have}. Train with more images or a larger --validation-share, or ask for "
            "less."
        )
