"""Chooses a whole decision: calibration first, then the threshold, then what goes to review."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.decision import calibration, review, target, threshold, top
from training.decision.decision import DEFAULT_TARGET, AnyDecision, Decision, TopDecision
from training.decision.target import Accuracy, Share, Target, TargetOfMany

DEFAULT_CONFIDENCE: Final = 0.8
DEFAULT_REVIEW: Final = 0.1
"""Share of the images that go to a person."""


def by_text(
    targets: NDArray[np.int_],
    probabilities: NDArray[np.float32],
    asked: str | None = None,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    review_rate: float = DEFAULT_REVIEW,
) -> AnyDecision:
    """Chooses a decision on validation images, of any number of classes.

    Args:
        targets: int [N], 0 to K-1.
        probabilities: float32 [N, K], 0-1, as the model gives them.
        asked: a target as one types it; None: what is taken where nobody asks.
        confidence: 0.5-1, of a share.
        review_rate: 0-1, of the images.

    Raises:
        InputError: no such target, or the images cannot show what is asked for.
    """
    how = {"confidence": confidence, "review_rate": review_rate}
    if probabilities.shape[1] > 2:
        of_many = target.parse_of_many(target.LIKELIEST if asked is None else asked)
        return decide_of_many(targets, probabilities, of_many, **how)
    return decide(
        targets,
        probabilities[:, 1],
        target.parse(DEFAULT_TARGET if asked is None else asked),
        **how,
    )


def unkept_review(decision: AnyDecision, validation: Mapping[str, Any]) -> str | None:
    """What to say where the band sends another share to a person than it was asked to.

    Args:
        decision: the present one.
        validation: the figures of the images that it was chosen on, as in metrics.json.
    """
    asked, share = decision.review_rate, validation["review_share"]
    if asked is None or share is None or abs(share - asked) <= max(0.05, 2 / validation["count"]):
        return None
    return (
        f"the review band sends {share:.0%} of the validation images to a person, where "
        f"{asked:.0%} were asked for: too many answers are equally sure to divide them"
    )


def decide(
    targets: NDArray[np.int_],
    probabilities: NDArray[np.float32],
    asked: Target,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    review_rate: float = DEFAULT_REVIEW,
) -> Decision:
    """Chooses calibration, threshold and review band of two classes on validation images.

    Args:
        targets: int [N], 0 or 1.
        probabilities: float32 [N], 0-1, of the positive class, as the model gives them.
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


def decide_of_many(
    targets: NDArray[np.int_],
    probabilities: NDArray[np.float32],
    asked: TargetOfMany,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    review_rate: float = DEFAULT_REVIEW,
) -> TopDecision:
    """Chooses calibration and review bounds of more than two classes on validation images.

    Args:
        targets: int [N], 0 to K-1.
        probabilities: float32 [N, K], 0-1, as the model gives them.
        asked: what the review bounds are for.
        confidence: 0.5-1, of an accuracy.
        review_rate: 0-1, of the images, where no accuracy is asked for.

    Raises:
        InputError: the images cannot show what is asked for.
    """
    fitted = calibration.fit_of_many(targets, probabilities)
    scores = fitted.apply_to_all(probabilities)
    promised = isinstance(asked, Accuracy)
    found = (
        top.by_accuracy(targets, scores, asked.bound, confidence)
        if isinstance(asked, Accuracy)
        else top.by_rate(scores, review_rate)
    )
    return TopDecision(
        calibration=fitted,
        least_top=found.least_top,
        least_lead=found.least_lead,
        target=str(asked),
        confidence=confidence if promised else None,
        bound=found.accuracy,
        review_rate=None if promised else review_rate,
    )
