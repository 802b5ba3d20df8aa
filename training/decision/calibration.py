"""Makes a probability mean what it says: of the images that get 0.8, eight in ten are positive.

Fitted on validation images and applied before the threshold, in training and in the served graph
alike; see decision.Calibration. Where there are more than two classes, it is the likeliest one's
probability that is to mean what it says.

Temperature: Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017), slope = 1/T and no
intercept. Platt, "Probabilistic Outputs for Support Vector Machines" (1999), has both.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from training.decision.decision import (
    NONE,
    PLATT,
    TEMPERATURE,
    Answers,
    Calibration,
    logarithms,
    logits,
)

BINS: Final = 15
"""Of the calibration error, with as many images in each."""

NULL_DRAWS: Final = 1000
"""How often a perfectly calibrated model is drawn."""

_FOLDS: Final = 5
_FEWEST: Final = 10
"""Images of the rarer class that a fit takes."""

_MOST_SLOPE: Final = 20.0
"""A validation set that a model divides without a mistake would have any slope."""

_WITHOUT_MISTAKE: Final = (
    "hardly a mistake on the validation images: they do not tell how sure to be, more of them would"
)


def fit(targets: NDArray[np.int_], probabilities: NDArray[np.float32]) -> Calibration:
    """Fits on validation images: a temperature, or Platt's two numbers where these do better.

    Better is judged on images that a fit has not seen (five folds), because two numbers always fit
    the seen ones better than one.

    Args:
        targets: int [N], 0 or 1.
        probabilities: float32 [N], as the model gives them.

    Returns:
        no calibration, with the reason, where there are too few images of a class.
    """
    positives = int(np.sum(targets == 1))
    rarer = min(positives, len(targets) - positives)
    if rarer < _FEWEST:
        return Calibration(
            reason=f"{rarer} validation images of the rarer class; fitting takes {_FEWEST}"
        )
    said = logits(probabilities)
    losses = {method: _fresh_losses(said, targets, method) for method in (NONE, TEMPERATURE, PLATT)}
    means = {method: float(each.mean()) for method, each in losses.items()}
    gain = losses[TEMPERATURE] - losses[PLATT]
    # One standard error: what is simpler stays where the difference is noise.
    helps = gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain))
    method = PLATT if helps else TEMPERATURE
    if means[method] >= means[NONE]:
        return Calibration(
            reason=f"log loss on images it was not fitted on {means[NONE]:.4f} without, "
            f"{means[method]:.4f} with {method}"
        )
    slope, intercept = _line(said, targets, method)
    if _is_limit(slope):
        return Calibration(reason=_WITHOUT_MISTAKE)
    return Calibration(
        method,
        slope,
        intercept,
        f"log loss on images it was not fitted on {means[method]:.4f}, "
        f"{means[NONE]:.4f} without"
        + (f", {means[TEMPERATURE]:.4f} with a temperature alone" if method == PLATT else ""),
    )


def fit_of_many(targets: NDArray[np.int_], probabilities: NDArray[np.float32]) -> Calibration:
    """Fits a temperature on validation images, where it does better on images it has not seen.

    Args:
        targets: int [N], 0 to K-1.
        probabilities: float32 [N, K], as the model gives them.

    Returns:
        no calibration, with the reason, where there are too few images or it does not help.
    """
    if len(targets) < 2 * _FEWEST:
        return Calibration(reason=f"{len(targets)} validation images; fitting takes {2 * _FEWEST}")
    said = logarithms(probabilities)
    without = float(_losses_of_many(said, targets, 1.0).mean())
    fold = _folds(targets)
    fresh = np.zeros(len(targets))
    for number in range(_FOLDS):
        out = fold == number
        fresh[out] = _losses_of_many(said[out], targets[out], _slope(said[~out], targets[~out]))
    if fresh.mean() >= without:
        return Calibration(
            reason=f"log loss on images it was not fitted on {without:.4f} without, "
            f"{fresh.mean():.4f} with {TEMPERATURE}"
        )
    slope = _slope(said, targets)
    if _is_limit(slope):
        return Calibration(reason=_WITHOUT_MISTAKE)
    return Calibration(
        TEMPERATURE,
        slope,
        reason=f"log loss on images it was not fitted on {fresh.mean():.4f}, {without:.4f} without",
    )


def judged(
    targets: NDArray[np.int_], answers: Answers
) -> tuple[NDArray[np.int_], NDArray[np.float32]]:
    """What probabilities are held against, int [N], and the probabilities, float32 [N].

    Of two classes the positive one's, of more the likeliest one's.
    """
    if answers.scores.shape[1] == 2:
        return targets, answers.scores[:, 1]
    return (answers.decided == targets).astype(int), answers.scores.max(axis=1)


def error(targets: NDArray[np.int_], probabilities: NDArray[np.float32]) -> float:
    """The expected calibration error: over BINS of as many images each, the mean distance of the
    mean probability from the share of positives, weighted by images. 0-1.
    """
    probabilities = np.asarray(probabilities, float)
    order = np.argsort(probabilities, kind="stable")
    parts = np.array_split(order, min(BINS, len(order)))
    gaps = [
        len(part) * abs(probabilities[part].mean() - np.mean(targets[part] == 1)) for part in parts
    ]
    return float(sum(gaps) / len(order))


@dataclasses.dataclass(frozen=True)
class NullError:
    """The calibration error of a model that is perfectly calibrated, with as many images."""

    mean: float
    upper: float
    """1 in 20 such models has a larger one"""


def null_error(probabilities: NDArray[np.float32], seed: int = 0) -> NullError:
    """What `error` is by chance alone: labels are drawn from the probabilities themselves."""
    ordered = np.sort(np.asarray(probabilities, float))
    generator = np.random.default_rng(seed)
    excess = (generator.random((NULL_DRAWS, len(ordered))) < ordered) - ordered
    parts = np.array_split(excess, min(BINS, len(ordered)), axis=1)
    errors = sum(np.abs(part.sum(axis=1)) for part in parts) / len(ordered)
    return NullError(float(np.mean(errors)), float(np.quantile(errors, 0.95)))


@dataclasses.dataclass(frozen=True)
class Reliability:
    """One bin of the reliability plot."""

    count: int
    probability: float
    """mean, 0-1"""
    share: float
    """of positives, 0-1"""


def reliability(targets: NDArray[np.int_], probabilities: NDArray[np.float32]) -> list[Reliability]:
    """The bins of `error`, by rising probability."""
    probabilities = np.asarray(probabilities, float)
    order = np.argsort(probabilities, kind="stable")
    return [
        Reliability(
            len(part), float(probabilities[part].mean()), float(np.mean(targets[part] == 1))
        )
        for part in np.array_split(order, min(BINS, len(order)))
    ]


def _is_limit(slope: float) -> bool:
    """Whether a larger slope would be better still; it would make most answers 1.0."""
    return slope > 0.99 * _MOST_SLOPE


def _losses(
    logits: NDArray[np.float64], targets: NDArray[np.int_], slope: float, intercept: float
) -> NDArray[np.float64]:
    """Log loss an image, in nats."""
    shifted = slope * logits + intercept
    losses: NDArray[np.float64] = np.logaddexp(0, np.where(targets == 1, -shifted, shifted))
    return losses


def _line(
    logits: NDArray[np.float64], targets: NDArray[np.int_], method: str
) -> tuple[float, float]:
    """The slope and intercept of the least log loss."""
    if method == NONE:
        return 1.0, 0.0

    def loss(numbers: NDArray[np.float64]) -> float:
        slope = float(np.exp(numbers[0]))
        intercept = float(numbers[1]) if len(numbers) > 1 else 0.0
        return float(_losses(logits, targets, slope, intercept).mean())

    limit = np.log(_MOST_SLOPE)
    bounds = [(-limit, limit)] + [(-_MOST_SLOPE, _MOST_SLOPE)] * (method == PLATT)
    found = scipy.optimize.minimize(loss, np.zeros(len(bounds)), method="L-BFGS-B", bounds=bounds)
    return float(np.exp(found.x[0])), float(found.x[1]) if method == PLATT else 0.0


def _fresh_losses(
    logits: NDArray[np.float64], targets: NDArray[np.int_], method: str
) -> NDArray[np.float64]:
    """Log loss an image, each by a line that was fitted without it."""
    losses = np.zeros(len(targets))
    fold = _folds(targets)
    for number in range(_FOLDS):
        out = fold == number
        slope, intercept = _line(logits[~out], targets[~out], method)
        losses[out] = _losses(logits[out], targets[out], slope, intercept)
    return losses


def _folds(targets: NDArray[np.int_]) -> NDArray[np.int_]:
    """int [N]: a fold for each image. Each fold has its part of every class.

    They are drawn at random, because validation may be sorted by class.
    """
    generator = np.random.default_rng(0)
    fold = np.zeros(len(targets), int)
    start = 0  # so that classes of one image do not all go into the first fold
    for value in np.unique(targets):
        own = generator.permutation(np.flatnonzero(targets == value))
        fold[own] = (start + np.arange(len(own))) % _FOLDS
        start = start + len(own) if len(own) < _FOLDS else start
    return fold


def _losses_of_many(
    logarithms: NDArray[np.float64], targets: NDArray[np.int_], slope: float
) -> NDArray[np.float64]:
    """Log loss an image, in nats."""
    shifted = slope * logarithms
    own = shifted[np.arange(len(targets)), targets]
    losses: NDArray[np.float64] = np.log(np.exp(shifted).sum(axis=1)) - own
    return losses


def _slope(logarithms: NDArray[np.float64], targets: NDArray[np.int_]) -> float:
    """That of the least log loss."""
    limit = np.log(_MOST_SLOPE)
    found = scipy.optimize.minimize_scalar(
        lambda power: float(_losses_of_many(logarithms, targets, np.exp(power)).mean()),
        bounds=(-limit, limit),
        method="bounded",
    )
    return float(np.exp(found.x))
