"""Metrics, against numbers worked out by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from foundation.command_line import InputError
from training import architectures, evaluation
from training.config import CHOICES, RunConfig

TARGETS = np.array([0, 0, 0, 1, 1])
PROBABILITIES = np.array([0.1, 0.4, 0.6, 0.5, 0.9], np.float32)


def test_metrics_are_those_worked_out_by_hand() -> None:
    found = evaluation.metrics(TARGETS, PROBABILITIES, threshold=0.5, review_margin=0.15)
    assert found["confusion_matrix"] == [[2, 1], [0, 2]]  # 0.5 itself counts as positive
    assert found["accuracy"] == pytest.approx(4 / 5)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == 1
    assert found["f1"] == pytest.approx(0.8)
    assert found["roc_auc"] == pytest.approx(5 / 6)  # one of six pairs is the wrong way round
    assert found["pr_auc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found["review_share"] == pytest.approx(3 / 5)
    assert (found["count"], found["positives"]) == (5, 2)


def test_the_threshold_moves_decisions() -> None:
    found = evaluation.metrics(TARGETS, PROBABILITIES, threshold=0.7, review_margin=0.1)
    assert found["confusion_matrix"] == [[3, 0], [1, 1]]


def test_one_class_alone_has_no_areas() -> None:
    found = evaluation.metrics(TARGETS[:3], PROBABILITIES[:3], threshold=0.5, review_margin=0.1)
    assert found["roc_auc"] is None
    assert found["pr_auc"] is None
    assert found["balanced_accuracy"] is None


def test_log_loss_is_finite_for_a_sure_mistake() -> None:
    assert evaluation.log_loss(np.array([1]), np.array([0.0])) == pytest.approx(16.118, abs=1e-3)
    assert evaluation.log_loss(np.array([1, 0]), np.array([0.5, 0.5])) == pytest.approx(np.log(2))


def test_the_predictor_keeps_the_order_over_batches() -> None:
    images = keras.Input((2, 2, 3))
    model = keras.Model(images, keras.ops.mean(images, axis=(1, 2))[:, :1])
    values = np.linspace(0, 1, 7, dtype=np.float32)
    batches = tf.data.Dataset.from_tensor_slices(
        (np.broadcast_to(values[:, None, None, None], (7, 2, 2, 3)), np.zeros(7))
    ).batch(3)
    np.testing.assert_allclose(evaluation.Predictor(model).probabilities(batches), values)


def test_the_default_architecture_is_the_one_agreed_on() -> None:
    model = architectures.build_model(RunConfig())
    assert model.count_params() == 1_625_281
    assert [type(layer).__name__ for layer in model.layers[1:]] == [
        "Conv2D", "MaxPooling2D", "Conv2D", "MaxPooling2D", "Flatten", "Dense", "Dense",
    ]  # fmt: skip


@pytest.mark.parametrize("architecture", CHOICES["architecture"])
@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_every_architecture_answers_float32_probabilities(
    architecture: str, precision: str
) -> None:
    config = RunConfig(architecture=architecture, precision=precision, image_width=40)
    model = architectures.build_model(config)
    answer = model(np.random.default_rng(0).random((3, 64, 40, 3), np.float32), training=False)
    assert answer.dtype == tf.float32
    assert answer.shape == (3, 1)
    assert keras.config.dtype_policy().name == "float32"  # nothing is left behind


def test_every_architecture_that_can_be_built_can_be_chosen() -> None:
    assert tuple(architectures.BODIES) == CHOICES["architecture"]


def test_images_too_small_for_the_architecture_are_refused() -> None:
    with pytest.raises(InputError, match=r"large enough for cnn\. Received: 4x4"):
        architectures.build_model(RunConfig(image_height=4, image_width=4))
