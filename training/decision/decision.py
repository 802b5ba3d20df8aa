"""How a run's probabilities become answers: calibrated, held against a threshold, sent to review.

Kept beside the run and not among its settings, so that another decision trains nothing:

    runs/<id>/decision.json
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
from training.decision import calibration, review, target, threshold
from training.decision.calibration import Calibration
from training.decision.review import Band
from training.decision.target import Share, Target

FILE: Final = "decision.json"

DEFAULT_TARGET: Final = "threshold=0.5"
DEFAULT_CONFIDENCE: Final = 0.8
DEFAULT_REVIEW: Final = 0.1
"""Share of the images that go to a person."""


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


def decide(
    targets: NDArray[np.int_],
    probabilities: NDArray[np.float32],
    asked: Target,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    review_rate: float = DEFAULT_REVIEW,
) -> Decision:
    """Chooses calibration, threshold and review band on validation images.

    Args:
        targets: int [N], 0 or 1.
        probabilities: float32 [N], 0-1, as the model gives them.
        asked: what the threshold is for.
        confidence: 0.5-1, of a share.
        review_rate: 0-1, of the images.

    Raises:
        InputError: the images cannot show what is asked for.
    """
    fitted = calibration.fit(targets, probabilities)
    calibrated = fitted.apply(probabilities)
    chosen = threshold.choose(asked, targets, calibrated, confidence)
    return Decision(
        calibration=fitted,
        threshold=chosen.threshold,
        review=review.choose(calibrated, chosen.threshold, review_rate),
        target=str(asked),
        confidence=confidence if isinstance(asked, Share) else None,
        bound=chosen.bound,
        review_rate=review_rate,
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
