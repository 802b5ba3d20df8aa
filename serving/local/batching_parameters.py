"""The file behind --batching_parameters_file: TensorFlow Serving's BatchingParameters in text form.

Reads and checks it. Knows nothing about queues, threads or models.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,  # noqa: F401 registers the wrapper types below
)

from serving.local.errors import invalid_argument, refuse

_Field = descriptor_pb2.FieldDescriptorProto

_INT64: Final = ".google.protobuf.Int64Value"
_BOOL: Final = ".google.protobuf.BoolValue"
_STRING: Final = ".google.protobuf.StringValue"

_CPUS: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

_WRAPPED: Final = {
    "max_batch_size": _INT64,
    "batch_timeout_micros": _INT64,
    "max_enqueued_batches": _INT64,
    "num_batch_threads": _INT64,
    "thread_pool_name": _STRING,
    "max_execution_batch_size": _INT64,
    "enable_large_batch_splitting": _BOOL,
}
"""TensorFlow Serving writes these as messages of one field, `max_batch_size { value: 32 }`."""


@dataclass(frozen=True, kw_only=True)
class BatchingParameters:
    """How requests are merged; TensorFlow Serving's names and defaults."""

    max_batch_size: int = 1000
    """Rows of the largest request, and of a batch unless large requests are split."""
    batch_timeout_micros: int = 0
    """How long an open batch waits for more rows once a thread is free."""
    max_enqueued_batches: int = 10
    """Batches of one queue that wait for a thread, the open one included."""
    num_batch_threads: int = _CPUS or 1
    """Batches that are computed at the same time, over all models."""
    thread_pool_name: str = ""
    """Names the threads."""
    allowed_batch_sizes: tuple[int, ...] = ()
    """A batch is filled up with copies of one of its rows to the next of these sizes."""
    pad_variable_length_inputs: bool = False
    """Rows of different shapes are filled up to the largest instead of being refused."""
    enable_large_batch_splitting: bool = False
    """A request may be larger than a batch, and is computed in parts."""
    max_execution_batch_size: int = 0
    """Rows of the largest batch where large requests are split; 0: max_batch_size."""

    @property
    def largest_batch(self) -> int:
        """Rows of the largest batch."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size:
            return self.max_execution_batch_size
        return self.max_batch_size

    def __post_init__(self) -> None:
        """Checks what TensorFlow Serving checks.

        Raises:
            ServingError: INVALID_ARGUMENT.
        """
        if self.max_batch_size <= 0:
            refuse(f"max_batch_size must be positive; was {self.max_batch_size}")
        if self.batch_timeout_micros < 0:
            refuse(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}")
        if self.max_enqueued_batches <= 0:
            refuse(f"max_enqueued_batches must be positive; was {self.max_enqueued_batches}")
        if self.num_batch_threads < 1:
            refuse(f"num_batch_threads must be positive; was {self.num_batch_threads}")
        if self.largest_batch > self.max_batch_size:
            refuse(
                "When enable_large_batch_splitting is true, input_batch_size_limit must be "
                "greater than or equal to max_execution_batch_size."
            )
        sizes = self.allowed_batch_sizes
        if sizes and sizes[-1] != self.largest_batch:
            refuse(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{sizes[-1]}; expected {self.largest_batch}"
            )
        if any(before >= after for before, after in itertools.pairwise(sizes)):
            refuse("allowed_batch_sizes entries must be monotonically increasing")

    def padded(self, rows: int) -> int:
        """The allowed size that a batch of so many rows is filled up to."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


def read(path: Path) -> BatchingParameters:
    """Reads a batching parameters file; what it leaves out has TensorFlow Serving's default.

    Raises:
        ServingError: INVALID_ARGUMENT, it is not a BatchingParameters message or cannot be served.
        OSError: the file cannot be read.
    """
    message = _message_class()()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise invalid_argument(
            f"Expected BatchingParameters in protobuf text format, such as "
            f"'max_batch_size {{ value: 32 }}'. Received: {path}: {error}"
        ) from error
    values: dict[str, Any] = {
        name: getattr(message, name).value for name in _WRAPPED if message.HasField(name)
    }
    if message.allowed_batch_sizes:
        values["allowed_batch_sizes"] = tuple(message.allowed_batch_sizes)
    return BatchingParameters(
        pad_variable_length_inputs=message.pad_variable_length_inputs, **values
    )


@cache
def _message_class() -> Any:
    """BatchingParameters as a message class: tensorflow-serving-api does not bring its proto."""
    file = descriptor_pb2.FileDescriptorProto(
        name="batching_parameters.proto",
        package="serving.local",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    message = file.message_type.add(name="BatchingParameters")
    numbers = iter(range(1, 100))
    for name, kind in _WRAPPED.items():
        message.field.add(
            name=name,
            number=next(numbers),
            type=_Field.TYPE_MESSAGE,
            type_name=kind,
            label=_Field.LABEL_OPTIONAL,
        )
    message.field.add(
        name="allowed_batch_sizes",
        number=next(numbers),
        type=_Field.TYPE_INT64,
        label=_Field.LABEL_REPEATED,
    )
    message.field.add(
        name="pad_variable_length_inputs",
        number=next(numbers),
        type=_Field.TYPE_BOOL,
        label=_Field.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.Default()
    descriptor = pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(descriptor.message_types_by_name["BatchingParameters"])
