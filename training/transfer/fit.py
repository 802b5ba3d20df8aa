"""Trains a head on a backbone's features, and the backbone's last layers if that is asked for."""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from foundation.command_line import raise_if_interrupted
from training import run
from training.config import FINE_TUNE_RATE, RunConfig
from training.data import pipeline
from training.data.prepared import PreparedData
from training.decision import metrics
from training.learning import loop, recipe
from training.transfer import backbone, features

logger = logging.getLogger(__name__)

STRENGTHS: Final = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Of the logistic regression, scikit-learn's C, on features of mean 0 and deviation 1."""

MOST_STEPS: Final = 2000


def fit(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    data: PreparedData,
    config: RunConfig,
    folder: Path,
    interrupted: Path | None,
    weights: str,
    taught: NDArray[np.float32] | None = None,
) -> loop.Progress:
    """Trains a model whose backbone has its weights, and leaves the best ones in it.

    Args:
        model: of architectures.build_model.
        strategy: see training/learning/devices.py.
        data: images of training and validation.
        config: of the run.
        folder: receives TensorBoard's curves, and checkpoints while the backbone is trained.
        interrupted: the folder of an interrupted run to go on from; None starts afresh.
        weights: SHA-256 of the backbone's file.
        taught: a teacher's probabilities of the training images, float32 [N, K].

    Raises:
        InputError: as of loop.train, or the images have no soft labels where they are asked for.
    """
    network = model.get_layer(backbone.NAME)
    network.trainable = False
    store = features.Store(network, weights, config)
    train = [store.of(data, "train", variant) for variant in features.variants(config)]
    held = store.of(data, "validation")
    wanted = data.training_targets(taught)
    seen = (np.concatenate(train), np.concatenate([wanted] * len(train)))
    watched = (held, data.targets("validation"))
    # of both heads: the columns of a backbone differ by a factor of a hundred
    mean, deviation = seen[0].mean(axis=0), seen[0].std(axis=0)
    scale = np.where(deviation > 1e-6, deviation, 1.0)
    scaled = tuple(((rows - mean) / scale, targets) for rows, targets in (seen, watched))
    if config.head == "trained":
        progress = _trained(model, strategy, scaled, data, folder)
    else:
        progress = _logistic(model, scaled, data)
    head = model.layers[-1]
    kernel, bias = head.get_weights()
    folded = kernel / scale[:, np.newaxis]
    head.set_weights([folded, bias - mean @ folded])
    if config.fine_tune_epochs:
        images = data.for_loop(folder / run.CACHE, taught)
        progress = _fine_tuned(model, strategy, images, config, folder, interrupted, progress)
    return progress


_Rows = tuple[NDArray[np.float32], NDArray[Any]]
"""Features [N, F] and targets [N]; of training maybe [N, K], see data/targets.py."""


def _logistic(model: keras.Model, rows: tuple[_Rows, ...], data: PreparedData) -> loop.Progress:
    """Fits a logistic regression of each strength, and keeps validation's best."""
    (seen, wanted), (held, held_targets) = rows
    seen, targets, weights = _weighed(seen, wanted, len(data.dataset.class_names))
    if data.class_weights is not None:
        weights = weights * data.class_weights[targets]
    found: list[tuple[float, float, LogisticRegression]] = []
    started = time.monotonic()
    for strength in STRENGTHS:
        raise_if_interrupted()
        with warnings.catch_warnings():
            # said below: it is one more strength among others
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = LogisticRegression(C=strength, max_iter=MOST_STEPS)
            fitted.fit(seen, targets, weights)
        loss = metrics.log_loss(held_targets, fitted.predict_proba(held).astype(np.float32))
        if fitted.n_iter_.max() >= MOST_STEPS:
            logger.info("strength %g: not converged in %d steps", strength, MOST_STEPS)
        found.append((loss, strength, fitted))
    loss, strength, best = min(found, key=lambda one: one[0])
    _say_edge(strength)
    kernel, bias = best.coef_.T, best.intercept_
    model.layers[-1].set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
    held_said = best.predict_proba(held).astype(np.float32)
    said = np.log(np.maximum(best.predict_proba(seen), 1e-7))[np.arange(len(seen)), targets]
    figures = {
        "epoch": 1,
        "loss": -float(np.average(said, weights=weights)),
        "validation_loss": loss,
        "validation_accuracy": float(np.mean(held_said.argmax(axis=1) == held_targets)),
        "validation_roc_auc": metrics.roc_auc(held_targets, held_said),
        "seconds": time.monotonic() - started,
        "images_per_s": len(seen) * len(STRENGTHS) / (time.monotonic() - started),
    }
    logger.info(
        "logistic regression on %d features, strength %g: loss %.4f  validation: loss %.4f  "
        "ROC-AUC %s",
        *(seen.shape[1], strength, figures["loss"], loss),
        "-" if figures["validation_roc_auc"] is None else f"{figures['validation_roc_auc']:.3f}",
    )
    return loop.Progress(next_epoch=1, best_epoch=0, best_loss=loss, history=[figures])


def _weighed(
    seen: NDArray[np.float32], wanted: NDArray[np.float32], classes: int
) -> tuple[NDArray[np.float32], NDArray[np.int_], NDArray[np.float32]]:
    """A row for each class that a target gives a share to, and that share as its weight."""
    if classes == 2:
        shares = np.stack([1 - wanted, wanted], axis=1)
    elif wanted.ndim == 2:
        shares = wanted
    else:
        shares = np.eye(classes, dtype=np.float32)[wanted.astype(int)]
    places, targets = np.nonzero(shares)
    return seen[places], targets, shares[places, targets]


def _say_edge(strength: float) -> None:
    if strength in (STRENGTHS[0], STRENGTHS[-1]):
        logger.info("the best strength, %g, is the last one that was tried", strength)


def _trained(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    rows: tuple[_Rows, ...],
    data: PreparedData,
    folder: Path,
) -> loop.Progress:
    """Trains the last layer alone, by the loop that trains whole networks."""
    (seen, targets), (held, held_targets) = rows
    config = data.config
    steps = math.ceil(len(seen) / config.batch_size)
    with strategy.scope():
        inputs = keras.Input(seen.shape[1:], dtype="float32")
        head = keras.Model(
            inputs, keras.layers.Dense.from_config(model.layers[-1].get_config())(inputs)
        )
        optimizer = recipe.optimizer_for(config, steps)

    def epoch(number: int) -> tf.data.Dataset:
        batches = tf.data.Dataset.from_tensor_slices((seen, targets.astype(np.float32)))
        seed = config.seed * 100_003 + number
        return pipeline.batched(batches.shuffle(len(seen), seed=seed), config)

    watched = tf.data.Dataset.from_tensor_slices((held, held_targets.astype(np.float32)))
    trained = loop.Data(
        epoch_batches=epoch,
        steps=steps,
        validation=pipeline.batched(watched, config),
        validation_targets=held_targets,
        classes=len(data.dataset.class_names),
        class_weights=data.class_weights,
    )
    with tempfile.TemporaryDirectory(dir=folder) as made:  # its checkpoints are of seconds
        own = Path(made)
        progress = loop.train(head, optimizer, strategy, trained, config, own, None)
        shutil.copytree(own / run.TENSORBOARD, folder / run.TENSORBOARD, dirs_exist_ok=True)
    model.layers[-1].set_weights(head.layers[-1].get_weights())
    return progress


def _fine_tuned(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    images: loop.Data,
    config: RunConfig,
    folder: Path,
    interrupted: Path | None,
    of_head: loop.Progress,
) -> loop.Progress:
    """Trains head and last layers together; left out where validation gets no better."""
    network = model.get_layer(backbone.NAME)
    network.trainable = True
    weighty = [layer for layer in _leaves(network) if layer.weights]
    for place, layer in enumerate(weighty):
        # The averages of batch normalisation are those of ImageNet's million images.
        normal = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = place >= len(weighty) // 2 and not normal
    before = model.get_weights()
    config = dataclasses.replace(
        config,
        epochs=config.fine_tune_epochs,
        learning_rate=config.fine_tune_learning_rate or FINE_TUNE_RATE,
    )
    with strategy.scope():
        optimizer = recipe.optimizer_for(config, images.steps)
    tuned = loop.train(model, optimizer, strategy, images, config, folder, interrupted)
    if tuned.best_loss < of_head.best_loss:
        return tuned
    logger.warning(
        "fine-tuning made nothing better (validation loss %.4f, the head alone %.4f): left out",
        *(tuned.best_loss, of_head.best_loss),
    )
    model.set_weights(before)
    return of_head


def _leaves(layer: keras.Layer) -> list[keras.Layer]:
    """The layers of a model and of those in it, in their order."""
    if not isinstance(layer, keras.Model):
        return [layer]
    return [leaf for part in layer.layers for leaf in _leaves(part)]
