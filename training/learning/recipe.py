"""What a step is made of: the optimizer with its schedule, and the loss."""

from __future__ import annotations

import keras
import tensorflow as tf

from training.config import WARMUP_EPOCHS, WEIGHT_DECAY, RunConfig


def optimizer_for(config: RunConfig, steps: int) -> keras.Optimizer:
    """Adam or AdamW; with loss scaling where float16 would lose small gradients.

    Args:
        config: of the run.
        steps: an epoch.
    """
    rate = _learning_rate(config, steps)
    averaging = config.weight_averaging
    average = {} if averaging is None else {"use_ema": True, "ema_momentum": averaging}
    if config.optimizer == "adamw":
        decay = WEIGHT_DECAY if config.weight_decay is None else config.weight_decay
        optimizer: keras.Optimizer = keras.optimizers.AdamW(rate, weight_decay=decay, **average)
    else:
        optimizer = keras.optimizers.Adam(rate, **average)
    if config.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def _learning_rate(
    config: RunConfig, steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    cosine = config.schedule == "cosine"
    warmup = config.warmup_epochs
    if warmup is None:
        warmup = min(WARMUP_EPOCHS, config.epochs - 1) if cosine else 0
    if not cosine and not warmup:
        return config.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=(config.epochs - warmup) * steps,
        alpha=0.0 if cosine else 1.0,  # 1: it stays where the warm-up led
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup * steps,
    )


def cross_entropy(
    targets: tf.Tensor, answers: tf.Tensor, class_weights: tf.Tensor | None = None
) -> tf.Tensor:
    """The loss of each image, in nats.

    Args:
        targets: float32 [B], the place of the class, or the probability of the positive one of
            two; or float32 [B, K], the probability of each.
        answers: float32 [B, 1] or [B, K], the model's probabilities.
        class_weights: float32 [K]; None weighs all classes alike.

    Returns:
        float32 [B].
    """
    if answers.shape[-1] == 1:
        # Cut out first: given the sigmoid's own output, Keras would compute with what went into
        # it, to other last digits, and a run of the same settings would no longer be the same run.
        probabilities = answers[:, 0]
        losses = keras.losses.binary_crossentropy(
            targets[:, tf.newaxis], probabilities[:, tf.newaxis]
        )
    elif targets.shape.rank == 2:
        losses = keras.losses.categorical_crossentropy(targets, answers)
    else:
        losses = keras.losses.sparse_categorical_crossentropy(targets[:, tf.newaxis], answers)
    if class_weights is None:
        return losses
    return losses * _weights(targets, answers.shape[-1], class_weights)


def _weights(targets: tf.Tensor, outputs: int, class_weights: tf.Tensor) -> tf.Tensor:
    """The weight of each image, by the classes that its target names: float32 [B]."""
    if outputs == 1:
        return class_weights[0] + (class_weights[1] - class_weights[0]) * targets
    if targets.shape.rank == 2:
        return tf.linalg.matvec(targets, class_weights)
    return tf.gather(class_weights, tf.cast(targets, tf.int32))
