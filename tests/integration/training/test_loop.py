"""The training loop on a model of two numbers: precision, early stopping, the weights that stay."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from foundation.command_line import InputError
from training import checkpoints, evaluation, loop
from training.config import RunConfig
from training.decision import metrics

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


def _train(
    config: RunConfig, data: loop.Data, folder: Path, *, resume: bool = False
) -> tuple[keras.Model, loop.Progress]:
    keras.utils.set_random_seed(1)
    model = _model(config.precision)
    strategy = tf.distribute.get_strategy()
    optimizer = loop.optimizer_for(config)
    interrupted = folder if resume else None
    return model, loop.train(model, optimizer, strategy, data, config, folder, interrupted)


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
    assert metrics.log_loss(1 - TARGETS, kept) == pytest.approx(losses[best], rel=1e-5)


def test_the_loss_of_an_epoch_is_the_mean_over_its_images(tmp_path: Path) -> None:
    config = RunConfig(epochs=1, learning_rate=1e-9, batch_size=16)
    model, progress = _train(config, _data(), tmp_path)
    probabilities = evaluation.Predictor(model).probabilities(_data().validation)
    assert progress.history[0]["loss"] == pytest.approx(
        metrics.log_loss(TARGETS, probabilities), rel=1e-4
    )
    assert json.loads(json.dumps(progress.history)) == progress.history


def _checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoint").iterdir())


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_an_interrupted_training_goes_on_to_the_same_result_from_what_is_whole(
    damaged: int, precision: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = RunConfig(epochs=5, patience=9, learning_rate=0.02, batch_size=16, precision=precision)
    (tmp_path / "whole").mkdir()
    whole, expected = _train(config, _data(), tmp_path / "whole")
    folder = tmp_path / "run [1]*?"
    folder.mkdir()
    _train(dataclasses.replace(config, epochs=3), _data(), folder)
    assert [path.name for path in _checkpoints(folder)] == ["epoch-00002", "epoch-00003"]
    for path in _checkpoints(folder)[::-1][:damaged]:
        path.write_bytes(path.read_bytes()[:1000])

    caplog.clear()
    resumed, progress = _train(config, _data(), folder, resume=True)

    said = ["going on after epoch 3", "going on after epoch 2", "starting with the first epoch"]
    assert said[damaged] in caplog.text
    assert caplog.text.count("is cut off or damaged") == damaged
    assert [row["loss"] for row in progress.history] == [row["loss"] for row in expected.history]
    for one, other in zip(resumed.variables, whole.variables):
        np.testing.assert_array_equal(one, other)


def test_the_best_weights_outlive_an_interruption(tmp_path: Path) -> None:
    # against the targets turned round, the first epoch stays the best one
    config = RunConfig(epochs=3, patience=9, learning_rate=0.05, batch_size=16)
    data = _data(1 - TARGETS)
    best, _ = _train(dataclasses.replace(config, epochs=1), data, tmp_path)
    _train(config, data, tmp_path, resume=True)
    resumed, progress = _train(dataclasses.replace(config, epochs=4), data, tmp_path, resume=True)
    assert progress.best_epoch == 0
    for one, other in zip(resumed.variables, best.variables):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    config = RunConfig(epochs=1, batch_size=16)
    _train(config, _data(), tmp_path)
    saved = checkpoints.newest(tmp_path / "checkpoint")
    for variables in (saved.variables[:-1], [value[..., None] for value in saved.variables]):
        other = dataclasses.replace(saved, variables=variables)
        checkpoints.save(tmp_path / "checkpoint", 1, other)
        with pytest.raises(InputError, match=r"a checkpoint of this model.*Leave --resume out"):
            _train(config, _data(), tmp_path, resume=True)


def _data_that_breaks(epoch_that_breaks: int, what: str = "loss") -> loop.Data:
    """From an epoch on, one target (for the loss) or one image (for the weights) is no number."""
    images, targets = IMAGES.copy(), TARGETS.copy()
    if what == "loss":
        targets[20] = np.nan
    else:  # ReLU hides it from the loss
        images[20, 0, 0, 0] = np.nan
    good = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(16)
    bad = tf.data.Dataset.from_tensor_slices((images, targets)).batch(16)
    return dataclasses.replace(
        _data(), epoch_batches=lambda epoch: bad if epoch >= epoch_that_breaks else good
    )


@pytest.mark.parametrize("what", ["loss", "weights"])
def test_what_is_not_finite_stops_training_and_keeps_the_best_epoch_before(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = RunConfig(epochs=9, patience=9, learning_rate=0.02, batch_size=16)
    (tmp_path / "whole").mkdir()
    whole, _ = _train(dataclasses.replace(config, epochs=2), _data(), tmp_path / "whole")
    model, progress = _train(config, _data_that_breaks(2, what), tmp_path)
    assert (progress.diverged_epoch, progress.next_epoch, progress.best_epoch) == (2, 2, 1)
    assert len(progress.history) == 2
    assert "the loss or a weight is not finite in epoch 3 of 9: stopping" in caplog.text
    assert "the best epoch before it, 2, are kept" in caplog.text
    for one, other in zip(model.variables, whole.variables):
        np.testing.assert_array_equal(one, other)
    assert [path.name for path in _checkpoints(tmp_path)] == ["epoch-00001", "epoch-00002"]


def test_a_validation_loss_that_is_not_finite_stops_training_too(tmp_path: Path) -> None:
    data = _data_that_breaks(99)
    broken = IMAGES.copy()
    broken[:, 0, 0, 0] = np.inf  # times weights of either sign: infinity minus infinity
    answers = [IMAGES, broken]  # of the first epoch, of the second

    def validation() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield answers.pop(0), TARGETS

    spec = (tf.TensorSpec([64, 4, 4, 3], tf.float32), tf.TensorSpec([64], tf.float32))
    data = dataclasses.replace(
        data, validation=tf.data.Dataset.from_generator(validation, output_signature=spec)
    )
    config = RunConfig(epochs=9, learning_rate=0.02, batch_size=16)
    _, progress = _train(config, data, tmp_path)
    assert (progress.diverged_epoch, progress.best_epoch) == (1, 0)


def test_a_loss_that_was_never_finite_is_refused_with_the_epoch(tmp_path: Path) -> None:
    config = RunConfig(epochs=9, learning_rate=0.02, batch_size=16)
    words = r"not finite in epoch 1 of 9, at --learning-rate 0\.02.*Lower --learning-rate"
    with pytest.raises(InputError, match=words):
        _train(config, _data_that_breaks(0), tmp_path)
    assert not (tmp_path / "checkpoint").exists()


def test_the_loss_of_two_classes_follows_from_the_probability_as_it_is() -> None:
    """A loss from the logits has other last digits: the same settings would give another run."""
    sigmoid = keras.layers.Dense(1, "sigmoid", use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((1,)), sigmoid])

    @tf.function
    def losses(logits: tf.Tensor) -> tf.Tensor:
        return loop._cross_entropy(tf.ones([1]), model(logits))

    # Keras keeps probabilities 1e-7 away from 0; from the logit it would be 100.
    assert losses(tf.constant([[-100.0]])).numpy() == pytest.approx([16.118], abs=1e-3)
