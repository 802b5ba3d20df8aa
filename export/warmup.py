"""Requests that a server replays before it calls a version available.

The first request through a graph is slow, and a version that cannot answer these must not become
available: TensorFlow Serving fails the load if one of them fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from export.versions import EXTRA_ASSETS
from tfs_client import contract
from training.config import RunConfig
from training.data import preprocessing

WARMUP_FILE = f"{EXTRA_ASSETS}/tf_serving_warmup_requests"
"""TensorFlow Serving's name for it."""

BATCH_SIZES = (1, 2, 8)
"""One row takes another way through the graph than several."""


def write(version_folder: Path, pictures: Sequence[bytes], config: RunConfig) -> int:
    """Writes requests for every signature, with real pictures.

    Args:
        version_folder: receives assets.extra/tf_serving_warmup_requests.
        pictures: at least one image file's content.
        config: of the run.

    Returns:
        how many requests were written.
    """
    path = version_folder / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [
        record
        for size in BATCH_SIZES
        for record in _requests([pictures[row % len(pictures)] for row in range(size)], config)
    ]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record.SerializeToString())
    return len(records)


def _requests(files: Sequence[bytes], config: RunConfig) -> list[prediction_log_pb2.PredictionLog]:
    size = (config.image_height, config.image_width)
    pixels = np.stack(
        [
            preprocessing.decode_and_resize(tf.constant(file), *size, config.max_pixels)
            for file in files
        ]
    )
    return [
        _predict(contract.SIGNATURE_DEFAULT, contract.INPUT_IMAGE_BYTES, np.array(files, object)),
        _predict(contract.SIGNATURE_IMAGES, contract.INPUT_IMAGES, pixels),
        _classify(files),
    ]


def _predict(signature: str, name: str, value: np.ndarray) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = contract.MODEL_NAME
    request.model_spec.signature_name = signature
    request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log


def _classify(files: Sequence[bytes]) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.classify_log.request
    request.model_spec.name = contract.MODEL_NAME
    request.model_spec.signature_name = contract.SIGNATURE_CLASSIFY
    for file in files:
        example = request.input.example_list.examples.add()
        example.features.feature[contract.FEATURE_ENCODED].bytes_list.value.append(file)
    return log
