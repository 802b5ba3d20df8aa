"""Collects tasks of different callers into batches, by the rules of SharedBatchScheduler.

A few threads serve the queues of all models in turn. A batch is taken once it is full or has waited
long enough, and a thread is free. As in TensorFlow Serving, a batch without a row is not taken at
all: it waits for a task that has one. What a task is does not matter here: it has a size, and its
queue has a function that computes a batch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from grpc import StatusCode

from serving.local.batching.parameters import BatchingParameters
from serving.local.errors import ServingError, invalid_argument


class Task(Protocol):
    """What is batched."""

    size: int
    """Rows."""


T = TypeVar("T", bound=Task)


class _Batch(Generic[T]):
    __slots__ = ("due", "size", "tasks")

    def __init__(self) -> None:
        self.tasks: list[T] = []
        self.size = 0
        self.due = 0.0


class BatchQueue(Generic[T]):
    """The batches of one signature of one version; made by `BatchScheduler.queue`.

    All state is guarded by the scheduler's lock.
    """

    def __init__(
        self,
        parameters: BatchingParameters,
        process: Callable[[list[T]], None],
        condition: threading.Condition,
    ) -> None:
        self.process = process
        self.draining = False
        """Whether an open batch waits for no more rows."""
        self._parameters = parameters
        self._largest = parameters.largest_batch
        self._timeout_s = parameters.batch_timeout_micros / 1e6
        self._condition = condition
        self._batches: deque[_Batch[T]] = deque([_Batch()])

    def open_slots(self) -> int:
        """Rows that still fit into the open batch."""
        with self._condition:
            return self._largest - self._batches[-1].size

    def schedule(self, task: T) -> None:
        """Adds a task to the open batch, or to a new one where it does not fit.

        Raises:
            ServingError: INVALID_ARGUMENT, the task is larger than a batch; UNAVAILABLE, the queue
                is full.
        """
        limit = self._parameters.max_batch_size
        if task.size > limit:
            raise invalid_argument(
                f"Task size {task.size} is larger than maximum input batch size {limit}"
            )
        with self._condition:
            batch = self._batches[-1]
            if batch.size + task.size > self._largest:
                if len(self._batches) >= self._parameters.max_enqueued_batches:
                    raise ServingError(
                        StatusCode.UNAVAILABLE,
                        "The batch scheduling queue to which this task was submitted is full; "
                        f"currently {len(self._batches)} batches enqueued and "
                        f"max_enqueued_batches is {self._parameters.max_enqueued_batches}",
                    )
                batch = _Batch()
                self._batches.append(batch)
            first = not batch.size
            if first:
                batch.due = time.monotonic() + self._timeout_s
            batch.tasks.append(task)
            batch.size += task.size
            # Tasks between the first and the one that fills the batch wake no thread: one already
            # waits for the batch to be due.
            if first or batch.size >= self._largest:
                self._condition.notify()

    def withdraw(self, task: T) -> bool:
        """Takes a task back; whether it was still there, and is not computed."""
        with self._condition:
            for batch in self._batches:
                if task in batch.tasks:
                    batch.tasks.remove(task)
                    batch.size -= task.size
                    if not batch.tasks and len(self._batches) > 1:
                        self._batches.remove(batch)
                    return True
        return False

    def take(self, now: float) -> list[T] | None:
        """The tasks of a batch that is full or due; None if there is none. The lock is held."""
        batch = self._batches[0]
        if len(self._batches) > 1:
            self._batches.popleft()
        elif batch.tasks and (self.draining or (batch.size and self._is_due(batch, now))):
            self._batches[0] = _Batch()
        else:
            return None
        return batch.tasks

    def due(self) -> float | None:
        """When the open batch is due; None while it has no row. The lock is held."""
        batch = self._batches[0]
        return batch.due if batch.size else None

    def _is_due(self, batch: _Batch[T], now: float) -> bool:
        return batch.size >= self._largest or now >= batch.due


class BatchScheduler(Generic[T]):
    """The threads that compute batches, for all models of a server. `close` ends them."""

    def __init__(self, parameters: BatchingParameters) -> None:
        """Starts the threads.

        Args:
            parameters: of every queue.
        """
        self.parameters = parameters
        self._condition = threading.Condition()
        self._queues: deque[BatchQueue[T]] = deque()
        self._draining = False
        self._closing = False
        for number in range(parameters.num_batch_threads):
            name = f"{parameters.thread_pool_name or 'batch'} {number}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def queue(self, process: Callable[[list[T]], None]) -> BatchQueue[T]:
        """Adds a queue.

        Args:
            process: computes the tasks of a batch and tells their callers; must not raise.
        """
        added = BatchQueue(self.parameters, process, self._condition)
        with self._condition:
            added.draining = self._draining
            self._queues.append(added)
        return added

    def remove(self, queue: BatchQueue[T]) -> None:
        """Drops a queue that gets no tasks any more."""
        with self._condition:
            self._queues.remove(queue)

    def drain(self) -> None:
        """From now on computes what waits at once: no further callers will fill the batches."""
        with self._condition:
            self._draining = True
            for queue in self._queues:
                queue.draining = True
            self._condition.notify_all()

    def close(self) -> None:
        """Ends the threads once they have finished the batches they compute."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()

    def _work(self) -> None:
        while (found := self._next_batch()) is not None:
            queue, tasks = found
            queue.process(tasks)

    def _next_batch(self) -> tuple[BatchQueue[T], list[T]] | None:
        """Waits for a batch; None when the scheduler is closed."""
        with self._condition:
            while not self._closing:
                now = time.monotonic()
                for _ in range(len(self._queues)):
                    queue = self._queues[0]
                    # The next search begins with the next queue.
                    self._queues.rotate(-1)
                    tasks = queue.take(now)
                    if tasks is not None:
                        return queue, tasks
                due = [at for queue in self._queues if (at := queue.due()) is not None]
                self._condition.wait(max(0.0, min(due) - now) if due else None)
        return None
