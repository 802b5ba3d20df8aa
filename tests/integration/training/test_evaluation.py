"""Architectures, and what they answer."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from foundation.command_line import InputError
from training import architectures
from training.config import CHOICES, RunConfig
from training.learning import evaluation


def test_the_predictor_keeps_the_order_over_batches() -> None:
    images = keras.Input((2, 2, 3))
    model = keras.Model(images, keras.ops.mean(images, axis=(1, 2))[:, :1])
    values = np.linspace(0, 1, 7, dtype=np.float32)
    batches = tf.data.Dataset.from_tensor_slices(
        (np.broadcast_to(values[:, None, None, None], (7, 2, 2, 3)), np.zeros(7))
    ).batch(3)
    found = evaluation.Predictor(model).probabilities(batches)
    np.testing.assert_allclose(found, np.stack([1 - values, values], axis=1))


def test_the_default_architecture_is_the_one_agreed_on() -> None:
    model = architectures.build_model(RunConfig())
    assert model.count_params() == 1_625_281
    assert [type(layer).__name__ for layer in model.layers[1:]] == [
        "Conv2D", "MaxPooling2D", "Conv2D", "MaxPooling2D", "Flatten", "Dense", "Dense",
    ]  # fmt: skip


@pytest.mark.parametrize("architecture", CHOICES["architecture"])
@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("classes", [2, 5])
def test_every_architecture_answers_float32_probabilities(
    architecture: str, precision: str, classes: int
) -> None:
    config = RunConfig(architecture=architecture, precision=precision, image_width=40)
    model = architectures.build_model(config, classes)
    answer = model(np.random.default_rng(0).random((3, 64, 40, 3), np.float32), training=False)
    assert answer.dtype == tf.float32
    assert answer.shape == (3, 1 if classes == 2 else classes)
    if classes > 2:
        np.testing.assert_allclose(tf.reduce_sum(answer, axis=1), 1, rtol=1e-5)
    assert keras.config.dtype_policy().name == "float32"  # nothing is left behind


def test_every_architecture_that_can_be_built_can_be_chosen() -> None:
    assert tuple(architectures.BODIES) == CHOICES["architecture"]


def test_images_too_small_for_the_architecture_are_refused() -> None:
    with pytest.raises(InputError, match=r"large enough for cnn\. Received: 4x4"):
        architectures.build_model(RunConfig(image_height=4, image_width=4))
