"""The published weights of a backbone: do they see what a picture shows?"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf

from training import backbones
from training.transfer import efficientnet_lite, torch_file

pytestmark = pytest.mark.thorough

PALACE, DAISY = 698, 985
"""Of ImageNet's 1,000 classes."""


def test_the_likeliest_of_a_thousand_classes_is_what_the_picture_shows() -> None:
    """The whole network, with the file's own classifier, on scikit-learn's two photographs."""
    path = backbones.BACKBONES["efficientnet_lite0"].installed()
    if path is None:
        pytest.skip("needs a backbone's weights: make setup EXTRA=backbone")
    tensors = torch_file.read(Path(path))
    images = keras.Input((224, 224, 3))
    last = efficientnet_lite.stages(images, 1280)[1280]
    network = keras.Model(images, keras.layers.GlobalAveragePooling2D()(last))
    efficientnet_lite.assign(network, tensors)
    pictures = [_square(picture) for picture in sklearn.datasets.load_sample_images().images]
    features = network(np.stack(pictures)).numpy()
    logits = features @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    assert logits.argmax(axis=1).tolist() == [PALACE, DAISY]


def _square(picture: np.ndarray) -> np.ndarray:
    """The middle of a uint8 [H, W, 3], as the network takes it: [224, 224, 3], about -1 to 1."""
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    middle = picture[top : top + side, left : left + side].astype(np.float32)
    small = tf.image.resize(middle, (224, 224), "bicubic", antialias=True)
    return (small.numpy() - 127) / 128
