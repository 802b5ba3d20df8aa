"""Which answers a person should look at where there are more than two classes.

By two bounds: the likeliest class's probability, and its lead over the second. Both are moved
together, so that each would send as many images to a person as the other one: there is one number
to choose, and not two that would fit the validation images too well.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from foundation.command_line import InputError
from training.decision import bounds
from training.decision.decision import ABOVE_1, top_and_lead


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Below either of them an answer is for review; float32, 0-1."""

    least_top: float
    least_lead: float
    accuracy: float | None = None
    """of the rest on images to come, at the confidence asked for; None where nothing was asked"""


def by_rate(scores: NDArray[np.float32], rate: float) -> Bounds:
    """The bounds that send a share of the images to a person, the least sure ones.

    Args:
        scores: float32 [N, K], calibrated, of validation images.
        rate: 0-1.

    Raises:
        InputError: there are no images to choose by.
    """
    if not len(scores):
        raise InputError(
            "Expected validation images to choose a review band by. Received: none. Train with a "
            "larger --validation-share."
        )
    path = _Path(scores)
    # Equal answers go together: the level that comes nearest, and of equally near ones the lowest.
    return path.bounds(int(np.argmin(np.abs(path.sizes - round(rate * len(scores))))))


def by_accuracy(
    targets: NDArray[np.int_], scores: NDArray[np.float32], wanted: float, confidence: float
) -> Bounds:
    """The bounds that send the fewest images to a person, so that the rest is right often enough.

    Args:
        targets: int [N], 0 to K-1, of validation images.
        scores: float32 [N, K], calibrated, of the same images.
        wanted: 0-1, neither: the share of the rest that is to be right.
        confidence: 0.5-1, that it is so on images to come.

    Raises:
        InputError: no bounds reach it, or the images are too few to say so.
    """
    least = bounds.fewest_trials(wanted, confidence)
    if len(targets) < least:
        raise InputError(
            f"Expected {least} validation images or more, which accuracy>={wanted:g} takes at a "
            f"confidence of {confidence:.0%}. Received: {len(targets)}. Train with more images or "
            "a larger --validation-share, or ask for less."
        )
    path = _Path(scores)
    right = scores.argmax(axis=1) == targets
    # By the level from which on an image is for review: how many are left, and right, at each.
    left = len(targets) - path.sizes
    right_left = right.sum() - path.counted(right)
    reached = bounds.at_least(right_left, left, confidence)
    holds = np.flatnonzero(reached >= wanted)
    if not len(holds):
        raise InputError(
            f"Expected bounds that leave answers with accuracy>={wanted:g} on validation at a "
            f"confidence of {confidence:.0%}. Received: {reached.max():.3f} at most, whatever the "
            "bounds. Ask for less, or train a better run."
        )
    level = int(holds[0])
    return dataclasses.replace(path.bounds(level), accuracy=float(reached[level]))


class _Path:
    """The bounds from none to all, step by step: at level n each of both has n images below it.

    Args:
        scores: float32 [N, K].
    """

    def __init__(self, scores: NDArray[np.float32]) -> None:
        both = top_and_lead(scores)
        self._sorted = [np.sort(values) for values in both]
        # No bound divides equal values: they are below it from the level of the last one on.
        self._first_level = np.minimum(
            *(np.searchsorted(values, own, "right") for values, own in zip(self._sorted, both))
        )
        self.sizes = self.counted(np.ones(len(scores), bool))
        """int [N + 1]: how many images are for review at each level"""

    def counted(self, images: NDArray[np.bool_]) -> NDArray[np.int_]:
        """bool [N] -> int [N + 1]: how many of them are for review at each level."""
        found = np.bincount(self._first_level[images], minlength=len(self._first_level) + 1)
        sums: NDArray[np.int_] = np.cumsum(found)
        return sums

    def bounds(self, level: int) -> Bounds:
        """The bounds between the images below and those from there on."""
        return Bounds(*(_between(values, level) for values in self._sorted))


def _between(values: NDArray[np.float32], place: int) -> float:
    if place <= 0:
        return 0.0
    if place >= len(values):
        return ABOVE_1
    lower, upper = values[place - 1], values[place]
    middle = lower + (upper - lower) / np.float32(2)
    return float(middle if middle > lower else upper)
