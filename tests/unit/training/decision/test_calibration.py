"""Calibration mends a wrong scale and leaves a right one alone."""

import numpy as np
import pytest

from training.decision import calibration, decision


def drawn(count, slope=1.0, intercept=0.0, seed=0):
    """Labels drawn from probabilities, and what a model says whose logits are `slope` times, and
    `intercept` beside, the right ones.
    """
    generator = np.random.default_rng(seed)
    logits = generator.normal(-0.5, 2, count)
    targets = (generator.random(count) < 1 / (1 + np.exp(-logits))).astype(int)
    said = 1 / (1 + np.exp(-(slope * logits + intercept)))
    return targets, said.astype(np.float32)


def test_a_model_that_is_too_sure_gets_a_temperature():
    targets, said = drawn(2000, slope=2)
    fitted = calibration.fit(targets, said)
    assert fitted.method == decision.TEMPERATURE
    assert fitted.slope == pytest.approx(0.5, abs=0.06)
    assert fitted.intercept == 0
    fresh_targets, fresh = drawn(5000, slope=2, seed=1)
    before = calibration.error(fresh_targets, fresh)
    after = calibration.error(fresh_targets, fitted.apply(fresh))
    assert after < calibration.null_error(fitted.apply(fresh)).upper * 1.5 < before


def test_a_model_that_is_off_to_one_side_gets_platts_two_numbers():
    targets, said = drawn(2000, intercept=1)
    fitted = calibration.fit(targets, said)
    assert fitted.method == decision.PLATT
    assert fitted.intercept == pytest.approx(-1, abs=0.2)
    assert "temperature alone" in fitted.reason


def test_the_order_of_the_images_stays():
    targets, said = drawn(500, slope=3, intercept=1)
    after = calibration.fit(targets, said).apply(said)
    assert (np.diff(after[np.argsort(said)]) >= 0).all()
    assert after.dtype == np.float32


def test_too_few_images_are_not_fitted_and_that_is_said():
    targets = np.array([1] * 9 + [0] * 200)
    fitted = calibration.fit(targets, np.full(209, 0.3, np.float32))
    assert fitted.method == decision.NONE
    assert fitted.reason.startswith("9 validation images of the rarer class")
    said = np.array([0, 0.25, 1, np.nan], np.float32)
    assert np.array_equal(fitted.apply(said), said, equal_nan=True)


def test_a_calibrated_model_is_hardly_touched():
    targets, said = drawn(400)
    after = calibration.fit(targets, said).apply(said)
    assert np.max(np.abs(after - said)) < 0.08


@pytest.mark.parametrize("said", [0.0, 1.0, 0.5])
def test_a_model_that_always_says_the_same_ends_no_fit(said):
    targets = np.array([0, 1] * 50)
    after = calibration.fit(targets, np.full(100, said, np.float32)).apply(
        np.array([said], np.float32)
    )
    assert np.isfinite(after).all()


def test_classes_that_are_told_apart_without_a_mistake_end_no_fit():
    targets = np.array([0] * 50 + [1] * 50)
    fitted = calibration.fit(targets, np.where(targets == 1, 0.8, 0.2).astype(np.float32))
    assert fitted.method == "none"
    assert "hardly a mistake" in fitted.reason


def test_nan_stays_nan():
    after = decision.Calibration("platt", 2.0, 0.5).apply(np.array([np.nan, 0.5], np.float32))
    assert np.isnan(after[0])
    assert after[1] == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_the_error_is_the_mean_distance_over_bins_of_as_many_images():
    # one bin an image: |0.2 - 0|, |0.4 - 1|, |0.9 - 1|
    assert calibration.error(
        np.array([1, 0, 1]), np.array([0.4, 0.2, 0.9], np.float32)
    ) == pytest.approx((0.2 + 0.6 + 0.1) / 3)
    targets, said = drawn(150)
    bins = calibration.reliability(targets, said)
    assert [one.count for one in bins] == [10] * 15
    gaps = [abs(one.probability - one.share) for one in bins]
    assert calibration.error(targets, said) == pytest.approx(np.mean(gaps))


def test_chance_alone_makes_an_error_and_a_larger_set_a_smaller_one():
    _, said = drawn(656)
    few, many = calibration.null_error(said), calibration.null_error(drawn(6560)[1])
    assert 0.02 < few.mean < few.upper < 0.08
    assert many.upper < few.mean
