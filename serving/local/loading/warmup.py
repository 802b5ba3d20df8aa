"""The warm-up requests that a version carries with it: read, and replayed before it serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tensorflow as tf
from google.protobuf.message import DecodeError
from grpc import StatusCode
from tensorflow_serving.apis import prediction_log_pb2

from serving.local.apis import messages
from serving.local.errors import CODE_BY_NUMBER, ServingError, refuse
from serving.local.inference import InferenceOptions
from serving.local.signature import ServableModel

WARMUP_FILE: Final = Path("assets.extra") / "tf_serving_warmup_requests"

_MAX_RECORDS: Final = 1000

_APIS: Final = {
    "predict_log": messages.predict,
    "classify_log": messages.classify,
    "regress_log": messages.regress,
    "multi_inference_log": messages.multi_inference,
}
"""A PredictionLog's log_type → what answers its request."""


@dataclass(frozen=True, kw_only=True)
class WarmupOptions:
    """What TensorFlow Serving's flags say about warm-up."""

    enabled: bool = True
    iterations: int = 1
    """Times that each record is replayed."""


def replay(
    model: ServableModel, version: int, path: Path, iterations: int, options: InferenceOptions
) -> int:
    """Answers a version's warm-up requests and drops the answers.

    Args:
        model: the version.
        version: its number.
        path: its folder.
        iterations: times that each request is answered.
        options: as requests are answered later.

    Returns:
        How many records there are.

    Raises:
        ServingError: as `records`, or the first refusal of a request.
    """
    logs = list(records(path))
    for log in logs:
        for _ in range(iterations):
            _answer(model, version, log, options)
    return len(logs)


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


def _answer(model: ServableModel, version: int, log: Any, options: InferenceOptions) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "session_run_log":
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise ServingError(StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
    if kind in _APIS:  # TensorFlow Serving skips every other kind, too
        request = getattr(log, kind).request
        _APIS[kind](model, version, request, options).SerializeToString()
