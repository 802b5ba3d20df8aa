"""The training loop on a model of two numbers: precision, early stopping, the weights that stay."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from training import evaluation, loop
from training.config import RunConfig

# Keras's own, when it saves weights under numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RANDOM = np.random.default_rng(2)
IMAGES = RANDOM.random((64, 4, 4, 3), np.float32)
TARGETS = (IMAGES.mean(axis=(1, 2, 3)) > IMAGES.mean()).astype(np.float32)


def _data(validation_targets: np.ndarray = TARGETS) -> loop.Data:
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(16)
    return loop.Data(
        epoch_batches=lambda epoch: batches,
        steps=4,
        validation=tf.data.Dataset.from_tensor_slices((IMAGES, validation_targets)).batch(16),
        validation_targets=validation_targets.astype(int),
    )


def _model(precision: str) -> keras.Model:
    images = keras.Input((4, 4, 3))
    features = keras.layers.Flatten()(images)
    features = keras.layers.Dense(8, activation="relu", dtype=precision)(features)
    return keras.Model(
        images, keras.layers.Dense(1, activation="sigmoid", dtype="float32")(features)
    )


def _train(config: RunConfig, data: loop.Data, folder: Path) -> tuple[keras.Model, loop.Progress]:
    keras.utils.set_random_seed(1)
    model = _model(config.precision)
    strategy = tf.distribute.get_strategy()
    optimizer = loop.optimizer_for(config)
    return model, loop.train(model, optimizer, strategy, data, config, folder, None)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_every_precision_learns(precision: str, tmp_path: Path) -> None:
    config = RunConfig(
        precision=precision, epochs=30, patience=30, learning_rate=0.02, batch_size=16
    )
    _, progress = _train(config, _data(), tmp_path)
    losses = [figures["validation_loss"] for figures in progress.history]
    assert losses[-1] < 0.8 * losses[0]
    assert progress.next_epoch == 30


def test_training_stops_when_validation_gets_no_better_and_keeps_the_best(tmp_path: Path) -> None:
    # against the targets turned round, every step of learning makes validation worse
    config = RunConfig(epochs=50, patience=3, learning_rate=0.05, batch_size=16)
    data = _data(1 - TARGETS)
    model, progress = _train(config, data, tmp_path)
    losses = [figures["validation_loss"] for figures in progress.history]
    best = int(np.argmin(losses))
    assert progress.best_epoch == best
    assert progress.next_epoch == best + 1 + 3
    kept = evaluation.Predictor(model).probabilities(data.validation)
    assert evaluation.log_loss(1 - TARGETS, kept) == pytest.approx(losses[best], rel=1e-5)


def test_the_loss_of_an_epoch_is_the_mean_over_its_images(tmp_path: Path) -> None:
    config = RunConfig(epochs=1, learning_rate=1e-9, batch_size=16)
    model, progress = _train(config, _data(), tmp_path)
    probabilities = evaluation.Predictor(model).probabilities(_data().validation)
    assert progress.history[0]["loss"] == pytest.approx(
        evaluation.log_loss(TARGETS, probabilities), rel=1e-4
    )
    assert json.loads(json.dumps(progress.history)) == progress.history
