"""The paired tests of the gate, against brute force and against chance."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from training.comparing import paired

ONE_SIDED_95 = 1.6448536269514722


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(11)


def _scores_with_ties(
    random: np.random.Generator, positives: int, negatives: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two versions' scores that go together, rounded so that many are equal."""
    positive = random.permutation(np.arange(positives + negatives) < positives)
    common = random.normal(positive * 0.8, 1.0)
    one, other = (np.round(common + random.normal(0, 0.6, len(positive)), 1) for _ in range(2))
    return one, other, positive


def _kernel(positive_score: float, negative_score: float) -> float:
    if positive_score == negative_score:
        return 0.5
    return float(positive_score > negative_score)


def _brute_force_area_and_placements(
    scores: np.ndarray, positive: np.ndarray
) -> tuple[float, list[float], list[float]]:
    """Every positive beside every negative, as the paper defines it."""
    ups, downs = scores[positive], scores[~positive]
    of_positives = [sum(_kernel(up, down) for down in downs) / len(downs) for up in ups]
    of_negatives = [sum(_kernel(up, down) for up in ups) / len(ups) for down in downs]
    area = sum(_kernel(up, down) for up, down in itertools.product(ups, downs))
    return area / (len(ups) * len(downs)), of_positives, of_negatives


def test_placements_are_those_of_every_positive_beside_every_negative(
    random: np.random.Generator,
) -> None:
    scores, _, positive = _scores_with_ties(random, 17, 29)
    area, of_positives, of_negatives = _brute_force_area_and_placements(scores, positive)
    fast_positives, fast_negatives = paired.placements(scores, positive)
    np.testing.assert_allclose(fast_positives, of_positives, atol=1e-12)
    np.testing.assert_allclose(fast_negatives, of_negatives, atol=1e-12)
    assert np.mean(fast_positives) == pytest.approx(area)
    assert np.mean(fast_negatives) == pytest.approx(area)


def test_the_interval_of_the_areas_is_delongs(random: np.random.Generator) -> None:
    one, other, positive = _scores_with_ties(random, 21, 34)
    first = _brute_force_area_and_placements(one, positive)
    second = _brute_force_area_and_placements(other, positive)
    # the paper's form: two covariance matrices and the contrast (1, -1)
    contrast = np.array([1, -1])
    by_positives = np.cov([first[1], second[1]]) / 21
    by_negatives = np.cov([first[2], second[2]]) / 34
    error = math.sqrt(contrast @ (by_positives + by_negatives) @ contrast)
    found = paired.roc_auc(one, other, positive)
    assert found.candidate == pytest.approx(first[0])
    assert found.stable == pytest.approx(second[0])
    assert found.difference == pytest.approx(first[0] - second[0])
    assert found.lower == pytest.approx(found.difference - ONE_SIDED_95 * error)
    assert found.upper == pytest.approx(found.difference + ONE_SIDED_95 * error)


def test_the_interval_of_balanced_accuracy_weighs_the_classes_alike() -> None:
    positive = np.array([True] * 4 + [False] * 10)
    candidate = np.array([1, 1, 0, 1] + [1] * 9 + [0], float)
    stable = np.array([0, 1, 1, 1] + [1] * 8 + [0, 1], float)
    found = paired.balanced_accuracy(candidate, stable, positive)
    assert found.candidate == pytest.approx((3 / 4 + 9 / 10) / 2)
    assert found.stable == pytest.approx((3 / 4 + 9 / 10) / 2)
    # differences of the positives: 1, 0, -1, 0; of the negatives: eight 0, 1, -1
    error = math.sqrt(((2 / 3) / 4 + (2 / 9) / 10) / 4)
    assert found.lower == pytest.approx(-ONE_SIDED_95 * error)
    assert found.upper == pytest.approx(ONE_SIDED_95 * error)


@pytest.mark.thorough
def test_a_bound_of_balanced_accuracy_misses_the_truth_about_one_time_in_twenty(
    random: np.random.Generator,
) -> None:
    """Difficulty is common to both versions; the classes differ in size and in accuracy."""
    positive = np.arange(260) < 80
    easy = np.where(positive, 0.3, 0.9)
    shifts = {"candidate": -0.15, "stable": 0.0}
    accuracies = [
        np.mean([_phi((easy[row] + shift) / math.sqrt(2)) for row in (0, -1)])
        for shift in shifts.values()
    ]
    truth = accuracies[0] - accuracies[1]
    missed = np.zeros(2)
    trials = 3000
    for _ in range(trials):
        difficulty = random.normal(size=260)
        candidate, stable = (
            difficulty + random.normal(size=260) < easy + shift for shift in shifts.values()
        )
        found = paired.balanced_accuracy(candidate, stable, positive)
        missed += (found.lower > truth, found.upper < truth)
    np.testing.assert_allclose(missed / trials, 0.05, atol=0.012)


def _phi(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


@pytest.mark.thorough
def test_a_bound_of_the_areas_misses_the_truth_about_one_time_in_twenty(
    random: np.random.Generator,
) -> None:
    positive = np.arange(200) < 60
    separation = {"candidate": 1.0, "stable": 1.3}
    areas = {who: _phi(shift / math.sqrt(2)) for who, shift in separation.items()}
    truth = areas["candidate"] - areas["stable"]
    missed = np.zeros(2)
    trials = 2000
    for _ in range(trials):
        common = random.normal(size=200)
        candidate, stable = (
            0.8 * common + 0.6 * random.normal(size=200) + shift * positive
            for shift in separation.values()
        )
        found = paired.roc_auc(candidate, stable, positive)
        missed += (found.lower > truth, found.upper < truth)
    np.testing.assert_allclose(missed / trials, 0.05, atol=0.015)


def test_pairs_need_fewer_images_than_two_separate_measurements(
    random: np.random.Generator,
) -> None:
    positive = np.arange(400) < 200
    stable = random.random(400) < 0.8
    candidate = stable ^ (random.random(400) < 0.05)
    found = paired.balanced_accuracy(candidate, stable, positive)
    separate = ONE_SIDED_95 * math.sqrt(
        sum(np.var(right[rows], ddof=1) / 200 / 4 for right in (candidate, stable)
            for rows in (positive, ~positive))
    )  # fmt: skip
    assert (found.upper - found.lower) / 2 < 0.6 * separate


def test_few_images_that_are_ranked_alike_do_not_show_that_all_are(
    random: np.random.Generator,
) -> None:
    for few, many in ((10, 20), (100, 200)):
        positive = np.arange(few + many) < few
        answers = random.random(few + many).round(1)
        found = paired.roc_auc(answers, answers.copy(), positive)
        assert found.difference == 0
        reach = ONE_SIDED_95 * 0.5 * math.hypot(1 / (few + 2), 1 / (many + 2))
        assert (found.lower, found.upper) == (pytest.approx(-reach), pytest.approx(reach))
    assert found.outcome(0.05) == paired.NOT_WORSE


@pytest.mark.parametrize(
    ("of_each_class", "outcome"),
    [(2, paired.TOO_FEW), (10, paired.TOO_FEW), (40, paired.NOT_WORSE), (400, paired.NOT_WORSE)],
)
def test_few_images_that_tell_no_difference_do_not_show_that_there_is_none(
    of_each_class: int, outcome: str
) -> None:
    positive = np.arange(2 * of_each_class) < of_each_class
    right = np.arange(2 * of_each_class) % 4 > 0
    found = paired.balanced_accuracy(right, right.copy(), positive)
    assert found.difference == 0
    reach = ONE_SIDED_95 * math.sqrt(2) / (of_each_class + 2) / 2
    assert found.lower == pytest.approx(-reach)
    assert found.upper == pytest.approx(reach)
    assert found.outcome(0.05) == outcome


def test_several_answers_about_an_image_do_not_count_as_several_images(
    random: np.random.Generator,
) -> None:
    positive = np.arange(100) < 40
    candidate, stable = random.random((2, 100)) < 0.8
    once = paired.balanced_accuracy(candidate, stable, positive)
    # eight corruptions that change nothing tell nothing new
    eight = [np.mean([right] * 8, axis=0) for right in (candidate, stable)]
    assert paired.balanced_accuracy(*eight, positive) == once


def _comparison(difference: float, reach: float, images: int = 100) -> paired.Comparison:
    return paired.Comparison(
        candidate=0.8 + difference,
        stable=0.8,
        difference=difference,
        lower=difference - reach,
        upper=difference + reach,
        images=images,
    )


@pytest.mark.parametrize(
    ("difference", "reach", "outcome"),
    [
        (0.0, 0.02, paired.NOT_WORSE),
        (-0.01, 0.01, paired.NOT_WORSE),
        (-0.03, 0.0, paired.NOT_WORSE),
        (0.1 - 0.13, 0.0, paired.NOT_WORSE),  # the margin itself, but for the last bit
        (0.0, 0.04, paired.TOO_FEW),
        (-0.05, 0.03, paired.TOO_FEW),  # looks worse, and is not shown to be
        (0.05, 0.2, paired.TOO_FEW),  # looks better, and is not shown to be no worse
        (-0.05, 0.01, paired.WORSE),
    ],
)
def test_the_outcome_says_what_the_interval_shows(
    difference: float, reach: float, outcome: str
) -> None:
    assert _comparison(difference, reach).outcome(0.03) == outcome


@pytest.mark.parametrize(
    ("difference", "outcome"), [(-0.01, paired.NOT_WORSE), (-0.05, paired.WORSE)]
)
def test_as_many_images_as_it_says_would_tell(difference: float, outcome: str) -> None:
    few = _comparison(difference, 0.06)
    assert few.outcome(0.03) == paired.TOO_FEW
    needed = few.images_needed(0.03)
    assert needed == 900
    shrunk = 0.06 * math.sqrt(100 / (needed * 1.001))
    assert _comparison(difference, shrunk).outcome(0.03) == outcome


def test_no_number_of_images_tells_a_difference_of_the_margin_itself() -> None:
    assert _comparison(-0.03, 0.05).images_needed(0.03) is None


def test_mcnemar_counts_only_the_images_that_one_got_right() -> None:
    both_right = [True] * 50 + [False] * 7
    candidate = np.array([True] * 1 + [False] * 9 + both_right)
    stable = np.array([False] * 1 + [True] * 9 + both_right)
    # of ten, one or fewer on either side: 2 (1 + 10) / 2^10
    assert paired.mcnemar_p(candidate, stable) == pytest.approx(22 / 1024)
    assert paired.mcnemar_p(stable, candidate) == pytest.approx(22 / 1024)
    assert paired.mcnemar_p(stable, stable) == 1
