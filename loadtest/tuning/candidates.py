"""Batching parameters to be tried: a grid, and the file that TensorFlow Serving reads."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from typing import Final

from foundation.command_line import InputError

ENQUEUED: Final = 100
"""max_enqueued_batches. Beyond it TensorFlow Serving refuses with UNAVAILABLE. With its default of
10, a short burst is refused although no request would have waited long."""

MOST: Final = 64
"""How many candidates a grid may have; each costs about a minute."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """One set of parameters, by TensorFlow Serving's names; None: batching off."""

    max_batch_size: int | None = None
    """Rows of a batch at most, and so of a request."""
    batch_timeout_micros: int = 0
    """How long an open batch waits for more rows once a thread is free."""
    num_batch_threads: int = 1
    """How many batches are computed at the same time."""

    @property
    def name(self) -> str:
        """Short, such as "32 rows, 1000 us, 2 threads"."""
        if self.max_batch_size is None:
            return "no batching"
        threads = f"{self.num_batch_threads} thread{'s' * (self.num_batch_threads != 1)}"
        return f"{self.max_batch_size} rows, {self.batch_timeout_micros} us, {threads}"

    def text(self, comments: Sequence[str] = ()) -> str:
        """The file behind --batching_parameters_file.

        Args:
            comments: lines above it.
        """
        assert self.max_batch_size is not None, "nothing to write where batching is off"
        lines = [f"# {line}".rstrip() for line in comments]
        lines += [
            f"max_batch_size {{ value: {self.max_batch_size} }}",
            f"batch_timeout_micros {{ value: {self.batch_timeout_micros} }}",
            f"num_batch_threads {{ value: {self.num_batch_threads} }}",
            f"max_enqueued_batches {{ value: {ENQUEUED} }}",
        ]
        return "\n".join(lines) + "\n"


OFF: Final = Candidate()


def grid(
    sizes: Sequence[int], timeouts_us: Sequence[int], threads: Sequence[int]
) -> tuple[Candidate, ...]:
    """Batching off, and every combination.

    Raises:
        InputError: a value that cannot be, or too many combinations.
    """
    for flag, values, least in (
        ("--batch-sizes", sizes, 1),
        ("--timeouts-us", timeouts_us, 0),
        ("--threads", threads, 1),
    ):
        if not values or min(values) < least:
            received = ",".join(map(str, values)) or "none"
            raise InputError(f"Expected {flag} of {least} or more. Received: {received}")
    found = tuple(
        Candidate(max_batch_size=size, batch_timeout_micros=timeout, num_batch_threads=count)
        for size, timeout, count in itertools.product(
            *(sorted(set(values)) for values in (sizes, timeouts_us, threads))
        )
    )
    if len(found) > MOST:
        raise InputError(
            f"Expected at most {MOST} combinations, each of which costs about a minute. "
            f"Received: {len(found)}"
        )
    return (OFF, *found)


def usual_threads() -> tuple[int, ...]:
    """One batch at a time, and one a core."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return tuple(sorted({1, count or 1}))
