"""EfficientNet-Lite0: the network, and which tensor of a PyTorch file belongs to which layer.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019;
Lite: without squeeze-and-excitation, and with ReLU6 in place of swish, so that it can be quantized.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from foundation.command_line import InputError


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int
    """channels"""


_STAGES: Final = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)

_STEM, _HEAD = 32, 1280

_EPSILON: Final = 1e-3
"""Of batch normalisation, as it was trained."""


def stages(images: keras.KerasTensor, cut: int) -> dict[int, keras.KerasTensor]:
    """The network without its classifier, up to a stage.

    Args:
        images: [N, H, W, 3], about -1 to 1.
        cut: channels of the stage after which it ends; 1280 is the last convolution.

    Returns:
        channels → what a stage gives, [N, h, w, channels], in their order; the last is the cut's.
    """
    given = {}
    x = _normal(_convolution(images, "_conv_stem", _STEM, 3, 2), "_bn0", active=True)
    number = 0
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            x = _block(x, f"_blocks.{number}.", stage, stage.stride if repeat == 0 else 1)
            number += 1
        given[stage.width] = x
        if stage.width == cut:
            return given
    given[_HEAD] = _normal(_convolution(x, "_conv_head", _HEAD, 1, 1), "_bn1", active=True)
    return given


def _block(x: keras.KerasTensor, name: str, stage: _Stage, stride: int) -> keras.KerasTensor:
    """Wider, each channel by itself, narrower again; added to what came in where it fits."""
    entered = x
    width = x.shape[-1] * stage.expansion
    if stage.expansion > 1:
        x = _convolution(x, f"{name}_expand_conv", width, 1, 1)
        x = _normal(x, f"{name}_bn0", active=True)
    x = layers.DepthwiseConv2D(
        stage.kernel, stride, "same", use_bias=False, name=_layer(f"{name}_depthwise_conv")
    )(x)
    x = _normal(x, f"{name}_bn1", active=True)
    x = _convolution(x, f"{name}_project_conv", stage.width, 1, 1)
    x = _normal(x, f"{name}_bn2", active=False)
    return layers.Add()([entered, x]) if x.shape == entered.shape else x


def _convolution(
    x: keras.KerasTensor, name: str, width: int, kernel: int, stride: int
) -> keras.KerasTensor:
    return layers.Conv2D(width, kernel, stride, "same", use_bias=False, name=_layer(name))(x)


def _normal(x: keras.KerasTensor, name: str, *, active: bool) -> keras.KerasTensor:
    x = layers.BatchNormalization(epsilon=_EPSILON, name=_layer(name))(x)
    return layers.ReLU(6.0)(x) if active else x


def _layer(name: str) -> str:
    """A name that Keras takes: no dot in it."""
    return "lite" + name.replace(".", "_")


def assign(backbone: keras.Model, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Gives the network the weights of a PyTorch file.

    Args:
        backbone: of `stages`.
        tensors: as torch_file.read gives them; those of stages that are cut off are left.

    Raises:
        InputError: a tensor is missing, of another shape, or not finite.
    """
    names = {_layer(name.rpartition(".")[0]): name.rpartition(".")[0] for name in tensors}
    for layer in backbone.layers:
        if not layer.weights:
            continue
        source = names.get(layer.name, layer.name.removeprefix("lite"))
        values = [_value(tensors, source, weight) for weight in layer.weights]
        layer.set_weights(values)


def _value(
    tensors: Mapping[str, NDArray[Any]], source: str, weight: keras.Variable
) -> NDArray[Any]:
    """The tensor of one variable, in Keras's order of axes."""
    last = {
        "kernel": "weight",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }[weight.name]
    name = f"{source}.{last}"
    if name not in tensors:
        raise InputError(
            f"Expected the weights of EfficientNet-Lite0, with {name}. Received: "
            f"{len(tensors)} tensors without it, such as {next(iter(tensors))}. Give its file."
        )
    value = tensors[name]
    if value.ndim == 4:
        # [out, in, h, w] → [h, w, in, out]; depthwise [channels, 1, h, w] → [h, w, channels, 1]
        depthwise = source.endswith("_depthwise_conv")
        value = value.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    if value.shape != tuple(weight.shape):
        raise InputError(
            f"Expected {name} of EfficientNet-Lite0 as {tuple(weight.shape)}. Received: "
            f"{value.shape}. Give its file."
        )
    if not np.isfinite(value).all():
        raise InputError(f"Expected finite weights. Received: {name} with others. Fetch it again.")
    return value
