"""Whether the caller of the request that a thread works on still waits for its answer.

A transport says so for the thread that answers; what may wait long there looks every now and then,
and ends when nobody waits any more, so that the thread is free again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from grpc import StatusCode

from serving.local.errors import ServingError

LOOK_S: Final = 0.2
"""Between two looks at whether the caller still waits."""

_waits: ContextVar[Callable[[], bool]] = ContextVar("waits")


@contextmanager
def waiting(waits: Callable[[], bool]) -> Iterator[None]:
    """Within, `waits` tells whether the caller still waits."""
    token = _waits.set(waits)
    try:
        yield
    finally:
        _waits.reset(token)


def waits() -> bool:
    """Whether the caller still waits; without a caller, as in a warm-up, it is true."""
    found = _waits.get(None)
    return found is None or found()


def gone() -> ServingError:
    """What ends the work for a caller that does not wait any more; nobody reads it."""
    return ServingError(StatusCode.CANCELLED, "the caller has gone")
