"""What each threshold would cost: what the report's slider shows.

Validation is what one chooses by; test says what the choice costs on images that nobody chose by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import run

MOST = 400
"""Thresholds offered; where images have more probabilities, evenly spaced ones of them."""


def prices(
    rows: Sequence[run.Prediction], positive: str, threshold: float
) -> dict[str, Any] | None:
    """Counts right and wrong answers at every threshold that would change one.

    Args:
        rows: held-out images of a run of two classes.
        positive: the class that is answered from the threshold on.
        threshold: the present one.

    Returns:
        JSON-ready: `thresholds` T numbers as one types them, rising; `present`, the place of the
        one that answers as the present one does; and for each split `positives`, `negatives`, and T
        counts each of `found` (positives that are called positive) and `false_alarms` (negatives
        that are). None without images.
    """
    if not rows:
        return None
    # from 1 on, hardly anything is called positive
    said = np.unique(np.array([*(row.probability for row in rows), 1], np.float32))
    present = min(int(np.searchsorted(said, np.float32(threshold))), said.size - 1)
    places = np.linspace(0, said.size - 1, min(MOST, said.size)).round().astype(int)
    places = np.unique([*places, present])
    typed = {place: _typed(said, place) for place in places}
    if round(threshold, 4) == threshold <= 1:
        typed[present] = f"{threshold:g}"  # as it was asked for, not another that does the same
    found: dict[str, Any] = {
        "thresholds": list(typed.values()),
        "present": int(np.searchsorted(places, present)),
    }
    for split in run.HELD_OUT:
        own = [row for row in rows if row.split == split]
        scores = np.array([row.probability for row in own], np.float32)
        positives = np.array([row.label == positive for row in own], bool)
        found[split] = {
            "positives": int(positives.sum()),
            "negatives": int((~positives).sum()),
            "found": _at_least(scores[positives], said[places]),
            "false_alarms": _at_least(scores[~positives], said[places]),
        }
    return found


def _at_least(scores: NDArray[np.float32], thresholds: NDArray[np.float32]) -> list[int]:
    """How many scores each threshold lets through."""
    below = np.searchsorted(np.sort(scores), thresholds)
    return (scores.size - below).tolist()


def _typed(said: NDArray[np.float32], place: int) -> str:
    """The shortest decimal that answers as a probability does when it is the threshold."""
    least = said[place - 1] if place else np.float32(-1)
    for digits in range(1, 10):
        step = 10**digits
        shown = np.floor(float(said[place]) * step) / step
        if least < np.float32(shown) <= said[place]:
            return f"{shown:.{digits}f}"
    return str(said[place])
