"""A model's probabilities of many images."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from foundation.command_line import raise_if_interrupted


class Predictor:
    """Asks a model, compiled once for any number of images.

    Args:
        model: as architectures.build_model gives it.
    """

    def __init__(self, model: keras.Model):
        spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)
        self._infer = tf.function(
            lambda images: model(images, training=False), input_signature=[spec]
        )
        self._outputs = model.output_shape[-1]

    def probabilities(self, batches: tf.data.Dataset) -> np.ndarray:
        """The model's answers, in the order of the batches.

        Args:
            batches: elements (images, targets); the targets are not looked at.

        Returns:
            float32 [N, K], 0-1: of each class. Of two, the positive one's is the model's own, to
            the last bit, and the other one is what it leaves.
        """
        answers = [np.zeros((0, self._outputs), np.float32)]
        for images, _ in batches:
            raise_if_interrupted()
            answers.append(self._infer(images).numpy())
        answered = np.concatenate(answers)
        return np.hstack([1 - answered, answered]) if self._outputs == 1 else answered
