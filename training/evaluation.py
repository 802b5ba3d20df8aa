"""A model's probabilities of many images."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from foundation.command_line import raise_if_interrupted


class Predictor:
    """Asks a model, compiled once for any number of images.

    Args:
        model: float32 [B, H, W, 3] -> float32 [B, 1].
    """

    def __init__(self, model: keras.Model):
        spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)
        self._infer = tf.function(
            lambda images: model(images, training=False)[:, 0], input_signature=[spec]
        )

    def probabilities(self, batches: tf.data.Dataset) -> np.ndarray:
        """The model's answers, in the order of the batches.

        Args:
            batches: elements (images, targets); the targets are not looked at.

        Returns:
            float32 [N], 0-1.
        """
        answers = []
        for images, _ in batches:
            raise_if_interrupted()
            answers.append(self._infer(images).numpy())
        return np.concatenate(answers) if answers else np.zeros(0, np.float32)
