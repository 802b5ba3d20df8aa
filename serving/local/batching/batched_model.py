"""A loaded version whose callers share batches, as TensorFlow Serving's BatchingSession.

It takes the place of a `SavedModel`. Each caller waits in its own thread while its rows are merged
with those of others, computed and split again. As in TensorFlow Serving, a batch that fails fails
all of its tasks.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from grpc import StatusCode
from numpy.typing import NDArray

from serving.local import caller, metrics
from serving.local.batching.parameters import BatchingParameters
from serving.local.batching.scheduler import BatchQueue, BatchScheduler
from serving.local.dtypes import dtype_name
from serving.local.errors import ServingError, failed_precondition, refuse
from serving.local.signature import ServableModel, Signature

_log = logging.getLogger(__name__)


class BatchingTask:
    """One caller's request, or a part of it."""

    __slots__ = ("_done", "enqueued", "error", "inputs", "outputs", "size")

    def __init__(self, inputs: Mapping[str, NDArray[Any]], size: int) -> None:
        self.inputs = inputs
        self.size = size
        self.enqueued = time.monotonic()
        self.outputs: dict[str, NDArray[Any]] = {}
        self.error: ServingError | None = None
        # A bare lock is the cheapest thing in Python to wait for.
        self._done = threading.Lock()
        self._done.acquire()

    def finish(self) -> None:
        """Wakes the caller; `outputs` or `error` is set."""
        self._done.release()

    def wait(self, queue: BatchQueue[BatchingTask]) -> dict[str, NDArray[Any]]:
        """Waits for the outputs.

        Args:
            queue: where it waits; a task whose caller has gone is taken back, if it still can be.

        Raises:
            ServingError: the batch has failed; CANCELLED, the caller has gone.
        """
        while not self._done.acquire(timeout=caller.LOOK_S):
            if not caller.waits() and queue.withdraw(self):
                raise caller.gone()
        if self.error is not None:
            # Raising adds a traceback to an exception: each caller needs its own.
            raise ServingError(self.error.code, self.error.text)
        return self.outputs


Scheduler = BatchScheduler[BatchingTask]


class BatchedModel:
    """A ServableModel that merges requests; `close` closes what it wraps too.

    Args:
        model: computes the batches.
        scheduler: shared by all models of the server.
    """

    def __init__(self, model: ServableModel, scheduler: Scheduler) -> None:
        self.signatures: Mapping[str, Signature] = model.signatures
        self._model = model
        self._scheduler = scheduler
        self._queues: dict[tuple[str, tuple[str, ...]], BatchQueue[BatchingTask]] = {}
        self._queues_lock = threading.Lock()

    def run(
        self, signature: Signature, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        """As `SavedModel.run`; waits until the batch has been computed.

        Raises:
            ServingError: INVALID_ARGUMENT, the inputs have no common first size or it is larger
                than a batch; UNAVAILABLE, the queue is full; whatever the batch fails with.
        """
        size = _batch_size(inputs)
        queue = self._queue(signature, tuple(outputs))
        if size > self._scheduler.parameters.largest_batch and self._splits(size):
            return self._run_in_parts(queue, inputs, size)
        task = BatchingTask(inputs, size)
        queue.schedule(task)
        return task.wait(queue)

    def close(self) -> None:
        """Frees the version; nothing may run any more."""
        for queue in self._queues.values():
            self._scheduler.remove(queue)
        self._queues.clear()
        self._model.close()

    def _splits(self, size: int) -> bool:
        parameters = self._scheduler.parameters
        return parameters.enable_large_batch_splitting and size <= parameters.max_batch_size

    def _run_in_parts(
        self, queue: BatchQueue[BatchingTask], inputs: Mapping[str, NDArray[Any]], size: int
    ) -> dict[str, NDArray[Any]]:
        """The first part fills the open batch, the others are as large as a batch can be."""
        largest = self._scheduler.parameters.largest_batch
        cuts = [*range(queue.open_slots() % largest, size, largest), size]
        edges = sorted({0, *cuts})
        tasks = [
            BatchingTask({name: array[start:end] for name, array in inputs.items()}, end - start)
            for start, end in itertools.pairwise(edges)
        ]
        for task in tasks:
            queue.schedule(task)
        parts = [task.wait(queue) for task in tasks]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _queue(self, signature: Signature, outputs: tuple[str, ...]) -> BatchQueue[BatchingTask]:
        """The queue of these outputs: requests that ask for others do not share batches."""
        key = (signature.name, outputs)
        found = self._queues.get(key)
        if found is None:
            with self._queues_lock:
                found = self._queues.get(key)
                if found is None:
                    found = self._scheduler.queue(
                        lambda tasks: self._process(signature, outputs, tasks)
                    )
                    self._queues[key] = found
        return found

    def _process(
        self, signature: Signature, outputs: Sequence[str], tasks: list[BatchingTask]
    ) -> None:
        """Computes a batch and tells every caller, whatever happens."""
        error: ServingError | None = None
        try:
            self._compute(signature, outputs, tasks)
        except ServingError as caught:
            error = caught
        except Exception as caught:
            _log.exception("a batch failed inside the server")
            error = ServingError(StatusCode.INTERNAL, f"{type(caught).__name__}: {caught}")
        for task in tasks:
            task.error = error
            task.finish()

    def _compute(
        self, signature: Signature, outputs: Sequence[str], tasks: list[BatchingTask]
    ) -> None:
        parameters = self._scheduler.parameters
        started = time.monotonic()
        for task in tasks:
            waited_us = (started - task.enqueued) * 1e6
            metrics.BATCH_QUEUING_LATENCY.observe(waited_us, "")
        rows = sum(task.size for task in tasks)
        padded = parameters.padded(rows) if rows else 0
        metrics.BATCH_PADDING_SIZE.observe(padded - rows, str(padded))
        metrics.BATCH_PROCESSED_SIZE.observe(padded)
        merged = {
            alias: _merged(
                spec.tensor_name, [task.inputs[alias] for task in tasks], padded - rows, parameters
            )
            for alias, spec in signature.inputs.items()
        }
        found = self._model.run(signature, merged, outputs)
        metrics.BATCH_WRAPPED_RUN_COUNT.increment()
        for array in found.values():
            if array.ndim == 0:
                raise failed_precondition("Batched output tensor has 0 dimensions")
            if len(array) != padded:
                raise failed_precondition(
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th "
                    "dimension sizes of the input tensors"
                )
        start = 0
        for task in tasks:
            end = start + task.size
            task.outputs = {alias: array[start:end] for alias, array in found.items()}
            start = end


def _batch_size(inputs: Mapping[str, NDArray[Any]]) -> int:
    size = -1
    for array in inputs.values():
        if array.ndim == 0:
            refuse("Batching Run() input tensors must have at least one dimension")
        if size not in (-1, len(array)):
            refuse("Batching Run() input tensors must have equal 0th-dimension size")
        size = len(array)
    if size == -1:
        refuse("Batching session Run() must have at least one input tensor")
    for _ in inputs:
        metrics.BATCH_INPUT_SIZE.observe(size)
    return size


def _merged(
    tensor_name: str, arrays: list[NDArray[Any]], padding: int, parameters: BatchingParameters
) -> NDArray[Any]:
    """The rows of all tasks one after the other, filled up with the last task's first row.

    As in TensorFlow Serving, a task that does not fit the others fails all of them: dtypes are
    compared with the signature's only when the whole is computed.
    """
    if len(arrays) == 1 and not padding:
        return arrays[0]
    if any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
        if not parameters.pad_variable_length_inputs:
            raise failed_precondition(
                f"Tensors with name '{tensor_name}' from different tasks have different shapes and "
                "padding is turned off. Set pad_variable_length_inputs to true, or ensure that all "
                "tensors with the same name have equal dimensions starting with the first dim."
            )
        arrays = _padded(arrays)
    first = arrays[0].dtype
    for array in arrays:
        if array.dtype != first:
            raise ServingError(
                StatusCode.INTERNAL,
                "Tensor concat operation failed: INVALID_ARGUMENT: Cannot concatenate tensors that "
                f"have different data types. Got {dtype_name(arrays[0])} and {dtype_name(array)}.",
            )
    if padding:
        last = next(array for array in reversed(arrays) if len(array))
        arrays = [*arrays, np.repeat(last[:1], padding, axis=0)]
    return np.concatenate(arrays)


def _padded(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Fills up every dimension but the first with the array's own first value."""
    rank = arrays[0].ndim
    if any(array.ndim != rank for array in arrays) or not 1 <= rank <= 6:
        refuse("Only tensors with rank from 1 to 6 can be padded.")
    shape = tuple(max(array.shape[axis] for array in arrays) for axis in range(1, rank))
    filled = []
    for array in arrays:
        if array.shape[1:] == shape:
            filled.append(array)
            continue
        if not array.size:
            refuse("Got empty tensor in batch of non-empty tensors.")
        whole = np.full((len(array), *shape), array.flat[0], dtype=array.dtype)
        whole[tuple(slice(size) for size in array.shape)] = array
        filled.append(whole)
    return filled
