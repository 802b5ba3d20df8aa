"""The chosen threshold keeps its target on images that were not there when it was chosen."""

import numpy as np
import pytest

from foundation.command_line import InputError
from training.decision import bounds, target, threshold


def drawn(generator, count):
    """Labels, and the probabilities of a model of ROC-AUC 0.89 that is perfectly calibrated."""
    targets = (generator.random(count) < 0.31).astype(int)
    scores = generator.normal(size=count) + 1.7 * targets
    odds = np.exp(1.7 * scores - 1.445) * 0.31 / 0.69
    return targets, (odds / (1 + odds)).astype(np.float32)


def share(asked, targets, probabilities, cut):
    called = probabilities >= np.float32(cut)
    of = {"recall": targets == 1, "fpr": targets == 0, "precision": called}[asked.figure]
    return np.mean((targets == 1)[of] if asked.figure == "precision" else called[of])


@pytest.mark.parametrize("text", ["recall>=0.95", "fpr<=0.1", "precision>=0.8"])
def test_a_share_holds_on_other_images_as_often_as_the_confidence_says(text):
    generator = np.random.default_rng(5)
    asked = target.parse(text)
    whole = drawn(generator, 100_000)

    def keeps(validation, confidence):
        cut = threshold.choose(asked, *validation, confidence).threshold
        found = share(asked, *whole, cut)
        return found <= asked.bound if asked.figure == "fpr" else found >= asked.bound

    validations = [drawn(generator, 394) for _ in range(120)]
    sure, unsure = (
        np.mean([keeps(one, confidence) for one in validations]) for confidence in (0.8, 0.5)
    )
    # 120 draws of 80 % lie above 70 % but once in three hundred times
    assert sure >= 0.7
    # with less confidence it is kept less often, so that the bound is what does it
    assert unsure < sure


def test_recall_takes_the_highest_threshold_and_precision_the_lowest():
    # 40 positives above 60 negatives, but for two negatives at the top
    probabilities = np.linspace(0, 1, 100, dtype=np.float32)
    targets = (np.arange(100) >= 60).astype(int)
    targets[[97, 98]] = 0
    recall = threshold.choose(target.parse("recall>=0.9"), targets, probabilities, 0.8)
    found = np.sum(probabilities[targets == 1] >= recall.threshold)
    assert recall.bound == bounds.at_least(int(found), 38, 0.8) >= 0.9
    assert bounds.at_least(int(found) - 1, 38, 0.8) < 0.9  # one higher would not do
    precision = threshold.choose(target.parse("precision>=0.9"), targets, probabilities, 0.5)
    called = probabilities >= precision.threshold
    assert precision.bound == bounds.at_least(int(targets[called].sum()), called.sum(), 0.5) >= 0.9
    lower = probabilities >= np.nextafter(np.sort(probabilities[~called])[-1], np.float32(0))
    assert bounds.at_least(int(targets[lower].sum()), lower.sum(), 0.5) < 0.9


def test_no_threshold_lies_on_a_probability():
    targets, probabilities = drawn(np.random.default_rng(1), 300)
    for text in ("recall>=0.9", "fpr<=0.2", "precision>=0.7"):
        cut = threshold.choose(target.parse(text), targets, probabilities, 0.8).threshold
        assert np.float32(cut) == cut
        assert not np.any(probabilities == np.float32(cut))


def test_neighbours_in_float32_are_still_told_apart():
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    probabilities = np.array([low] * 40 + [high] * 40, np.float32)
    targets = np.array([0] * 40 + [1] * 40)
    cut = threshold.choose(target.parse("recall>=0.9"), targets, probabilities, 0.8).threshold
    assert ((probabilities >= np.float32(cut)) == (targets == 1)).all()


def test_costs_and_balance_come_from_the_probabilities_themselves():
    targets, probabilities = drawn(np.random.default_rng(2), 1000)
    costs = threshold.choose(target.parse("miss=9,false_alarm=1"), targets, probabilities, 0.8)
    assert costs.threshold == pytest.approx(0.1)
    huge = target.parse("miss=1e308,false_alarm=1e308")
    assert threshold.choose(huge, targets, probabilities, 0.8).threshold == 0.5
    balanced = threshold.choose(target.parse("balanced"), targets, probabilities, 0.8)
    assert balanced.threshold == pytest.approx(targets.mean())


@pytest.mark.parametrize(
    ("text", "confidence", "least"),
    [("recall>=0.95", 0.8, 32), ("recall>=0.95", 0.9, 45), ("fpr<=0.05", 0.8, 32)],
)
def test_too_few_images_are_told_with_the_number_that_it_takes(text, confidence, least):
    figure = target.parse(text).figure
    one = 1 if figure == "recall" else 0
    for count, enough in ((least - 1, False), (least, True)):
        targets = np.array([one] * count + [1 - one] * 200)
        probabilities = np.where(targets == 1, 0.9, 0.1).astype(np.float32)
        if enough:
            threshold.choose(target.parse(text), targets, probabilities, confidence)
            continue
        with pytest.raises(InputError, match=f"Expected {least} ") as caught:
            threshold.choose(target.parse(text), targets, probabilities, confidence)
        assert f"Received: {count}." in str(caught.value)


def test_what_no_threshold_reaches_is_told_with_the_best_there_is():
    generator = np.random.default_rng(3)
    targets = (generator.random(200) < 0.3).astype(int)
    probabilities = generator.random(200).astype(np.float32)  # no better than guessing
    with pytest.raises(InputError, match=r"Received: 0\.\d{3} at most"):
        threshold.choose(target.parse("precision>=0.95"), targets, probabilities, 0.8)


def test_one_class_alone_is_told():
    targets, probabilities = np.ones(50, int), np.full(50, 0.5, np.float32)
    with pytest.raises(InputError, match="both classes"):
        threshold.choose(target.parse("balanced"), targets, probabilities, 0.8)
