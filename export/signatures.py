"""From a trained model to the contract's three signatures, with everything a caller could get
wrong inside the graph: decoding, resizing, scaling, threshold, class names, review band.

The only place that writes a TensorSpec.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfs_client import contract
from training.config import RunConfig
from training.data import preprocessing


class Servable(tf.Module):
    """The object that is saved: no variables, three signatures.

    The weights are frozen into one function that all signatures call, so each weight is in the
    SavedModel once and no optimizer state can be. (ExportArchive stores each weight twice, and a
    Keras 3 model inside a plain tf.Module fails every request in TensorFlow Serving.)

    Args:
        model: float32 [N, H, W, 3] in 0-1 -> float32 [N, 1], the probability of the positive class.
        config: of the run.
        class_names: negative, positive.
    """

    def __init__(self, model: keras.Model, config: RunConfig, class_names: tuple[str, str]):
        super().__init__(name="servable")
        self._config = config
        self._class_names = class_names
        self._size = (config.image_height, config.image_width)
        self._probability = _frozen(model, self._size)

    def signatures(self) -> dict[str, Any]:
        """The contract's signatures, by name, as tf.saved_model.save takes them."""
        rows = tf.TensorSpec([None], tf.string, name=contract.INPUT_IMAGE_BYTES)
        images = tf.TensorSpec([None, *self._size, 3], tf.uint8, name=contract.INPUT_IMAGES)
        examples = tf.TensorSpec([None], tf.string, name=contract.INPUT_EXAMPLES)
        return {
            contract.SIGNATURE_DEFAULT: _signature(self._predict_files, rows),
            contract.SIGNATURE_IMAGES: _signature(self._predict_images, images),
            contract.SIGNATURE_CLASSIFY: _signature(self._classify, examples),
        }

    def _predict_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        image_bytes = _rows_of_strings(image_bytes)
        images, valid = preprocessing.decode_rows(image_bytes, *self._size, self._config.max_pixels)
        return self._decide(images, valid)

    def _predict_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        # First of all: a wrong rank in a convolution would end the whole server process.
        images = tf.ensure_shape(images, [None, *self._size, 3])
        return self._decide(images, tf.fill([tf.shape(images)[0]], True))

    def _classify(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        examples = _rows_of_strings(examples)
        images, valid = preprocessing.decode_rows(
            examples, *self._size, self._config.max_pixels, extract=_image_of_example
        )
        positive = self._probability_or_nan(images, valid)
        names = tf.constant([self._class_names])
        return {
            contract.OUTPUT_CLASSES: tf.tile(names, [tf.shape(positive)[0], 1]),
            contract.OUTPUT_SCORES: tf.stack([1.0 - positive, positive], axis=1),
        }

    def _probability_or_nan(self, images: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        probability = self._probability(images)
        return tf.where(valid, probability, np.float32("nan"))

    def _decide(self, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        config = self._config
        probability = self._probability_or_nan(images, valid)
        negative, positive = self._class_names
        label = tf.where(probability >= config.threshold, positive, negative)
        close = tf.abs(probability - config.threshold) < config.review_margin
        return {
            contract.OUTPUT_PROBABILITY: probability,
            contract.OUTPUT_LABEL: tf.where(valid, label, ""),
            contract.OUTPUT_NEEDS_REVIEW: close | ~valid,
            contract.OUTPUT_VALID: valid,
        }


def _signature(function: Any, spec: tf.TensorSpec) -> Any:
    """A concrete function whose one input has the contract's name."""
    # Autograph would look for Python control flow to convert; there is none.
    return tf.function(function, autograph=False).get_concrete_function(spec)


def _rows_of_strings(rows: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(rows, [None])


def _image_of_example(serialized: tf.Tensor) -> tf.Tensor:
    """Reads the image file out of an example: string [] -> string [].

    The operation fails where the feature is missing or of another type.
    """
    feature = tf.io.FixedLenFeature([], tf.string)
    example = tf.io.parse_single_example(serialized, {contract.FEATURE_ENCODED: feature})
    return example[contract.FEATURE_ENCODED]


def _frozen(model: keras.Model, size: tuple[int, int]) -> Any:
    """Scaling and model as one function without variables: uint8 [N, H, W, 3] -> float32 [N].

    An empty batch gives an empty answer: some operations fail on zero rows, so one row of zeros is
    computed and cut off again. It is added before scaling: TensorFlow fuses a padding that stands
    right before a convolution with it, and on CPUs where it uses oneDNN (AVX-512 VNNI) that kernel
    refuses the empty batch ("input depth must be evenly divisible by filter depth").
    """

    @tf.function(input_signature=[tf.TensorSpec([None, *size, 3], tf.uint8)], autograph=False)
    def probability(images: tf.Tensor) -> tf.Tensor:
        count = tf.shape(images)[0]
        padding = tf.cast(tf.equal(count, 0), tf.int32)
        images = tf.pad(images, [[0, padding], [0, 0], [0, 0], [0, 0]])
        scaled = preprocessing.scale(images)
        return tf.cast(model(scaled, training=False)[:count, 0], tf.float32)

    constant = convert_variables_to_constants_v2(probability.get_concrete_function())

    def call(images: tf.Tensor) -> tf.Tensor:
        # a frozen function answers a list
        (answer,) = constant(images)
        return tf.ensure_shape(answer, [None])

    return call
