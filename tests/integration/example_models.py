"""SavedModels with many small signatures, written as TensorFlow 1 wrote them.

TensorFlow 2 cannot write the method names of Classify and Regress, default inputs, or every dtype.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import prediction_log_pb2

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
PREDICT = "tensorflow/serving/predict"


def save_examples(folder: Path) -> Path:
    """Signatures over tf.Examples with one feature x: a regression doubles it.

    A classification says low with 1 - x and high with x. The names of the other signatures say what
    is wrong with them.
    """
    with tf.Graph().as_default() as graph:
        source = tf.compat.v1.placeholder(tf.string, [None], name="source")
        x = tf.io.parse_example(source, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]
        rows = tf.shape(x)[0]
        labels = tf.repeat([["low", "high"]], rows, axis=0, name="labels")
        scores = tf.stack([1.0 - x, x], axis=1, name="scores")
        both = {"classes": labels, "scores": scores}
        doubled = tf.multiply(x, 2.0, name="doubled")
        column = tf.reshape(doubled, [-1, 1], name="column")
        total = tf.reshape(tf.reduce_sum(x), [1], name="total")
        other = tf.compat.v1.placeholder(tf.string, [None], name="other")
        lengths = tf.cast(tf.strings.length(other), tf.float32, name="lengths")
        number = tf.compat.v1.placeholder(tf.float32, [None], name="number")
        signatures = {
            "classify": _signature({"inputs": source}, both, CLASSIFY),
            "classes_only": _signature({"inputs": source}, {"classes": labels}, CLASSIFY),
            "scores_only": _signature({"inputs": source}, {"scores": scores}, CLASSIFY),
            "classify_as_predict": _signature({"inputs": source}, both, PREDICT),
            "classify_number": _signature({"inputs": number}, {"scores": scores}, CLASSIFY),
            "scores_and_more": _signature(
                {"inputs": source}, {"scores": scores, "more": x}, CLASSIFY
            ),
            "no_classes": _signature({"inputs": source}, {"labels": labels}, CLASSIFY),
            "three_outputs": _signature({"inputs": source}, {**both, "x": x}, CLASSIFY),
            "flat_scores": _signature({"inputs": source}, {"scores": x}, CLASSIFY),
            "numbers_as_classes": _signature({"inputs": source}, {"classes": scores}, CLASSIFY),
            "classes_as_scores": _signature({"inputs": source}, {"scores": labels}, CLASSIFY),
            "one_row_of_scores": _signature(
                {"inputs": source}, {"scores": tf.reshape(total, [1, 1])}, CLASSIFY
            ),
            "widths_that_differ": _signature(
                {"inputs": source}, {"classes": labels, "scores": column}, CLASSIFY
            ),
            "regress": _signature({"inputs": source}, {"outputs": doubled}, REGRESS),
            "regress_column": _signature({"inputs": source}, {"outputs": column}, REGRESS),
            "regress_as_predict": _signature({"inputs": source}, {"outputs": doubled}, PREDICT),
            "regress_lengths": _signature({"inputs": other}, {"outputs": lengths}, REGRESS),
            "regress_matrix": _signature({"inputs": source}, {"outputs": scores}, REGRESS),
            "regress_scalar": _signature(
                {"inputs": source}, {"outputs": tf.reduce_sum(x)}, REGRESS
            ),
            "regress_total": _signature({"inputs": source}, {"outputs": total}, REGRESS),
            "regress_double": _signature(
                {"inputs": source}, {"outputs": tf.cast(x, tf.float64)}, REGRESS
            ),
            "regress_values": _signature({"inputs": source}, {"values": doubled}, REGRESS),
            "regress_examples": _signature({"examples": source}, {"outputs": doubled}, REGRESS),
            "two_inputs": _signature(
                {"inputs": source, "other": other}, {"outputs": lengths}, REGRESS
            ),
            "nameless_method": _signature({"x": number}, {"y": number * 2.0}, ""),
        }
        _save(graph, folder, signatures)
    return folder


def save_inputs(folder: Path) -> Path:
    """Signatures whose inputs may be left out, or that have none."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        scale = tf.compat.v1.placeholder(tf.float32, [], name="scale")
        anything = tf.compat.v1.placeholder(tf.float32, name="anything")
        pair = tf.compat.v1.placeholder(tf.float32, [None, 2], name="pair")
        # The order of the tensors' names is not the order of the aliases.
        late = tf.compat.v1.placeholder(tf.float32, [], name="z_late")
        early = tf.compat.v1.placeholder(tf.int32, [], name="a_early")
        scaled = _signature({"x": x, "scale": scale}, {"y": x * scale}, PREDICT)
        scaled.defaults["scale"].CopyFrom(tf.make_tensor_proto(10.0))
        broken = _signature({"x": x, "scale": scale}, {"y": x * scale}, PREDICT)
        broken.defaults["scale"].CopyFrom(tf.make_tensor_proto(10.0))
        broken.defaults["scale"].tensor_content = b"\0"
        signatures = {
            "with_default": scaled,
            "with_broken_default": broken,
            "without_inputs": _signature({}, {"y": tf.constant([1.0, 2.0])}, PREDICT),
            "any_shape": _signature(
                {"x": anything}, {"y": anything * 2.0, "rank": tf.rank(anything)}, PREDICT
            ),
            "pairs": _signature({"x": pair}, {"y": tf.reduce_sum(pair, axis=1)}, PREDICT),
            "two_dtypes": _signature(
                {"a": late, "b": early}, {"y": late + tf.cast(early, tf.float32)}, PREDICT
            ),
            "own_input": _signature({"x": x}, {"x": x}, PREDICT),
            "as_bytes": _signature({"x": x}, {"y_bytes": tf.strings.as_string(x)}, PREDICT),
        }
        _save(graph, folder, signatures)
    return folder


def save_dtypes(folder: Path, dtypes: Iterable[tf.DType]) -> Path:
    """For every dtype a signature of its name, which answers what it is asked."""
    with tf.Graph().as_default() as graph:
        signatures = {}
        for dtype in dtypes:
            x = tf.compat.v1.placeholder(dtype, [None], name=f"{dtype.name}_x")
            # tf.identity would convert its argument, which quantized dtypes do not stand.
            y = graph.create_op("Identity", [x], [dtype]).outputs[0]
            signatures[dtype.name] = _signature({"x": x}, {"y": y}, PREDICT)
        _save(graph, folder, signatures)
    return folder


def write_warmup(folder: Path, *logs: prediction_log_pb2.PredictionLog) -> None:
    (folder / "assets.extra").mkdir()
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def _signature(
    inputs: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor], method_name: str
) -> meta_graph_pb2.SignatureDef:
    info = tf.compat.v1.saved_model.build_tensor_info
    signature = meta_graph_pb2.SignatureDef(method_name=method_name)
    for alias, tensor in inputs.items():
        signature.inputs[alias].CopyFrom(info(tensor))
    for alias, tensor in outputs.items():
        signature.outputs[alias].CopyFrom(info(tensor))
    return signature


def _save(graph: tf.Graph, folder: Path, signatures: dict[str, Any]) -> None:
    builder = tf.compat.v1.saved_model.Builder(str(folder))
    with tf.compat.v1.Session(graph=graph) as session:
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
    builder.save()
