"""A decision as a whole: chosen, kept beside the run, read back."""

import json

import numpy as np
import pytest

from foundation.command_line import InputError
from training.decision import choice, decision, review, target
from training.decision.decision import Band, Decision, TopDecision


def validation(count=400):
    generator = np.random.default_rng(7)
    targets = (generator.random(count) < 0.3).astype(int)
    scores = generator.normal(size=count) * 2 + 3 * targets - 2
    return targets, (1 / (1 + np.exp(-scores))).astype(np.float32)


def of_two(positive):
    return np.stack([1 - positive, positive], axis=1)


def test_a_decision_is_the_same_after_reading_it_back(tmp_path):
    made = choice.decide(*validation(), target.parse("recall>=0.9"), review_rate=0.2)
    decision.write(tmp_path, made)
    assert decision.read(tmp_path) == made
    probabilities = validation()[1]
    before, after = (one.answers(of_two(probabilities)) for one in (made, decision.read(tmp_path)))
    assert (before.positive == after.positive).all()
    assert np.mean(after.review) == pytest.approx(0.2, abs=0.01)
    assert made.confidence == 0.8
    assert made.bound >= 0.9


@pytest.mark.parametrize("rate", [0, 0.05, 0.1, 0.3, 0.5, 1])
@pytest.mark.parametrize("cut", [0.0, 0.04, 0.5, 0.99, 1.0])
def test_the_band_takes_its_share_wherever_the_threshold_lies(rate, cut):
    probabilities = validation()[1]
    band = review.choose(probabilities, cut, rate)
    assert np.mean(band.holds(probabilities)) == pytest.approx(rate, abs=0.002)
    taken = np.flatnonzero(band.holds(np.sort(probabilities)))
    assert not len(taken) or (np.diff(taken) == 1).all()
    place = np.searchsorted(np.sort(probabilities), np.float32(cut))
    if len(taken):
        assert taken[0] <= place <= taken[-1] + 1  # it lies around the threshold


def test_equal_probabilities_go_to_a_person_together_or_not_at_all():
    # 900 images of which the model is equally sure; 10 % were asked for, and it was 90 %
    probabilities = np.array([0.0] * 900 + [0.4, 0.6] * 20 + [1.0] * 60, np.float32)
    band = review.choose(probabilities, 0.5, 0.1)
    assert 40 <= band.holds(probabilities).sum() <= 100
    assert not band.holds(np.array([0.0], np.float32)).any()


def test_half_of_the_band_lies_to_either_side_of_a_low_threshold():
    # where a margin of 0.1 to both sides would send most images to a person
    probabilities = validation()[1]
    band = review.choose(probabilities, 0.05, 0.2)
    assert np.sum((probabilities >= band.low) & (probabilities < 0.05)) == 40
    assert np.sum((probabilities >= 0.05) & (probabilities < band.high)) == 40


def test_a_run_from_before_keeps_its_margin():
    made = decision.of_margin(0.5, 0.125)
    answers = made.answers(of_two(np.array([0.374, 0.376, 0.5, 0.624, 0.626], np.float32)))
    assert answers.review.tolist() == [False, True, True, True, False]
    assert answers.positive.tolist() == [False, False, True, True, True]


def test_no_decision_is_none(tmp_path):
    assert decision.read(tmp_path) is None


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": None},
        {"threshold": float("nan")},
        {"review": {"low": 0.1}},
        {"review": {"low": 0.1, "high": float("inf")}},
        {"calibration": {"slope": 0}},
        {"calibration": 3},
        {"target": "never"},
        {"unknown": 1},
        {"least_top": 0.5},
    ],
)
def test_a_file_that_is_no_decision_is_refused_in_words(tmp_path, change):
    decision.write(tmp_path, Decision(review=Band(0.4, 0.6)))
    content = json.loads((tmp_path / decision.FILE).read_text())
    (tmp_path / decision.FILE).write_text(json.dumps({**content, **change}))
    with pytest.raises(InputError, match=r"decision\.json|target such as"):
        decision.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "3"])
def test_a_broken_file_is_refused_in_words(tmp_path, text):
    (tmp_path / decision.FILE).write_text(text)
    with pytest.raises(InputError, match="make decide"):
        decision.read(tmp_path)


@pytest.mark.parametrize(
    "change", [{"least_top": None}, {"least_lead": float("nan")}, {"target": "recall>=0.9"}]
)
def test_a_file_that_is_no_decision_between_many_is_refused_in_words(tmp_path, change):
    decision.write(tmp_path, TopDecision(least_top=0.5))
    assert decision.read(tmp_path) == TopDecision(least_top=0.5)
    content = json.loads((tmp_path / decision.FILE).read_text())
    (tmp_path / decision.FILE).write_text(json.dumps({**content, **change}))
    with pytest.raises(InputError, match=r"decision\.json|target such as"):
        decision.read(tmp_path)
