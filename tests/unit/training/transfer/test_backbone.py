"""Backbones: their weights are each in its place, and a wrong file is one line."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from foundation.command_line import InputError
from tests import torch_files
from training.config import RunConfig
from training.transfer import backbone

pytestmark = [
    pytest.mark.slow,
    # Keras's own, when it saves weights under numpy 2
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def _config(path: Path, **settings: object) -> RunConfig:
    given = {
        "backbone": "efficientnet_lite0",
        "backbone_weights": str(path),
        "image_height": 48,
        "image_width": 64,
        "backbone_cut": 40,
    }
    return RunConfig(**given | settings)


# EfficientNet-Lite0 a second time, with NumPy, on tensors as PyTorch keeps them: [out, in, h, w].
def _convolved(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """[channels, H, W], padded as TensorFlow's SAME; a kernel of one input channel is depthwise."""
    size = kernel.shape[-1]
    across = [-(-length // stride) for length in x.shape[1:]]
    missing = [
        max((count - 1) * stride + size - length, 0) for count, length in zip(across, x.shape[1:])
    ]
    x = np.pad(x, [(0, 0), *((some // 2, some - some // 2) for some in missing)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]  # [channels, h, w, size, size]
    if kernel.shape[1] == 1 and x.shape[0] > 1:
        return np.einsum("chwij,cij->chw", windows, kernel[:, 0])
    return np.einsum("chwij,ocij->ohw", windows, kernel)


def _features(tensors: dict[str, np.ndarray], picture: np.ndarray) -> np.ndarray:
    """[H, W, 3] of 0-1 → the averages of the stages of 16, 24 and 40 channels, in float64."""

    def layer(x: np.ndarray, convolution: str, normal: str, stride: int, bound: bool) -> np.ndarray:
        x = _convolved(x, tensors[f"{convolution}.weight"], stride)
        scale, shift, mean, variance = (
            tensors[f"{normal}.{name}"][:, None, None]
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        x = (x - mean) / np.sqrt(variance + 1e-3) * scale + shift
        return np.clip(x, 0, 6) if bound else x

    x = (picture.astype(np.float64).transpose(2, 0, 1) * 255 - 127) / 128
    x = layer(x, "_conv_stem", "_bn0", 2, True)
    number, averages = 0, []
    for repeats, _, stride, _ in torch_files.STAGES:
        for repeat in range(repeats):
            entered, block = x, f"_blocks.{number}."
            if number:
                x = layer(x, f"{block}_expand_conv", f"{block}_bn0", 1, True)
            step = stride if repeat == 0 else 1
            x = layer(x, f"{block}_depthwise_conv", f"{block}_bn1", step, True)
            x = layer(x, f"{block}_project_conv", f"{block}_bn2", 1, False)
            x = x + entered if x.shape == entered.shape else x
            number += 1
        averages.append(x.mean(axis=(1, 2)))
    return np.concatenate(averages)


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    return torch_files.lite_tensors(np.random.default_rng(3))


def test_features_are_those_of_the_same_network_on_pytorchs_tensors(
    tmp_path: Path, tensors: dict[str, np.ndarray]
) -> None:
    """No kernel can be turned, no padding moved, no average be another layer's."""
    config = _config(tmp_path / "a.pth")
    torch_files.write(tmp_path / "a.pth", tensors)
    network = backbone.build(config)
    backbone.load_weights(network, config)
    pictures = np.random.default_rng(4).random((2, 48, 64, 3), np.float32)
    expected = np.stack([_features(tensors, picture) for picture in pictures])
    assert expected.std() > 0.1
    np.testing.assert_allclose(network(pictures).numpy(), expected, rtol=2e-4, atol=2e-4)


def _refused(config: RunConfig) -> str:
    with pytest.raises(InputError) as told:
        backbone.load_weights(backbone.build(config), config)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_a_file_of_another_network_is_one_line(
    tmp_path: Path, tensors: dict[str, np.ndarray]
) -> None:
    config = _config(tmp_path / "a.pth")
    torch_files.write(tmp_path / "a.pth", {"conv1.weight": np.zeros((8, 3, 7, 7), np.float32)})
    assert "Expected the weights of EfficientNet-Lite0, with _conv_stem.weight" in _refused(config)
    tensors["_blocks.2._depthwise_conv.weight"] = np.zeros((144, 1, 5, 5), np.float32)
    torch_files.write(tmp_path / "a.pth", tensors)
    assert "_blocks.2._depthwise_conv.weight of EfficientNet-Lite0 as (3, 3, 144, 1)" in _refused(
        config
    )


def test_weights_that_are_not_finite_are_one_line(
    tmp_path: Path, tensors: dict[str, np.ndarray]
) -> None:
    tensors["_blocks.1._bn2.running_var"][3] = np.nan
    torch_files.write(tmp_path / "a.pth", tensors)
    assert "Received: _blocks.1._bn2.running_var with others" in _refused(
        _config(tmp_path / "a.pth")
    )


def _mobile(path: Path) -> RunConfig:
    return _config(path, backbone="mobilenet_v2", backbone_cut=None)


@pytest.fixture(scope="module")
def mobile() -> keras.Model:
    keras.utils.set_random_seed(5)
    return keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(48, 64, 3))


@pytest.mark.parametrize("name", ["a.h5", "a.weights.h5", "a.keras"])
# Keras's own, where it writes the older format
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_network_of_keras_is_read_from_each_of_its_formats(
    tmp_path: Path, mobile: keras.Model, name: str
) -> None:
    path = tmp_path / name
    (mobile.save_weights if name == "a.weights.h5" else mobile.save)(path)
    network = backbone.build(_mobile(path))
    backbone.load_weights(network, _mobile(path))
    pictures = np.random.default_rng(4).random((2, 48, 64, 3), np.float32)
    expected = mobile(pictures * 2 - 1).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(network(pictures).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.thorough
def test_a_file_of_keras_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    for name in ("a.weights.h5", "a.keras"):
        (other.save_weights if name == "a.weights.h5" else other.save)(tmp_path / name)
        assert "Expected weights of mobilenet_v2" in _refused(_mobile(tmp_path / name))
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert "Expected weights of mobilenet_v2" in _refused(_mobile(tmp_path / name))
    (tmp_path / "a.txt").write_text("no weights")
    assert "Expected weights of mobilenet_v2" in _refused(_mobile(tmp_path / "a.txt"))
    assert "Expected weights of mobilenet_v2" in _refused(_mobile(tmp_path / "none.h5"))


def test_weights_of_keras_that_are_not_finite_are_one_line(
    tmp_path: Path, mobile: keras.Model
) -> None:
    broken = keras.models.clone_model(mobile)
    kernel = broken.layers[1].get_weights()[0]
    kernel[0, 0, 0, 0] = np.inf
    broken.layers[1].set_weights([kernel])
    broken.save_weights(tmp_path / "a.weights.h5")
    assert "Expected finite weights" in _refused(_mobile(tmp_path / "a.weights.h5"))
