"""A model's probabilities of many images."""

from __future__ import annotations

import time

import keras
import numpy as np
import tensorflow as tf

from foundation.command_line import raise_if_interrupted

ASKED = 10
"""Times, for the cost of an answer."""


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
        self._shape = model.input_shape[1:]

    def processor_ms(self) -> float:
        """Processor time of the answer to one image, decoded already, in milliseconds."""
        image = tf.zeros([1, *self._shape], tf.float32)
        self._infer(image)
        begun = time.process_time()
        for _ in range(ASKED):
            self._infer(image).numpy()
        return (time.process_time() - begun) * 1000 / ASKED

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
