"""Chooses a whole decision: calibration first, then the threshold, then the review band."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.decision import calibration, review, threshold
from training.decision.decision import Decision
from training.decision.target import Share, Target

DEFAULT_CONFIDENCE: Final = 0.8
DEFAULT_REVIEW: Final = 0.1
"""Share of the images that go to a person."""


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
