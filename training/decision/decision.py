"""How a run's probabilities become answers: calibrated, held against a threshold, sent to review.

Kept beside the run and not among its settings, so that another decision trains nothing:

    runs/<id>/decision.json

Needs numpy only. How a decision is chosen stands in choice.py.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foundation import files
from foundation.command_line import InputError
from training.decision import target

FILE: Final = "decision.json"

DEFAULT_TARGET: Final = "threshold=0.5"
NONE: Final = "none"
TEMPERATURE: Final = "temperature"
PLATT: Final = "platt"

INSIDE: Final = 1e-7
"""Probabilities are kept so far from 0 and 1; a float32 tells it from both."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """calibrated = sigmoid(slope * logit(probability) + intercept)."""

    method: str = NONE
    slope: float = 1.0
    """above 0: the order of the images stays"""
    intercept: float = 0.0
    reason: str = ""
    """why it is this method, for people"""

    def apply(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N], 0-1 or NaN -> float32 [N].

        Six digits are those that the served graph computes; not every bit.
        """
        if self.method == NONE:
            return np.asarray(probabilities, np.float32)
        shifted = self.slope * logits(probabilities) + self.intercept
        return np.asarray(1 / (1 + np.exp(-shifted)), np.float32)


def logits(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """float32 [N], 0-1 or NaN -> float64 [N], between -16.2 and 16.2."""
    inside = np.clip(np.asarray(probabilities, np.float64), INSIDE, 1 - INSIDE)
    found: NDArray[np.float64] = np.log(inside) - np.log1p(-inside)
    return found


@dataclasses.dataclass(frozen=True)
class Band:
    """A probability is for review if low <= probability < high, compared in float32."""

    low: float
    high: float
    """as `low` where nothing is for review"""

    def holds(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """float32 [N] -> bool [N]."""
        probabilities = np.asarray(probabilities, np.float32)
        inside: NDArray[np.bool_] = (probabilities >= np.float32(self.low)) & (
            probabilities < np.float32(self.high)
        )
        return inside


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What N images are answered."""

    probabilities: NDArray[np.float32]
    """[N], calibrated, of the positive class"""
    positive: NDArray[np.bool_]
    """[N]"""
    review: NDArray[np.bool_]
    """[N]: a person should decide"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """Everything between the model's probability and the answer. All numbers are float32."""

    calibration: Calibration = dataclasses.field(default_factory=Calibration)
    threshold: float = 0.5
    """0-1: a calibrated probability at or above it is called positive"""
    review: Band = dataclasses.field(default_factory=lambda: Band(0.5, 0.5))
    target: str = DEFAULT_TARGET
    """what was asked for, as `target.parse` reads it"""
    confidence: float | None = None
    """0-1, that the target holds on images to come; None where it is no share"""
    bound: float | None = None
    """what the target's share is at that confidence"""
    review_rate: float | None = None
    """0-1, the share of images that were to go to a person; None where the band was given"""

    def answers(self, probabilities: NDArray[np.float32]) -> Answers:
        """float32 [N], 0-1, as the model gives them -> what is answered."""
        calibrated = self.calibration.apply(probabilities)
        return Answers(
            probabilities=calibrated,
            positive=calibrated >= np.float32(self.threshold),
            review=self.review.holds(calibrated),
        )


def of_margin(threshold_: float, margin: float) -> Decision:
    """The decision of a run from before there were decisions: one margin to both sides."""
    return Decision(
        threshold=threshold_,
        review=Band(threshold_ - margin, threshold_ + margin),
        target=str(target.Threshold(threshold_)),
    )


def write(folder: Path, decision: Decision) -> None:
    """Writes a run's decision, whole or not at all."""
    text = json.dumps(dataclasses.asdict(decision), indent=2, allow_nan=False)
    files.write(folder / FILE, text + "\n", durable=True)


def read(folder: Path) -> Decision | None:
    """A run's decision; None where none was written.

    Raises:
        InputError: the file is no decision.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _from_dict(content)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"Expected {path} as it is written by: make decide. Received: {error!r}. Decide again."
        ) from error


def _from_dict(content: dict[str, Any]) -> Decision:
    decision = Decision(
        **{
            **content,
            "calibration": Calibration(**content["calibration"]),
            "review": Band(**content["review"]),
        }
    )
    numbers = (
        decision.threshold,
        decision.review.low,
        decision.review.high,
        decision.calibration.slope,
        decision.calibration.intercept,
    )
    if not np.isfinite(np.array(numbers, np.float64)).all() or decision.calibration.slope <= 0:
        raise ValueError(f"numbers that cannot be: {numbers}")
    target.parse(decision.target)
    return decision
