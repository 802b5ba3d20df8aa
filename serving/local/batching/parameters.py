"""The file of --batching_parameters_file: TensorFlow Serving's BatchingParameters in text form."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.local import config_files
from serving.local.errors import refuse
from serving.local.flags import CPUS


@dataclass(frozen=True, kw_only=True)
class BatchingParameters:
    """How requests are merged; TensorFlow Serving's names and defaults."""

    max_batch_size: int = 1000
    """Rows of the largest request, and of a batch unless large requests are split."""
    batch_timeout_micros: int = 0
    """How long an open batch waits for more rows once a thread is free."""
    max_enqueued_batches: int = 10
    """Batches of one queue that wait for a thread, the open one included."""
    num_batch_threads: int = CPUS
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
    message = config_files.read(str(path), "BatchingParameters")
    values: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None:
            values[field.name] = value.value
        elif field.name == "allowed_batch_sizes":
            values[field.name] = tuple(value)
        else:
            values[field.name] = value
    return BatchingParameters(**values)
