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
LIKELIEST: Final = target.LIKELIEST
NONE: Final = "none"
TEMPERATURE: Final = "temperature"
PLATT: Final = "platt"

_IN_WORDS: Final = {TEMPERATURE: "by a temperature", PLATT: "Platt scaling"}

ABOVE_1: Final = float(np.nextafter(np.float32(1), np.float32(2)))
"""A bound that every probability is below."""

INSIDE: Final = 1e-7
"""Probabilities are kept so far from 0 and 1; a float32 tells it from both."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Of two classes: calibrated = sigmoid(slope * logit(probability) + intercept).

    Of more: calibrated = softmax(slope * log(probabilities)), without an intercept.
    """

    method: str = NONE
    slope: float = 1.0
    """above 0: the order of the images stays"""
    intercept: float = 0.0
    reason: str = ""
    """why it is this method, for people"""

    @property
    def in_words(self) -> str:
        """The method and the reason for it."""
        method = _IN_WORDS.get(self.method, self.method)
        return f"{method} ({self.reason})" if self.reason else method

    def apply(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of the positive class of two: float32 [N], 0-1 or NaN -> float32 [N].

        Six digits are those that the served graph computes; not every bit.
        """
        if self.method == NONE:
            return np.asarray(probabilities, np.float32)
        shifted = self.slope * logits(probabilities) + self.intercept
        return np.asarray(1 / (1 + np.exp(-shifted)), np.float32)

    def apply_to_all(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of each of K classes: float32 [N, K], 0-1 or NaN -> float32 [N, K]."""
        probabilities = np.asarray(probabilities, np.float32)
        if probabilities.shape[1] == 2:
            positive = self.apply(probabilities[:, 1])
            return np.stack([1 - positive, positive], axis=1)
        if self.method == NONE:
            return probabilities
        powers = np.exp(self.slope * logarithms(probabilities))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def logits(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """float32 [N], 0-1 or NaN -> float64 [N], between -16.2 and 16.2."""
    inside = np.clip(np.asarray(probabilities, np.float64), INSIDE, 1 - INSIDE)
    found: NDArray[np.float64] = np.log(inside) - np.log1p(-inside)
    return found


def logarithms(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """float32 [N, K], 0-1 or NaN -> float64 [N, K], up to 0, which is each row's largest."""
    found = np.log(np.maximum(np.asarray(probabilities, np.float64), INSIDE))
    shifted: NDArray[np.float64] = found - found.max(axis=1, keepdims=True)
    return shifted


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

    scores: NDArray[np.float32]
    """[N, K], calibrated, of each class"""
    decided: NDArray[np.int_]
    """[N], 0 to K-1: the class of the label"""
    review: NDArray[np.bool_]
    """[N]: a person should decide"""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """[N]: of two classes, that of the positive one; of more, that of the label."""
        if self.scores.shape[1] == 2:
            return self.scores[:, 1]
        return np.take_along_axis(self.scores, self.decided[:, np.newaxis], axis=1)[:, 0]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """[N]: of two classes, decided for the positive one."""
        positive: NDArray[np.bool_] = self.decided == 1
        return positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """Everything between the probabilities of two classes and the answer, in float32."""

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
        """float32 [N, 2], 0-1, as the model gives them -> what is answered."""
        scores = self.calibration.apply_to_all(probabilities)
        return Answers(
            scores=scores,
            decided=self.decided(scores),
            review=self.review.holds(scores[:, 1]),
        )

    def decided(self, scores: NDArray[np.float32]) -> NDArray[np.int_]:
        """float32 [N, 2], calibrated -> int [N], the place of the label."""
        places: NDArray[np.int_] = (scores[:, 1] >= np.float32(self.threshold)).astype(int)
        return places

    def close_calls(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """How far each image is from another answer: float32 [N, 2], calibrated -> [N]."""
        bounds = np.array([self.threshold, self.review.low, self.review.high], np.float32)
        nearest: NDArray[np.float32] = np.abs(scores[:, 1:] - bounds).min(axis=1)
        return nearest


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopDecision:
    """Everything between the probabilities of more than two classes and the answer.

    The label is the likeliest class. All numbers are float32.
    """

    calibration: Calibration = dataclasses.field(default_factory=Calibration)
    least_top: float = 0.0
    """0-1: below it, the probability of the likeliest class is for review"""
    least_lead: float = 0.0
    """0-1: below it, the distance from the likeliest class to the second is for review"""
    target: str = LIKELIEST
    """what was asked for, as `target.parse_of_many` reads it"""
    confidence: float | None = None
    """0-1, that the target holds on images to come; None where it is no share"""
    bound: float | None = None
    """what the target's share is at that confidence"""
    review_rate: float | None = None
    """0-1, the share of images that were to go to a person; None where the target tells it"""

    def answers(self, probabilities: NDArray[np.float32]) -> Answers:
        """float32 [N, K], 0-1, as the model gives them -> what is answered."""
        scores = self.calibration.apply_to_all(probabilities)
        top, lead = top_and_lead(scores)
        return Answers(
            scores=scores,
            decided=self.decided(scores),
            review=(top < np.float32(self.least_top)) | (lead < np.float32(self.least_lead)),
        )

    def decided(self, scores: NDArray[np.float32]) -> NDArray[np.int_]:
        """float32 [N, K], calibrated -> int [N], the place of the label; the first of equals."""
        places: NDArray[np.int_] = scores.argmax(axis=1)
        return places

    def close_calls(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """How far each image is from another answer: float32 [N, K], calibrated -> [N]."""
        top, lead = top_and_lead(scores)
        distances = (lead, top - np.float32(self.least_top), lead - np.float32(self.least_lead))
        nearest: NDArray[np.float32] = np.abs(np.stack(distances)).min(axis=0)
        return nearest


AnyDecision = Decision | TopDecision


def top_and_lead(scores: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """float32 [N, K] -> [N] each: the highest, and how far it is from the second."""
    second, top = np.partition(np.asarray(scores, np.float32), -2, axis=1)[:, -2:].T
    return top, top - second


def of_margin(threshold_: float, margin: float) -> Decision:
    """The decision of a run from before there were decisions: one margin to both sides."""
    return Decision(
        threshold=threshold_,
        review=Band(threshold_ - margin, threshold_ + margin),
        target=str(target.Threshold(threshold_)),
    )


def write(folder: Path, decision: AnyDecision) -> None:
    """Writes a run's decision, whole or not at all."""
    text = json.dumps(dataclasses.asdict(decision), indent=2, allow_nan=False)
    files.write(folder / FILE, text + "\n", durable=True)


def read(folder: Path) -> AnyDecision | None:
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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"Expected {path} as it is written by: make decide. Received: {error!r}. Decide again."
        ) from error


def _from_dict(content: dict[str, Any]) -> AnyDecision:
    calibration = Calibration(**content["calibration"])
    decision: AnyDecision
    if "least_top" in content:
        decision = TopDecision(**{**content, "calibration": calibration})
        numbers = [decision.least_top, decision.least_lead]
        target.parse_of_many(decision.target)
    else:
        review = Band(**content["review"])
        decision = Decision(**{**content, "calibration": calibration, "review": review})
        numbers = [decision.threshold, review.low, review.high]
        target.parse(decision.target)
    if any(type(number) not in (int, float) or not 0 <= number <= ABOVE_1 for number in numbers):
        raise ValueError(f"numbers that cannot be: {numbers}")
    if "least_top" not in content and review.low > review.high:
        raise ValueError(f"a review band from {review.low} to {review.high}")
    if calibration.method not in (NONE, TEMPERATURE, PLATT):
        raise ValueError(f"calibration by {calibration.method!r}")
    line = [calibration.slope, calibration.intercept]
    if any(type(number) not in (int, float) or not abs(number) < 1e6 for number in line):
        raise ValueError(f"a calibration by {line}")
    if calibration.slope <= 0:
        raise ValueError(f"a calibration whose slope is {calibration.slope}")
    return decision
