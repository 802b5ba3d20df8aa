"""Small models whose answers show which version, signature and input were used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2


class Affine(tf.Module):
    """Computes y = x / 2 + offset: the answer shows which version gave it."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.scale = tf.Variable(0.5)
        self.offset = tf.Variable(offset)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": self.scale * x + self.offset}


class Many(tf.Module):
    """Several inputs and outputs, several dtypes, several signatures."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32, name="a"),
            tf.TensorSpec([None], tf.int64, name="b"),
        ]
    )
    def serve(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        total = tf.reduce_sum(a, axis=1) + tf.cast(b, tf.float32)
        return {"total": total, "parity": b % 2 == 0, "name": tf.strings.as_string(b)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def lengths(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"length": tf.strings.length(text)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="a")])
    def guarded(self, a: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"total": tf.reduce_sum(tf.ensure_shape(a, [None, 3]), axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})
        names = tf.repeat([["low", "high"]], tf.shape(inputs)[0], axis=0)
        return {"classes": names, "scores": tf.stack([1.0 - parsed["x"], parsed["x"]], axis=1)}


class Convolution(tf.Module):
    """A convolution, which aborts on a wrong rank, with and without a guard before it."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.ones([2, 2, 1, 1]))

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 1], tf.float32, name="image")])
    def serve(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        found = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, "VALID"))
        return {"y": tf.reduce_sum(found, axis=[1, 2, 3])}

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 1], tf.float32, name="image")])
    def guarded(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.serve(tf.ensure_shape(image, [None, 4, 4, 1]))


def save(module: tf.Module, folder: Path, **signatures: Any) -> Path:
    """Writes a SavedModel; returns its folder."""
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def save_tf1(folder: Path) -> Path:
    """As TensorFlow 1 saved: a graph with placeholders, no functions."""
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        y = tf.multiply(x, tf.compat.v1.Variable(10.0), name="y")
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})
    return folder


def add_warmup(folder: Path, request: str) -> None:
    """Writes one warm-up request, a PredictRequest in text form."""
    log = prediction_log_pb2.PredictionLog()
    text_format.Parse(request, log.predict_log.request)
    (folder / "assets.extra").mkdir()
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
