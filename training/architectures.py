"""The registry of architectures: settings in, Keras model out.

A model takes float32 [N, H, W, 3] in 0-1. Of two classes it answers float32 [N, 1], the
probability of the positive one; of more, float32 [N, K], that of each. Add one by writing a
function, naming it in BODIES, and its name in config.CHOICES, which is read without TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from foundation.command_line import InputError
from training import run
from training.config import RunConfig
from training.transfer import backbone


def _cnn(images: keras.KerasTensor) -> keras.KerasTensor:
    """Two convolutions and a dense layer: 1.6 million weights at 64x64."""
    x = layers.Conv2D(32, 3, activation="relu")(images)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(64, 3, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    return layers.Dense(128, activation="relu")(x)


def _cnn_batch_norm(images: keras.KerasTensor) -> keras.KerasTensor:
    """Four convolutions with batch normalisation, pooled over all positions: 0.16 million weights.

    Any image size costs the same number of weights.
    """
    x = images
    for index, width in enumerate((24, 48, 96, 128)):
        if index:
            x = layers.MaxPooling2D()(x)
        x = _convolved(x, width)
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    return layers.Dropout(0.3)(x)


def _cnn_residual(images: keras.KerasTensor) -> keras.KerasTensor:
    """Three residual blocks of two convolutions each: 0.31 million weights.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016: a block adds to what it
    was given, so that more layers are no harder to train.
    """
    x = _convolved(images, 32, strides=2)
    for index, width in enumerate((32, 64, 128)):
        if index:
            x = layers.MaxPooling2D()(x)
        shortcut = x if x.shape[-1] == width else _convolved(x, width, size=1)
        x = _convolved(_convolved(x, width), width, activation=False)
        x = layers.ReLU()(layers.Add()([x, shortcut]))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    return layers.Dropout(0.3)(x)


def _cnn_separable(images: keras.KerasTensor) -> keras.KerasTensor:
    """Depthwise separable convolutions with shortcuts: 0.08 million weights.

    Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017: one filter
    a channel and then a mixture of the channels, in a ninth of a convolution's weights.
    """
    x = _convolved(images, 32, strides=2)
    for width in (48, 96, 144):
        shortcut = layers.MaxPooling2D()(_convolved(x, width, size=1, activation=False))
        for activation in (True, False):
            x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
            x = _convolved(x, width, size=1, activation=activation)
        x = layers.ReLU()(layers.Add()([layers.MaxPooling2D()(x), shortcut]))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    return layers.Dropout(0.3)(x)


def _convolved(
    x: keras.KerasTensor, width: int, *, size: int = 3, strides: int = 1, activation: bool = True
) -> keras.KerasTensor:
    """A convolution with batch normalisation, and a rectifier unless the block adds first."""
    x = layers.Conv2D(width, size, strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if activation else x


BODIES: dict[str, Callable[[keras.KerasTensor], keras.KerasTensor]] = {
    "cnn": _cnn,
    "cnn_batch_norm": _cnn_batch_norm,
    "cnn_residual": _cnn_residual,
    "cnn_separable": _cnn_separable,
}
"""From images [N, H, W, 3] to features [N, F]; the last layer is the same for all."""


def trained_model(made: run.Run) -> keras.Model:
    """The model of a run, with its weights.

    Raises:
        InputError: the weights are cut, not finite, or of another model.
        OSError: they are missing, or may not be read.
    """
    model = build_model(made.config, len(made.class_names))
    with run.as_written(made.weights):
        model.load_weights(made.weights)
        for weight in model.weights:
            if not np.isfinite(weight.numpy()).all():
                raise ValueError(f"{weight.path} is not finite")
    return model


def build_model(config: RunConfig, classes: int = 2) -> keras.Model:
    """Builds the run's architecture with fresh weights, under the run's precision.

    Args:
        config: of the run.
        classes: how many there are, 2 or more.

    Raises:
        InputError: images too small for it.
    """
    body = BODIES[config.architecture] if config.backbone is None else backbone.build(config)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        images = keras.Input((config.image_height, config.image_width, 3), dtype="float32")
        features = body(images)
        # float32 whatever the policy: half precision answers a few hundred distinct probabilities
        units, activation = (1, "sigmoid") if classes == 2 else (classes, "softmax")
        answer = layers.Dense(units, activation=activation, dtype="float32", name="probability")(
            features
        )
    except ValueError as error:
        raise InputError(
            f"Expected images large enough for {config.name}. Received: "
            f"{config.image_height}x{config.image_width}. Use larger ones (64x64, say)."
        ) from error
    finally:
        keras.config.set_dtype_policy(policy)
    return keras.Model(images, answer, name=config.name)
