"""Which answers a person should look at: those close to the threshold, by two bounds.

A margin of the same width to both sides does not do: around a threshold of 0.04, which a recall of
95 % may take, a margin of 0.1 sends half of all images to a person.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foundation.command_line import InputError
from training.decision.decision import ABOVE_1, Band


def choose(probabilities: NDArray[np.float32], threshold: float, rate: float) -> Band:
    """The band around a threshold that takes a share of the images.

    Half of them lie below the threshold and half above, as far as there are so many: whoever is
    nearest in rank is the least sure.

    Args:
        probabilities: float32 [N], calibrated, of validation images.
        threshold: 0-1.
        rate: 0-1, the share of images that go to a person.

    Raises:
        InputError: there are no images to choose it by.
    """
    if not len(probabilities):
        raise InputError(
            "Expected validation images to choose a review band by. Received: none. Train with a "
            "larger --validation-share."
        )
    values = np.sort(np.asarray(probabilities, np.float32))
    place = int(np.searchsorted(values, np.float32(threshold)))
    wanted = round(rate * len(values))
    below = min(place, max(wanted // 2, wanted - (len(values) - place)))
    return Band(
        _edge(values, place - below, threshold), _edge(values, place - below + wanted, threshold)
    )


def _edge(values: NDArray[np.float32], place: int, threshold: float) -> float:
    """A bound between the images before `place` and those from there on."""
    if 0 < place < len(values) and values[place - 1] == values[place]:
        # No bound divides equal answers: it goes to the nearer end of them.
        ends = [int(np.searchsorted(values, values[place], side)) for side in ("left", "right")]
        place = min(ends, key=lambda end: abs(end - place))
    if place <= 0:
        return 0.0
    if place >= len(values):
        return ABOVE_1
    lower, upper = values[place - 1], values[place]
    if lower < np.float32(threshold) <= upper:
        return float(np.float32(threshold))
    between = lower + (upper - lower) / np.float32(2)
    return float(between if between > lower else upper)
