"""Decisions between more than two classes, on simulated models."""

import numpy as np
import pytest

from foundation.command_line import InputError
from training.decision import calibration, chance, choice, decision, metrics_of_many, target, top
from training.decision.decision import Answers, Calibration, TopDecision

CLASSES = 5
NAMES = ("a", "b", "c", "d", "e")


def simulated(count=600, seed=3, sureness=1.0, classes=CLASSES, spread=2.0):
    """Targets, and what a model says of them; it is as sure as it may be at a sureness of 1."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, classes)) * spread
    powers = np.exp(logits)
    true = powers / powers.sum(axis=1, keepdims=True)
    targets = (true.cumsum(axis=1) < generator.random((count, 1))).sum(axis=1)
    said = np.exp(sureness * logits)
    return targets, (said / said.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("rate", [0, 0.05, 0.1, 0.5, 1])
def test_the_bounds_send_their_share_to_a_person(rate):
    scores = simulated()[1]
    found = top.by_rate(scores, rate)
    made = TopDecision(least_top=found.least_top, least_lead=found.least_lead)
    assert np.mean(made.answers(scores).review) == pytest.approx(rate, abs=0.003)
    if 0 < rate < 1:
        highest, lead = decision.top_and_lead(scores)
        # both bounds do their part: neither alone sends as many
        assert np.mean(highest < found.least_top) < rate
        assert np.mean(lead < found.least_lead) < rate


def test_equal_images_go_to_a_person_together():
    scores = np.tile(np.array([[0.5, 0.3, 0.2]], np.float32), (10, 1))
    for rate, sent in ((0, 0), (0.1, 0), (0.4, 0), (0.6, 10), (1.0, 10)):
        found = top.by_rate(scores, rate)
        made = TopDecision(least_top=found.least_top, least_lead=found.least_lead)
        assert made.answers(scores).review.sum() == sent  # whichever is nearer


def test_a_model_that_is_sure_of_most_answers_does_not_send_all_of_them_to_a_person():
    sure = np.tile(np.array([[1, 0, 0]], np.float32), (95, 1))
    unsure = np.tile(np.array([[0.5, 0.3, 0.2]], np.float32), (5, 1))
    scores = np.concatenate([sure, unsure])
    found = top.by_rate(scores, 0.1)
    made = TopDecision(least_top=found.least_top, least_lead=found.least_lead, review_rate=0.1)
    assert made.answers(scores).review.sum() == 5
    assert choice.unkept_review(made, {"review_share": 0.05, "count": 100}) is None
    told = choice.unkept_review(made, {"review_share": 1.0, "count": 100})
    assert "100% of the validation images to a person, where 10% were asked for" in told


def test_classes_told_apart_without_a_mistake_are_not_made_surer_still():
    targets = np.arange(300) % 3
    scores = np.where(np.eye(3)[targets] == 1, 0.8, 0.1).astype(np.float32)
    scores[:, 0] += np.linspace(0, 0.05, 300, dtype=np.float32)
    scores /= scores.sum(axis=1, keepdims=True)
    made = choice.decide_of_many(targets, scores, target.Likeliest())
    assert made.calibration.method == "none"
    assert "hardly a mistake" in made.calibration.reason
    assert made.answers(scores).review.mean() == pytest.approx(0.1, abs=0.02)


def test_an_accuracy_that_is_asked_for_holds_on_other_images():
    kept = []
    for seed in range(200):
        targets, scores = simulated(count=1200, seed=seed, spread=4)
        found = top.by_accuracy(targets[:600], scores[:600], 0.9, 0.8)
        made = TopDecision(least_top=found.least_top, least_lead=found.least_lead)
        answers = made.answers(scores[600:])
        rest = ~answers.review
        kept.append(np.mean((answers.decided == targets[600:])[rest]) >= 0.9)
        assert found.accuracy >= 0.9
    # On a finite half the share spreads as well, so that less than the confidence is asked here.
    assert np.mean(kept) >= 0.7


def test_without_an_accuracy_that_can_be_reached_nothing_is_decided():
    targets, scores = simulated()
    shuffled = np.random.default_rng(0).permutation(targets)
    with pytest.raises(InputError, match=r"Received: 0\.\d+ at most, whatever the bounds"):
        top.by_accuracy(shuffled, scores, 0.95, 0.8)
    with pytest.raises(InputError, match="Expected 32 validation images or more"):
        top.by_accuracy(targets[:31], scores[:31], 0.95, 0.8)
    with pytest.raises(InputError, match=r"larger --validation-share"):
        top.by_rate(scores[:0], 0.1)


def test_a_model_that_is_too_sure_gets_a_temperature():
    targets, probabilities = simulated(sureness=2.5)
    fitted = calibration.fit_of_many(targets, probabilities)
    assert fitted.method == decision.TEMPERATURE
    assert 1 / fitted.slope == pytest.approx(2.5, rel=0.15)
    calibrated = fitted.apply_to_all(probabilities)
    np.testing.assert_allclose(calibrated.sum(axis=1), 1, rtol=1e-5)
    assert (calibrated.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    fresh_targets, fresh = simulated(sureness=2.5, seed=4, count=2000)
    errors = [
        calibration.error((fresh_targets == said.argmax(axis=1)).astype(int), said.max(axis=1))
        for said in (fresh, fitted.apply_to_all(fresh))
    ]
    assert errors[1] < errors[0] / 3


def test_a_model_that_says_what_is_so_is_hardly_changed():
    fitted = calibration.fit_of_many(*simulated(count=2000))
    assert fitted.slope == pytest.approx(1, abs=0.1)


def test_few_images_are_not_fitted_to():
    fitted = calibration.fit_of_many(*simulated(count=19))
    assert fitted == Calibration(reason="19 validation images; fitting takes 20")


def test_classes_without_an_image_in_validation_do_no_harm():
    targets, probabilities = simulated(count=100, classes=300)
    made = choice.by_text(targets, probabilities)
    found = metrics_of_many.metrics_of_many(
        targets, made.answers(probabilities), [f"class {place}" for place in range(300)]
    )
    missing = next(one for one in found["classes"] if not one["count"])
    for name in ("recall", "recall_interval", "f1", "roc_auc", "roc_auc_interval"):
        assert missing[name] is None
    for name in ("balanced_accuracy", "macro_f1", "roc_auc"):
        assert found[name] is None
    assert 0 < found["accuracy"] < 1
    assert found["log_loss"] > 0


def test_metrics_are_those_worked_out_by_hand():
    targets = np.array([0, 0, 1, 1, 2, 2])
    decided = np.array([0, 1, 1, 1, 2, 0])
    scores = np.full((6, 3), 0.1, np.float32)
    scores[np.arange(6), decided] = 0.8
    answers = Answers(scores=scores, decided=decided, review=np.array([0, 1, 0, 0, 0, 0], bool))
    found = metrics_of_many.metrics_of_many(targets, answers, ("a", "b", "c"))
    assert found["confusion_matrix"] == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["accuracy_without_review"] == pytest.approx(4 / 5)
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert found["macro_precision"] == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    assert found["macro_f1"] == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)
    assert found["most_frequent_share"] == pytest.approx(1 / 3)
    wrong, right = np.log(0.1), np.log(0.8)
    assert found["log_loss"] == pytest.approx(-(4 * right + 2 * wrong) / 6, rel=1e-5)
    # each class against the rest: of a, 1 of 2 scores higher than 3 of 4 others, and so on
    assert [one["roc_auc"] for one in found["classes"]] == [0.625, 0.875, 0.75]
    assert found["roc_auc"] == pytest.approx(0.75)
    assert found["classes"][1]["recall_interval"] == pytest.approx((0.025**0.5, 1))


def test_always_the_most_frequent_class_is_no_better_than_guessing():
    targets = np.repeat([0, 1, 2], [60, 20, 20])
    scores = np.tile(np.array([[0.6, 0.2, 0.2]], np.float32), (100, 1))
    answers = TopDecision().answers(scores)
    doubts = chance.doubts(metrics_of_many.metrics_of_many(targets, answers, ("a", "b", "c")))
    assert "always answering the most frequent class has 0.600" in doubts[0]
    assert "balanced accuracy 0.333, and guessing has 0.333" in doubts[1]
    good = np.eye(3, dtype=np.float32)[targets] * 0.9 + 0.05
    answers = TopDecision().answers(good)
    assert not chance.doubts(metrics_of_many.metrics_of_many(targets, answers, ("a", "b", "c")))


def test_what_is_asked_of_two_classes_is_not_asked_of_more():
    targets, probabilities = simulated()
    for text in ("recall>=0.95", "balanced", "threshold=0.5", "accuracy<=0.9", "accuracy>=1"):
        with pytest.raises(InputError, match=r"accuracy>=0\.98, likeliest\. Received"):
            choice.by_text(targets, probabilities, text)
    with pytest.raises(InputError, match=r"recall>=0\.95, .*Received: 'accuracy>=0\.9'"):
        choice.by_text(targets % 2, probabilities[:, :2], "accuracy>=0.9")
    made = choice.by_text(targets, probabilities, " Accuracy >= 85 %")
    assert made.target == str(target.Accuracy(0.85)) == "accuracy>=0.85"
    assert (made.confidence, made.review_rate) == (0.8, None)
    assert choice.by_text(targets, probabilities).review_rate == 0.1
