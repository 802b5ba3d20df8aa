"""Is the candidate not worse than the stable version? Both answered the same images, so: in pairs.

The versions' mistakes go together, because some images are hard for either. Comparing image by
image takes that part of the chance out, and needs far fewer images than two separate measurements.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy.stats

from training.decision.chance import placements

CONFIDENCE = 0.95
"""Of each bound, on its own: the difference lies above the lower one with this probability."""

LEAST_OF_A_CLASS = 2
"""Images; below, there is no spread to compute."""

NOT_WORSE = "not worse"
WORSE = "worse"
TOO_FEW = "too few images to tell"

MOVED = 0.5
"""How far an image is thought to move that was not among those seen, as a share of the other class;
see `roc_auc`."""

_ROUNDING = 1e-9
"""A difference of exactly the margin must not depend on the last bit of a mean."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """One figure of two versions on the same images."""

    candidate: float
    stable: float
    difference: float
    """candidate - stable"""
    lower: float
    """one-sided bound: the true difference is larger with probability CONFIDENCE"""
    upper: float
    """one-sided bound from above"""
    images: int

    def outcome(self, margin: float) -> str:
        """The verdict in words.

        Args:
            margin: how much worse the candidate may be, above 0.

        Returns:
            NOT_WORSE if the candidate is shown to be less than the margin worse, WORSE if it is
            shown to be more than that worse, else TOO_FEW.
        """
        if self.lower >= -margin - _ROUNDING:
            return NOT_WORSE
        return WORSE if self.upper < -margin else TOO_FEW

    def images_needed(self, margin: float) -> int | None:
        """About how many images like these would tell, if the difference stays what it is.

        The interval's width falls with the square root of the number of images.

        Returns:
            rounded up to two digits; None where the difference is the margin itself, which no
            number of images tells apart.
        """
        half = (self.upper - self.lower) / 2
        distance = abs(self.difference + margin)
        if distance < _ROUNDING:
            return None
        needed = self.images * (half / distance) ** 2
        step = 10 ** max(0, math.floor(math.log10(max(needed, 1))) - 1)
        return math.ceil(needed / step - _ROUNDING) * step


def balanced_accuracy(candidate: np.ndarray, stable: np.ndarray, truth: np.ndarray) -> Comparison:
    """Compares the means of the classes' accuracies.

    Each of K classes has weight 1/K, and is a stratum of its own: the variance of a class's mean
    difference is that of its images' differences over their number; the two are independent. With
    one answer an image this is Wald's interval for paired proportions in each class (Agresti,
    Categorical Data Analysis, 3rd edition 2013, 11.1.1). It is nothing at all where no image told
    the versions apart, however few there were. So a class's variance is at least what it is with
    two images more, half of one told apart in favour of each version (as Agresti and Min do,
    Statistics in Medicine 24, 2005). With several answers an image (one a
    corruption) give their mean: then the images are the clusters, and answers about one image may
    depend on each other as they like.

    Args:
        candidate: float [N], 0-1: whether, or how often, the candidate was right about each image.
        stable: the same of the other version.
        truth: [N]: the image's class, in any form; at least two images of each.

    Returns:
        the comparison.
    """
    candidate, stable = np.asarray(candidate, float), np.asarray(stable, float)
    differences = candidate - stable
    classes = [truth == one for one in np.unique(truth)]
    variance = sum(_of_mean(differences[rows]) for rows in classes) / len(classes) ** 2
    return _comparison(
        *(
            float(np.mean([right[rows].mean() for rows in classes]))
            for right in (candidate, stable)
        ),
        variance=float(variance),
        images=len(truth),
    )


def log_likelihood(candidate: np.ndarray, stable: np.ndarray) -> Comparison:
    """Compares the mean log likelihoods: minus the log losses, so that more is better.

    The variance is that of the differences image by image, and at least what it is with two images
    more, half a nat apart in favour of each version.

    Args:
        candidate: float [N], in nats, 0 or below: of the right class, by the candidate.
        stable: the same of the other version; at least two images.
    """
    return _comparison(
        float(candidate.mean()),
        float(stable.mean()),
        variance=_of_mean(candidate - stable),
        images=len(candidate),
    )


def roc_auc(candidate: np.ndarray, stable: np.ndarray, positive: np.ndarray) -> Comparison:
    """Compares the areas under the two ROC curves, by DeLong's test for correlated curves.

    DeLong, DeLong and Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver
    Operating Characteristic Curves: A Nonparametric Approach", Biometrics 44 (1988), 837-845.

    Where both rank every image alike, its interval is nothing at all, however few images there
    were. So a class's variance is at least that of two images more, half of one moved past half of
    the other class in favour of each version.

    Args:
        candidate: float [N]: its scores; any scale, infinities allowed, no NaN.
        stable: the same of the other version.
        positive: bool [N]: the image's class; at least two images of each.
    """
    positive = np.asarray(positive, bool)
    of_positives, of_negatives = zip(placements(candidate, positive), placements(stable, positive))
    variance = sum(
        max(np.var(ours - theirs, ddof=1) / len(ours), (MOVED / (len(ours) + 2)) ** 2)
        for ours, theirs in (of_positives, of_negatives)
    )
    return _comparison(
        *(float(found.mean()) for found in of_positives),
        variance=float(variance),
        images=len(positive),
    )


def _of_mean(differences: np.ndarray) -> float:
    """The variance of a class's mean difference, [N] with N of 2 or more."""
    count = len(differences)
    with_two_more = (count * float(np.var(differences)) + 1) / (count + 2) ** 2
    return max(float(np.var(differences, ddof=1)) / count, with_two_more)


def mcnemar_p(candidate: np.ndarray, stable: np.ndarray) -> float:
    """Exact McNemar test: are the versions equally often right, over all images?

    McNemar, Psychometrika 12 (1947), in its exact form: of the images that only one of them got
    right, each is as likely to be the one's as the other's.

    Args:
        candidate: bool [N]: whether it was right about each image.
        stable: the same of the other version.

    Returns:
        the two-sided p-value, 0-1; 1 where they are right about the same images.
    """
    only_candidate = int(np.sum(candidate & ~stable))
    both = only_candidate + int(np.sum(stable & ~candidate))
    return float(scipy.stats.binomtest(only_candidate, both).pvalue) if both else 1.0


def _comparison(candidate: float, stable: float, *, variance: float, images: int) -> Comparison:
    reach = float(scipy.stats.norm.ppf(CONFIDENCE)) * math.sqrt(variance)
    difference = candidate - stable
    return Comparison(
        candidate=candidate,
        stable=stable,
        difference=difference,
        lower=difference - reach,
        upper=difference + reach,
        images=images,
    )
