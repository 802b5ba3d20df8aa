"""The client's logic as steps, and the two ways to walk them: in a thread, or in an event loop.

What a call does (check, send, retry, hedge, fall back) is written once, as generators that yield
each thing that they wait for. `walk` waits for it in the thread; `walk_async` awaits it.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tfs_client.background.forks import Grpc

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

_calls = Grpc.calls

Result = TypeVar("Result")

Metadata = Sequence[tuple[str, "str | bytes"]]


class Step(Protocol):
    """Something to wait for."""

    def wait(self) -> Any:
        """Does it and returns what came of it."""

    async def wait_async(self) -> Any:
        """The same in an event loop."""


Steps = Generator[Step, Any, Result]
"""Yields what it waits for, is sent what came of it, and returns the result."""


def walk(steps: Steps[Result]) -> Result:
    """Walks all steps in this thread."""
    try:
        step = next(steps)
        while True:
            try:
                outcome = step.wait()
            except BaseException as error:  # noqa: PERF203  # the steps handle it
                step = steps.throw(error)
            else:
                step = steps.send(outcome)
    except StopIteration as end:
        result: Result = end.value
        return result


async def walk_async(steps: Steps[Result]) -> Result:
    """Walks all steps in the running event loop."""
    try:
        step = next(steps)
        while True:
            try:
                outcome = await step.wait_async()
            except BaseException as error:  # noqa: PERF203  # the steps handle it
                step = steps.throw(error)
            else:
                step = steps.send(outcome)
    except StopIteration as end:
        result: Result = end.value
        return result


class Send:
    """One attempt: bytes to a stub of gRPC's (sync or asyncio, as the walk), bytes back.

    Raises (from both waits):
        grpc.RpcError: it failed.
    """

    __slots__ = ("_metadata", "_request", "_stub", "_wait_for_ready", "timeout_s")

    def __init__(
        self,
        stub: Any,
        request: bytes,
        timeout_s: float,
        metadata: Metadata | None,
        wait_for_ready: bool | None,
    ):
        self._stub = stub
        self._request = request
        self.timeout_s = timeout_s
        self._metadata = metadata
        self._wait_for_ready = wait_for_ready

    def within(self, timeout_s: float) -> Send:
        """The same attempt with another deadline."""
        return Send(self._stub, self._request, timeout_s, self._metadata, self._wait_for_ready)

    def wait(self) -> Any:
        """Sends it and waits for the answer."""
        _calls.add(self)
        try:
            return self._stub(
                self._request,
                timeout=self.timeout_s,
                metadata=self._metadata,
                wait_for_ready=self._wait_for_ready,
            )
        finally:
            _calls.discard(self)

    async def wait_async(self) -> Any:
        """Sends it and awaits the answer."""
        return await self._stub(
            self._request,
            timeout=self.timeout_s,
            metadata=self._metadata,
            wait_for_ready=self._wait_for_ready,
        )

    def start(self) -> Any:
        """Sends it; returns gRPC's future."""
        _calls.add(self)
        future = self._stub.future(
            self._request,
            timeout=self.timeout_s,
            metadata=self._metadata,
            wait_for_ready=self._wait_for_ready,
        )
        future.add_done_callback(lambda _: _calls.discard(self))
        return future

    def start_async(self) -> asyncio.Future[bytes]:
        """Sends it in the running event loop."""
        return asyncio.ensure_future(self.wait_async())


class Start:
    """Begins an attempt without waiting for it; gives a future with done, result and cancel."""

    __slots__ = ("_send",)

    def __init__(self, send: Send):
        self._send = send

    def wait(self) -> Any:
        """The future, in a thread."""
        return self._send.start()

    async def wait_async(self) -> Any:
        """The future, in an event loop."""
        return self._send.start_async()


class WaitAny:
    """Waits until one of several futures is done, or the time is up; gives those that are done."""

    __slots__ = ("_futures", "_timeout_s")

    def __init__(self, futures: Sequence[Any], timeout_s: float):
        self._futures = list(futures)
        self._timeout_s = timeout_s

    def wait(self) -> list[Any]:
        """In a thread."""
        one_is_done = threading.Event()
        for future in self._futures:
            future.add_done_callback(lambda _: one_is_done.set())
        one_is_done.wait(self._timeout_s)
        return self._done()

    async def wait_async(self) -> list[Any]:
        """In an event loop."""
        await asyncio.wait(
            self._futures, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        return self._done()

    def _done(self) -> list[Any]:
        return [future for future in self._futures if future.done()]


class Pause:
    """Waits a while."""

    __slots__ = ("_seconds",)

    def __init__(self, seconds: float):
        self._seconds = seconds

    def wait(self) -> None:
        """In a thread."""
        time.sleep(self._seconds)

    async def wait_async(self) -> None:
        """In an event loop."""
        await asyncio.sleep(self._seconds)


class Work:
    """Work that takes the processor or the disk; under an event loop it is done in a thread."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], Any]):
        self._function = function

    def wait(self) -> Any:
        """In this thread."""
        return self._function()

    async def wait_async(self) -> Any:
        """In another thread, so that the loop goes on."""
        return await asyncio.to_thread(self._function)


class InThread:
    """A caller's function, called in a thread of a pool, in the caller's context (contextvars).

    Gives its future as soon as it is done, or the time is up: then it is not done.
    """

    __slots__ = ("_function", "_pool", "_timeout_s")

    def __init__(self, pool: Executor, function: Callable[[], Any], timeout_s: float):
        self._pool = pool
        self._function = function
        self._timeout_s = timeout_s

    def wait(self) -> Future[Any]:
        """Waits in this thread."""
        from concurrent.futures import wait  # here: callers without such a function do without

        future = self._submit()
        wait([future], self._timeout_s)
        return future

    async def wait_async(self) -> Future[Any]:
        """Waits in the running event loop, which goes on."""
        future = self._submit()
        waiting = asyncio.wrap_future(future)
        try:
            await asyncio.wait([waiting], timeout=self._timeout_s)
        finally:
            waiting.cancel()  # one that comes too late is to wake no loop that has ended
            waiting.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        return future

    def _submit(self) -> Future[Any]:
        return self._pool.submit(contextvars.copy_context().run, self._function)
