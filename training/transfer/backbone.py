"""A network that was trained elsewhere: built, given its weights, cut, and read for features."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
from keras import layers

from foundation.command_line import InputError
from training.backbones import BACKBONES, Known
from training.config import RunConfig
from training.transfer import efficientnet_lite, torch_file

NAME = "backbone"
"""Of the layer that holds it in a run's model."""

STAGES = 3
"""Of the stages up to the cut, so many give features: what is fine and what is coarse. Measured on
the validation images of five folds of the sample set, of the last stage alone: ROC-AUC 0.902
(112 channels); of the last three up to 192 channels: 0.914; with the largest value of each channel
beside its average it was less."""


def build(config: RunConfig) -> keras.Model:
    """The run's backbone with fresh weights: [N, H, W, 3] of 0-1 → features [N, F].

    Raises:
        ValueError: images too small for it.
    """
    known = BACKBONES[str(config.backbone)]
    images = keras.Input((config.image_height, config.image_width, 3), dtype="float32")
    factor, offset = known.prepare
    x = layers.Rescaling(factor, offset)(images)
    if known.application is None:
        given = efficientnet_lite.stages(x, config.backbone_cut or known.cut)
        taken = [given[width] for width in known.cuts if width in given][-STAGES:]
    else:
        taken = [_application(known, config)(x)]
    pooled = [layers.GlobalAveragePooling2D()(one) for one in taken]
    features = layers.Concatenate()(pooled) if len(pooled) > 1 else pooled[0]
    return keras.Model(images, features, name=NAME)


def _application(known: Known, config: RunConfig) -> keras.Model:
    function = getattr(keras.applications, str(known.application))
    shape = (config.image_height, config.image_width, 3)
    return function(include_top=False, weights=None, input_shape=shape)


def load_weights(backbone: keras.Model, config: RunConfig) -> None:
    """Gives the backbone the weights of the run's file.

    Args:
        backbone: of `build`.
        config: names the file.

    Raises:
        InputError: it cannot be read, is of another network, or holds what is not finite.
    """
    path = Path(str(config.backbone_weights))
    if BACKBONES[str(config.backbone)].application is None:
        efficientnet_lite.assign(backbone, torch_file.read(path))
        return
    (network,) = (layer for layer in backbone.layers if isinstance(layer, keras.Model))
    before = [weight.numpy() for weight in network.weights]
    try:
        with warnings.catch_warnings():
            # Keras warns, and goes on, where layers keep the weights they were born with.
            warnings.simplefilter("error", UserWarning)
            # Weights alone: what a .keras file says of classes and functions is not looked at.
            network.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError, UserWarning, zipfile.BadZipFile) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), "no message")
        raise InputError(
            f"Expected weights of {config.backbone} without its classifier in {path}. Received: "
            f"{type(error).__name__}: {first[:200]}. Give the file that ends in _no_top.h5, or what"
            " save_weights wrote of that network."
        ) from error
    for weight, old in zip(network.weights, before):
        value = weight.numpy()
        if not np.isfinite(value).all():
            raise InputError(
                f"Expected finite weights in {path}. Received: {weight.path} with others."
            )
        if value.ndim == 4 and np.array_equal(value, old):
            raise InputError(
                f"Expected all weights of {config.backbone} in {path}. Received: none of "
                f"{weight.path}. Give the file of the whole network."
            )
