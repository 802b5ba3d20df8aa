"""The training loop: steps, validation, early stopping, going on after an interruption.

A loop of our own, because Keras 3.15's fit() fails under MultiWorkerMirroredStrategy (it reduces a
PerReplica value outside of a replica; keras-team/keras issue 20585). This one gives the same losses
on one device, on mirrored devices and on several machines.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from foundation.command_line import InputError, raise_if_interrupted
from foundation.progress import Progress as ProgressLine
from training import run
from training.config import RunConfig
from training.decision import metrics
from training.learning import checkpoints, devices, evaluation, recipe

logger = logging.getLogger(__name__)


@dataclasses.dataclass(kw_only=True)
class Progress:
    """How far a run has come; saved with the weights after every epoch."""

    next_epoch: int = 0
    best_epoch: int = -1
    best_loss: float = math.inf
    diverged_epoch: int | None = None
    """The epoch, from 0, that ended training because the loss or a weight was not finite."""
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    """Figures of each whole epoch."""

    def add(self, figures: dict[str, float], config: RunConfig) -> bool:
        """Counts a whole epoch; returns whether it is the best so far."""
        standing = self.history[self.best_epoch] if self.best_epoch >= 0 else None
        is_better = standing is None or _goodness(figures, config) > _goodness(standing, config)
        if is_better:
            self.best_loss, self.best_epoch = figures["validation_loss"], self.next_epoch
        self.history.append(figures)
        self.next_epoch += 1
        return is_better


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """What the loop trains on and watches."""

    epoch_batches: Callable[[int], tf.data.Dataset]
    """epoch from 0 -> batches (float32 [B, H, W, 3], float32 [B] or [B, K]); see recipe.py"""
    steps: int
    """batches an epoch"""
    validation: tf.data.Dataset
    """batches as those of training, in a fixed order"""
    validation_targets: np.ndarray
    """int [V], 0 to K-1"""
    classes: int = 2
    """K"""
    class_weights: np.ndarray | None = None
    """float32 [K]; None weighs all images alike"""


def train(
    model: keras.Model,
    optimizer: keras.Optimizer,
    strategy: tf.distribute.Strategy,
    data: Data,
    config: RunConfig,
    folder: Path,
    interrupted: Path | None,
) -> Progress:
    """Trains until validation no longer improves, and leaves the best weights in the model.

    Going on from a checkpoint gives the result of an uninterrupted run, since every random choice
    is a function of the seed and the epoch.

    Args:
        model: built inside of the strategy's scope.
        optimizer: likewise.
        strategy: see training/learning/devices.py.
        data: batches of training and validation.
        config: epochs, patience, batch size.
        folder: receives checkpoint/ and tensorboard/; this process's own.
        interrupted: the folder of an interrupted run to go on from; None starts afresh.

    Raises:
        InputError: several machines do not see the same checkpoint, it is of another model, or
            training diverged before there was a best epoch.
    """
    with strategy.scope():
        optimizer.build(model.trainable_variables)
    # By list, not by object: a model does not track its dropout layers' random states as objects.
    variables = [*model.variables, *optimizer.variables]
    progress, best = _begun(variables, strategy, interrupted)
    train_step = _train_step(model, optimizer, strategy, config.batch_size, data.class_weights)
    predictor = evaluation.Predictor(model)
    writer = tf.summary.create_file_writer(str(folder / run.TENSORBOARD))
    for epoch in range(progress.next_epoch, config.epochs):
        if epoch - progress.best_epoch > config.patience and progress.best_epoch >= 0:
            watched = (config.watch or "loss").replace("roc_auc", "ROC-AUC")
            logger.info("no better validation %s in %d epochs: stopping", watched, config.patience)
            break
        figures = _epoch(train_step, strategy, data, config, epoch)
        values = _values(variables, strategy)
        weights = values[: len(model.variables)]
        if config.weight_averaging is not None:
            optimizer.finalize_variable_values(model.trainable_variables)
            weights = _values(model.variables, strategy)
        if math.isfinite(figures["loss"]):
            figures |= _validate(predictor, strategy, data)
        if config.weight_averaging is not None:
            _assign(model.variables, values[: len(model.variables)])
        if not _finite(strategy, figures, weights):
            progress.diverged_epoch = epoch
            break
        if progress.add(figures, config):
            best = weights
        now = checkpoints.Checkpoint(
            progress=dataclasses.asdict(progress), variables=values, best=best
        )
        checkpoints.save(folder / run.CHECKPOINTS, progress.next_epoch, now)
        _report(writer, config, progress)
    writer.close()
    if progress.diverged_epoch is not None:
        _tell_divergence(progress, config)
    _assign(model.variables, best)
    return progress


def _begun(
    variables: Sequence[keras.Variable], strategy: tf.distribute.Strategy, interrupted: Path | None
) -> tuple[Progress, list[np.ndarray]]:
    """Gives the variables the values of the last checkpoint, if there is one.

    Returns:
        how far training is, and the best weights so far.
    """
    progress, best = Progress(), []
    last = checkpoints.newest(interrupted / run.CHECKPOINTS) if interrupted else None
    if last:
        _assign(variables, last.variables)
        progress, best = Progress(**last.progress), last.best
    if _mean(strategy, progress.next_epoch) != progress.next_epoch:
        raise InputError(
            "Expected all machines to go on from the same epoch. Received: different checkpoints. "
            "Give all of them the same --runs folder on a shared file system."
        )
    if last:
        logger.info("going on after epoch %d", progress.next_epoch)
    elif interrupted:
        logger.warning("no checkpoint is left in %s: starting with the first epoch", interrupted)
    return progress, best


def _values(
    variables: Sequence[keras.Variable], strategy: tf.distribute.Strategy
) -> list[np.ndarray]:
    return [strategy.extended.read_var(variable.value).numpy() for variable in variables]


def _goodness(figures: dict[str, float], config: RunConfig) -> float:
    """What is watched of an epoch, so that more is better."""
    if config.watch in (None, "loss"):
        return -figures["validation_loss"]
    value = figures[f"validation_{config.watch}"]
    return -math.inf if value is None else value


def _assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Gives variables the values of a checkpoint."""
    shapes = [tuple(variable.shape) for variable in variables]
    received = [value.shape for value in values]
    if shapes != received:
        raise InputError(
            f"Expected a checkpoint of this model. Received: {len(received)} variables in place of "
            f"{len(shapes)}, or of other shapes. Leave --resume out to start over."
        )
    for variable, value in zip(variables, values):
        variable.assign(value)


def _finite(
    strategy: tf.distribute.Strategy, figures: dict[str, float], weights: Sequence[np.ndarray]
) -> bool:
    """Whether an epoch's losses and weights are numbers, on all machines.

    The losses alone do not tell: ReLU makes a NaN 0, and such a model answers all images alike.
    """
    finite = math.isfinite(figures.get("validation_loss", math.nan)) and all(
        np.isfinite(value).all() for value in weights
    )
    return math.isfinite(_mean(strategy, 0.0 if finite else math.nan))


def _tell_divergence(progress: Progress, config: RunConfig) -> None:
    """Warns that training ended early.

    Raises:
        InputError: there is no epoch whose weights could be kept.
    """
    told = f"not finite in epoch {progress.diverged_epoch + 1} of {config.epochs}"
    if progress.best_epoch < 0:
        raise InputError(
            f"Expected loss and weights to stay finite. Received: {told}, at --learning-rate "
            f"{config.learning_rate}, and no whole epoch before it. Lower --learning-rate."
        )
    logger.warning(
        "the loss or a weight is %s: stopping; the weights of the best epoch before it, %d, are "
        "kept. A lower --learning-rate than %g may go further",
        *(told, progress.best_epoch + 1, config.learning_rate),
    )


def _train_step(
    model: keras.Model,
    optimizer: keras.Optimizer,
    strategy: tf.distribute.Strategy,
    batch_size: int,
    class_weights: np.ndarray | None,
) -> Callable:
    """One step over all replicas; returns the sum of the images' losses and their number."""
    weights = None if class_weights is None else tf.constant(class_weights, tf.float32)

    def on_replica(images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            losses = recipe.cross_entropy(targets, model(images, training=True), weights)
            total = tf.reduce_sum(losses)
            # Gradients are summed over replicas; every image weighs the same in every batch.
            scaled = optimizer.scale_loss(total / batch_size)
        gradients = tape.gradient(scaled, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return total, tf.cast(tf.shape(images)[0], tf.float32)

    @tf.function(reduce_retracing=True)
    def step(batch: tuple) -> tuple[tf.Tensor, tf.Tensor]:
        loss, count = strategy.run(on_replica, args=batch)
        return strategy.reduce("SUM", loss, axis=None), strategy.reduce("SUM", count, axis=None)

    return step


def _epoch(
    train_step: Callable,
    strategy: tf.distribute.Strategy,
    data: Data,
    config: RunConfig,
    epoch: int,
) -> dict[str, float]:
    batches = devices.distributed(strategy, data.epoch_batches(epoch))
    started = time.monotonic()
    loss = images = waited = 0.0
    title = f"epoch {epoch + 1}/{config.epochs}"
    with ProgressLine(title, total=data.steps, unit="steps") as shown:
        coming = iter(batches)
        while True:
            asked = time.monotonic()
            batch = next(coming, None)
            waited += time.monotonic() - asked
            if batch is None:
                break
            raise_if_interrupted()
            batch_loss, batch_images = train_step(batch)
            loss += float(batch_loss)
            images += float(batch_images)
            if not math.isfinite(loss):  # no later step can mend it
                break
            shown.note(f"loss {loss / images:.4f}")
            shown.add()
    if not images:
        raise InputError(
            "Expected a batch to hold an image for each device at least. Received: "
            f"{strategy.num_replicas_in_sync} devices, and no batch of so many images, at "
            f"--batch-size {config.batch_size}. Give more images, a larger --batch-size, or fewer "
            "devices."
        )
    seconds = time.monotonic() - started
    return {
        "epoch": epoch + 1,
        "loss": loss / images,
        "seconds": seconds,
        "images_per_s": images / seconds,
        "input_share": waited / seconds,  # of the time, waiting for images
    }


def _validate(
    predictor: evaluation.Predictor, strategy: tf.distribute.Strategy, data: Data
) -> dict[str, float]:
    probabilities = predictor.probabilities(data.validation)
    targets = data.validation_targets[: len(probabilities)]
    # Machines may differ in the last digits (batch normalisation's averages are local), but must
    # agree on when to stop: else one waits for ever for the others.
    loss = _mean(strategy, metrics.log_loss(targets, probabilities))
    if not math.isfinite(loss):
        return {"validation_loss": loss}
    # argmax takes the first of equal ones; of two classes 0.5 is the positive one's
    decided = probabilities[:, 1] >= 0.5 if data.classes == 2 else probabilities.argmax(axis=1)
    return {
        "validation_loss": loss,
        "validation_accuracy": float(np.mean(decided == targets)),
        "validation_roc_auc": metrics.roc_auc(targets, probabilities),
    }


def _mean(strategy: tf.distribute.Strategy, value: float) -> float:
    """The mean over all machines, the same on each."""
    spread = strategy.run(lambda: tf.constant(value, tf.float64))
    return float(strategy.reduce("MEAN", spread, axis=None))


def _report(writer: tf.summary.SummaryWriter, config: RunConfig, progress: Progress) -> None:
    figures = progress.history[-1]
    with writer.as_default(step=progress.next_epoch):
        for name, value in figures.items():
            if name != "epoch" and value is not None:
                tf.summary.scalar(name, value)
    writer.flush()
    auc = figures["validation_roc_auc"]
    logger.info(
        "epoch %d/%d  loss %.4f  validation: loss %.4f  accuracy %.3f  ROC-AUC %s%s  (%.1f s)",
        progress.next_epoch,
        config.epochs,
        figures["loss"],
        figures["validation_loss"],
        figures["validation_accuracy"],
        "-" if auc is None else f"{auc:.3f}",
        "  best so far" if progress.best_epoch == progress.next_epoch - 1 else "",
        figures["seconds"],
    )
