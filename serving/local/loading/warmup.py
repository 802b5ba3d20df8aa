"""Reads the warm-up requests that a version carries with it.

Knows the file and its limits; replaying a record is its caller's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.local.errors import CODE_BY_NUMBER, ServingError, refuse

WARMUP_FILE: Final = Path("assets.extra") / "tf_serving_warmup_requests"

_MAX_RECORDS: Final = 1000


def records(version_path: Path) -> Iterator[Any]:
    """Yields the PredictionLogs of a version, none where it has no warm-up file.

    Raises:
        ServingError: a record that is not a PredictionLog, more than 1,000 of them, or, with
            TensorFlow's code, a file that is cut off or is no TFRecord file.
    """
    path = version_path / WARMUP_FILE
    if not path.exists():
        return
    for number, record in enumerate(_contents(path)):
        if number >= _MAX_RECORDS:
            refuse(f"Number of warmup records exceeds the maximum ({_MAX_RECORDS}) at {path}")
        log = prediction_log_pb2.PredictionLog()
        try:
            log.ParseFromString(record)
        except DecodeError:
            refuse(f"Failed to parse warmup record: {record[:100]!r} from {path}")
        yield log


def _contents(path: Path) -> Iterator[bytes]:
    try:
        yield from tf.compat.v1.io.tf_record_iterator(str(path))
    except tf.errors.OpError as error:
        hint = ". Please verify your warmup data is in TFRecord format."
        text = error.message + (hint if isinstance(error, tf.errors.DataLossError) else "")
        raise ServingError(CODE_BY_NUMBER[error.error_code], text) from error
