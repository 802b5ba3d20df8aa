"""Versions for the gate, one with each fault. Their model looks at nothing but the brightness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from export import saved_model, signatures, versions
from tfs_client import contract
from training import run

SIZE = 16
"""Of the model's input: pixels of a side."""

EQUAL, WORSE, NAN, RENAMED, SLOW, ABORTS, RAISES, GREEDY, TRUSTING = 2, 3, 4, 5, 6, 7, 8, 9, 10


class _Worse(signatures.Servable):
    def _scores_or_nan(self, images: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        return 1.0 - super()._scores_or_nan(images, valid)


class _SometimesNaN(signatures.Servable):
    def _scores_or_nan(self, images: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        scores = super()._scores_or_nan(images, valid)
        return tf.where(scores[:, 1:] > 0.97, np.float32("nan"), scores)


class _Renamed(signatures.Servable):
    def _decide(self, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        decided = super()._decide(images, valid)
        decided["score"] = decided.pop(contract.OUTPUT_PROBABILITY)
        return decided


class _Slow(signatures.Servable):
    def _decide(self, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        # begins with a number that only the request knows, so that nothing is computed before
        begin = tf.reduce_sum(tf.cast(images, tf.int32)) * 0
        (count,) = tf.while_loop(
            lambda index: index < 2500, lambda index: (index + 1,), (begin,), parallel_iterations=1
        )
        with tf.control_dependencies([count]):
            return super()._decide(tf.identity(images), valid)


class _Aborts(signatures.Servable):
    def _decide(self, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="the end of this process")]):
            return super()._decide(tf.identity(images), valid)


class _Raises(signatures.Servable):
    def _decide(self, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.Assert(tf.size(images) < 0, ["not today"])]):
            return super()._decide(tf.identity(images), valid)


class _Greedy(signatures.Servable):
    def _predict_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        lengths = tf.strings.length(image_bytes)
        block = tf.cond(
            tf.reduce_min(lengths) < 60,
            lambda: tf.reduce_max(tf.fill([200 * 2**20], tf.cast(lengths[0] % 7, tf.uint8))),
            lambda: tf.constant(0, tf.uint8),
        )
        with tf.control_dependencies([block]):
            return super()._predict_files(tf.identity(image_bytes))


class _Trusting(signatures.Servable):
    def _classify(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        def image(serialized: tf.Tensor) -> tf.Tensor:
            feature = {contract.FEATURE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
            return tf.io.parse_single_example(serialized, feature)[contract.FEATURE_ENCODED]

        with mock.patch.object(signatures, "_image_of_example", image):
            return super()._classify(examples)


VARIANTS = {
    1: signatures.Servable,
    EQUAL: signatures.Servable,
    WORSE: _Worse,
    NAN: _SometimesNaN,
    RENAMED: _Renamed,
    SLOW: _Slow,
    ABORTS: _Aborts,
    RAISES: _Raises,
    GREEDY: _Greedy,
    TRUSTING: _Trusting,
}


def make(number: int, made: run.Run, folder: Path) -> None:
    """Writes a version's folder.

    Args:
        number: a key of VARIANTS.
        made: the run that its card names.
        folder: must not exist.
    """
    servable = VARIANTS[number](_model(made), made.config, made.class_names, made.decision)
    tf.saved_model.save(servable, str(folder), signatures=servable.signatures())
    saved_model._name_classify_method(folder)
    card = saved_model._model_card(made, number, folder, {})
    (folder / versions.EXTRA_ASSETS).mkdir()
    (folder / contract.MODEL_CARD).write_text(json.dumps(card))


def _model(made: run.Run) -> keras.Model:
    inputs = keras.Input((SIZE, SIZE, 3))
    brightness = keras.layers.Dense(1, activation="sigmoid")
    model = keras.Model(inputs, brightness(keras.layers.GlobalAveragePooling2D()(inputs)))
    # the class that is positive is the brighter one, or the darker one
    sign = 1.0 if made.class_names[1] == "bad" else -1.0
    brightness.set_weights([np.full((3, 1), sign * 8.0), np.array([-sign * 12.0])])
    return model


def extra(store: Path, version: int) -> Path:
    """Where a version's card and verdict lie."""
    return store / contract.MODEL_NAME / str(version) / versions.EXTRA_ASSETS


def verdict(store: Path, version: int) -> dict[str, Any]:
    """What the gate wrote."""
    return json.loads(
        (store / contract.MODEL_NAME / str(version) / contract.GATE_VERDICT).read_text()
    )


def by_name(verdict: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A verdict's checks."""
    return {check["name"]: check for check in verdict["checks"]}


def failed(verdict: dict[str, Any]) -> set[str]:
    """The names of the checks that do not hold."""
    return {check["name"] for check in verdict["checks"] if check["holds"] is False}
