"""The training loop on a model of two numbers: precision, early stopping, the weights that stay."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from foundation.command_line import InputError
from training.config import RunConfig
from training.decision import metrics
from training.learning import checkpoints, evaluation, loop, recipe

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
    optimizer = recipe.optimizer_for(config, data.steps)
    interrupted = folder if resume else None
    return model, loop.train(model, optimizer, strategy, data, config, folder, interrupted)


@pytest.mark.parametrize(
    "precision",
    ["float32", pytest.param("mixed_float16", marks=pytest.mark.thorough), "mixed_bfloat16"],
)
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


def test_the_time_spent_waiting_for_images_is_told(tmp_path: Path) -> None:
    data = _data()

    def slow(images: np.ndarray) -> np.ndarray:
        time.sleep(0.25)
        return images

    def batches(epoch: int) -> tf.data.Dataset:
        found = data.epoch_batches(epoch)
        if epoch < 1:
            return found
        return found.map(
            lambda images, targets: (
                tf.ensure_shape(tf.numpy_function(slow, [images], tf.float32), images.shape),
                targets,
            )
        )

    config = RunConfig(epochs=2, patience=2, batch_size=16)
    _, progress = _train(config, dataclasses.replace(data, epoch_batches=batches), tmp_path)
    quick, waiting = (figures["input_share"] for figures in progress.history)
    assert 0 <= quick < waiting <= 1
    assert waiting * progress.history[1]["seconds"] > 4 * 0.2


class _StopError(Exception):
    pass


def _stopped(config: RunConfig, data: loop.Data, folder: Path, *, epochs: int) -> None:
    """Ends a training with the beginning of an epoch; the schedule is that of the whole."""

    def batches(epoch: int) -> tf.data.Dataset:
        if epoch == epochs:
            raise _StopError
        return data.epoch_batches(epoch)

    with pytest.raises(_StopError):
        _train(config, dataclasses.replace(data, epoch_batches=batches), folder)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoint").iterdir())


RECIPE = {
    "optimizer": "adamw",
    "schedule": "cosine",
    "warmup_epochs": 1,
    "weight_averaging": 0.9,
    "watch": "roc_auc",
}


@pytest.mark.parametrize(
    ("damaged", "settings"),
    [
        *((damaged, {}) for damaged in (0, 1, 2)),
        pytest.param(1, {"precision": "mixed_float16"}, marks=pytest.mark.thorough),
        pytest.param(1, RECIPE, marks=pytest.mark.thorough),
        (1, {**RECIPE, "precision": "mixed_float16"}),
    ],
)
def test_an_interrupted_training_goes_on_to_the_same_result_from_what_is_whole(
    damaged: int, settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = RunConfig(epochs=5, patience=9, learning_rate=0.02, batch_size=16, **settings)
    (tmp_path / "whole").mkdir()
    whole, expected = _train(config, _data(), tmp_path / "whole")
    folder = tmp_path / "run [1]*?"
    folder.mkdir()
    _stopped(config, _data(), folder, epochs=3)
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
        return recipe.cross_entropy(tf.ones([1]), model(logits))

    # Keras keeps probabilities 1e-7 away from 0; from the logit it would be 100.
    assert losses(tf.constant([[-100.0]])).numpy() == pytest.approx([16.118], abs=1e-3)


def test_the_learning_rate_rises_and_falls_as_the_schedule_says(tmp_path: Path) -> None:
    config = RunConfig(epochs=10, learning_rate=0.1, schedule="cosine", warmup_epochs=2)
    rate = recipe.optimizer_for(config, steps=4)._learning_rate
    at = [float(rate(step)) for step in (0, 4, 8, 24, 40)]
    np.testing.assert_allclose(at, [0, 0.05, 0.1, 0.05, 0], atol=1e-6)
    stays = RunConfig(epochs=10, learning_rate=0.1, warmup_epochs=2)
    rate = recipe.optimizer_for(stays, steps=4)._learning_rate
    np.testing.assert_allclose([float(rate(step)) for step in (4, 8, 40)], [0.05, 0.1, 0.1])


def test_averaged_weights_are_validated_and_kept_and_training_goes_on_from_its_own(
    tmp_path: Path,
) -> None:
    """The last epoch's average is that of all steps' weights, computed here once more."""
    seen: list[list[np.ndarray]] = []
    config = RunConfig(
        epochs=3, patience=9, learning_rate=0.05, batch_size=16, weight_averaging=0.8
    )
    for epochs in (1, 2, 3):
        own = tmp_path / f"{epochs}"
        own.mkdir()
        _train(dataclasses.replace(config, epochs=epochs), _data(), own)
        saved = checkpoints.newest(own / "checkpoint")
        assert saved is not None
        seen.append(list(saved.variables[:4]))
    (tmp_path / "plain").mkdir()
    plain = dataclasses.replace(config, weight_averaging=None)
    _train(plain, _data(), tmp_path / "plain")
    of_plain = checkpoints.newest(tmp_path / "plain" / "checkpoint")
    assert of_plain is not None
    # the average changes nothing of what is trained
    for one, other in zip(seen[-1], of_plain.variables):
        np.testing.assert_array_equal(one, other)
    model, progress = _train(config, _data(), tmp_path / "3", resume=True)
    assert progress.best_epoch == 2
    kept = model.get_weights()
    assert any(not np.allclose(one, other) for one, other in zip(kept, seen[-1]))
    told = evaluation.Predictor(model).probabilities(_data().validation)
    assert metrics.log_loss(TARGETS, told) == pytest.approx(progress.best_loss, rel=1e-5)


@pytest.mark.parametrize("watch", ["loss", "roc_auc", "accuracy"])
def test_the_best_epoch_is_the_best_by_what_is_watched(watch: str, tmp_path: Path) -> None:
    config = RunConfig(epochs=12, patience=12, learning_rate=0.05, batch_size=16, watch=watch)
    _, progress = _train(config, _data(), tmp_path)
    values = [figures[f"validation_{watch}"] for figures in progress.history]
    best = np.argmin(values) if watch == "loss" else np.argmax(values)
    assert progress.best_epoch == best


def test_weights_of_classes_are_in_the_loss() -> None:
    answers = tf.constant([[0.2], [0.6], [0.7]])
    targets = tf.constant([0.0, 1.0, 0.25])
    plain = recipe.cross_entropy(targets, answers).numpy()
    weighed = recipe.cross_entropy(targets, answers, tf.constant([1.0, 3.0])).numpy()
    np.testing.assert_allclose(weighed, plain * [1, 3, 1.5], rtol=1e-6)
    many = tf.constant([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    places, shares = tf.constant([1.0, 2.0]), tf.constant([[0.0, 1, 0], [0, 0, 1]])
    weights = tf.constant([1.0, 2.0, 5.0])
    for one in (places, shares):
        np.testing.assert_allclose(recipe.cross_entropy(one, many), -np.log([0.5, 0.8]), rtol=1e-5)
        np.testing.assert_allclose(
            recipe.cross_entropy(one, many, weights), -np.log([0.5, 0.8]) * [2, 5], rtol=1e-5
        )
