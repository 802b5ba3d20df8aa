"""Clients without a connection: a fake in this process answers what they send."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from typing import Any, Final

import grpc

from tfs_client.aio import AsyncClient
from tfs_client.client import Client
from tfs_client.testing.answering import Fake
from tfs_client.testing.served import requests
from tfs_client.testing.served.wording import Failure

TARGET: Final = "unix:a-fake-in-this-process"
"""What errors name in place of an address."""

_Answer = tuple[requests.Request, Any]


class _RpcError(grpc.RpcError):
    """A call that failed, as gRPC's stubs raise it."""

    def __init__(self, code: grpc.StatusCode, details: str):
        super().__init__(f"{code.name}: {details}")
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        """The status code."""
        return self._code

    def details(self) -> str:
        """The words that came with it."""
        return self._details


class _Line:
    """Stands for gRPC's multi-callable of one method: bytes to a fake, bytes back.

    Args:
        fake: answers.
        path: of the method.
    """

    def __init__(self, fake: Fake, path: str):
        self._fake = fake
        self._call = requests.CALL_OF[path]

    def __call__(
        self, data: bytes, timeout: float, metadata: Any = None, wait_for_ready: Any = None
    ) -> bytes:
        """The answer; waits for it in this thread."""
        ask, delay_s = self._asked(data, metadata, timeout)
        time.sleep(min(delay_s, timeout))
        return _answered(ask, delay_s, timeout)

    def future(
        self, data: bytes, timeout: float, metadata: Any = None, wait_for_ready: Any = None
    ) -> Future[bytes]:
        """The answer's future; a thread waits for it."""
        future: Future[bytes] = Future()

        def run() -> None:
            try:
                future.set_result(self(data, timeout, metadata))
            except BaseException as error:  # whoever waits for the future gets it
                future.set_exception(error)

        future.set_running_or_notify_cancel()
        threading.Thread(target=run, daemon=True, name="tfs-fake").start()
        return future

    def _asked(self, data: bytes, metadata: Any, timeout_s: float) -> tuple[_Answer, float]:
        self._fake._book.check_usable()
        request = requests.read(self._call, data, dict(metadata or ()), timeout_s)
        request = self._fake._record(request)
        outcome = self._fake._respond(request)
        return (request, outcome.answer), outcome.delay_s


class _AsyncLine(_Line):
    """The same for a client in an event loop."""

    async def __call__(  # type: ignore[override]
        self, data: bytes, timeout: float, metadata: Any = None, wait_for_ready: Any = None
    ) -> bytes:
        """The answer, awaited."""
        ask, delay_s = self._asked(data, metadata, timeout)
        await asyncio.sleep(min(delay_s, timeout))
        return _answered(ask, delay_s, timeout)


def _answered(ask: _Answer, delay_s: float, timeout_s: float) -> bytes:
    """The bytes of an answer that was waited for.

    Raises:
        _RpcError: it is a failure, or came too late.
    """
    request, answer = ask
    if delay_s >= timeout_s:
        raise _RpcError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    if isinstance(answer, Failure):
        words = answer.details(request.model, request.label, request.version, request.signature)
        raise _RpcError(answer.code, words)
    data: bytes = answer.SerializeToString()
    return data


class InProcess(Client):
    """A Client whose requests are answered by a fake."""

    def __init__(self, fake: Fake, **settings: Any):
        self._answerer = fake
        super().__init__(TARGET, **{"retry": None, "breaker": None, **settings})

    def _stub(self, method: str) -> Any:
        return _Line(self._answerer, method)


class AsyncInProcess(AsyncClient):
    """An AsyncClient whose requests are answered by a fake."""

    def __init__(self, fake: Fake, **settings: Any):
        self._answerer = fake
        super().__init__(TARGET, **{"retry": None, "breaker": None, **settings})

    def _stub(self, method: str) -> Any:
        return _AsyncLine(self._answerer, method)
