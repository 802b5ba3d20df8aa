"""HTTP/1.1: aiohttp's server on an event loop of its own, answers from a pool of threads.

A slow or half-open connection costs a coroutine, not a thread. How many there are, how long one may
dawdle and how much all of them hold is bounded.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
import threading
import time
import zlib
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiohttp import HttpVersion10, HttpVersion11, web
from grpc import StatusCode

from serving.local.errors import ServingError
from serving.local.rest.connections import Connections, most_connections

_log = logging.getLogger(__name__)

_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_BODY_BYTES: Final = 512 * 2**20

_MAX_HELD_BYTES: Final = 2 * _MAX_BODY_BYTES
"""Of all bodies together that are arriving or being answered; a further byte is 503."""

_MAX_UNZIPPED_BYTES: Final = 100 * 2**20
"""TensorFlow Serving unpacks no more, and takes a larger body for an empty one."""

_SILENCE_S: Final = 50.0
"""How long a connection may send nothing, within a request or between two; libevent's limit.
aiohttp treats a body that stops being valid HTTP as one that sends nothing."""

_SLOWEST_BYTES_S: Final = 16 * 1024
"""Bytes a second that a body, and the caller who reads an answer, must keep up with over the whole
once `_SILENCE_S` are over. A byte now and then would keep a connection for ever."""

_GZIP: Final = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class HttpRequest:
    """A whole request."""

    method: str
    target: str
    """Path and query as they were sent."""
    body: bytes
    origin: str
    """The header of this name, empty if there is none."""
    expires: float
    """When the caller gets DEADLINE_EXCEEDED, on the clock of time.monotonic."""
    host: str = ""
    """The header of this name: the server's address as the caller wrote it."""
    peer: str = ""
    """The address that the connection comes from."""
    connected: Callable[[], bool] = lambda: True
    """Whether the caller's connection is still open."""

    def expired(self) -> bool:
        """Whether the caller has got DEADLINE_EXCEEDED."""
        return time.monotonic() >= self.expires

    def waits(self) -> bool:
        """Whether the caller still waits for the answer."""
        return self.connected() and not self.expired()


@dataclass(frozen=True)
class HttpResponse:
    """A whole answer."""

    status: int
    content_type: str
    """Empty sends none."""
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Application(Protocol):
    """What is served."""

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answers a request, in a thread of its own; never raises."""
        ...

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        """Answers, at once, a request that `answer` was not asked or has not answered in time."""
        ...


class HttpServer:
    """A listening HTTP server. It ends with the process, see `drain`.

    Args:
        application: answers.
        host: the address to bind.
        port: 0 takes a free one, see `port`.
        threads: requests that are answered at the same time.
        timeout_s: a request that takes longer is DEADLINE_EXCEEDED; 0 or less waits for ever.

    Raises:
        OSError: the port cannot be had.
    """

    def __init__(
        self, application: Application, host: str, port: int, threads: int, timeout_s: float
    ) -> None:
        self._application = application
        self._timeout_s = timeout_s if timeout_s > 0 else None
        self._pool = futures.ThreadPoolExecutor(threads, thread_name_prefix="rest")
        self._socket = socket.create_server((host, port), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)
        self._refusing = False
        self._in_flight = 0
        self._held_bytes = 0
        self._idle = asyncio.Event()
        self._connections: Connections | None = None

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def refuse(self) -> None:
        """From now on each new request gets UNAVAILABLE, and its connection is closed."""
        self._refusing = True

    def drain(self, grace_s: float) -> None:
        """Waits until requests in flight are answered, at most so long; call `refuse` before."""

        async def idle() -> None:
            while self._in_flight:
                self._idle.clear()
                await self._idle.wait()

        waiting = asyncio.run_coroutine_threadsafe(idle(), self._loop)
        futures.wait([waiting], max(0.0, grace_s))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()

    async def _listen(self) -> None:
        broken = _log.getChild("broken")
        broken.setLevel(logging.CRITICAL)  # aiohttp logs a stack for each that is not HTTP
        self._connections = Connections(
            self._handle,
            most_connections(),
            logger=broken,
            access_log=None,
            keepalive_timeout=_SILENCE_S,
            max_line_size=_MAX_HEAD_BYTES,
            max_field_size=_MAX_HEAD_BYTES,
            auto_decompress=False,
        )
        runner = web.ServerRunner(self._connections)
        await runner.setup()
        await web.SockSite(runner, self._socket).start()

    async def _handle(self, sent: web.BaseRequest) -> web.StreamResponse:
        assert self._connections is not None
        transport = sent.transport
        self._connections.busy(transport)
        self._in_flight += not (refused := self._refusing)
        body = _Body()
        try:
            given = await self._exchange(sent, body, refused)
            return await _answer(given, sent, close=refused)
        except (web.HTTPException, ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            _log.exception("a connection failed inside the server")
            raise
        finally:
            self._held_bytes -= body.size
            self._connections.idle(transport)
            if not refused:
                self._in_flight -= 1
                self._idle.set()

    async def _exchange(self, sent: web.BaseRequest, body: _Body, refused: bool) -> HttpResponse:
        if sent.version < HttpVersion10:
            raise web.HTTPBadRequest  # a line without a version, which TensorFlow Serving refuses
        if not refused:
            await self._receive(sent, body)
        request = HttpRequest(
            method=sent.method,
            target=sent.raw_path if sent.raw_path[:1] == "/" else sent.rel_url.raw_path_qs,
            body=body.taken(),
            origin=sent.headers.get("Origin", ""),
            expires=time.monotonic() + (self._timeout_s or float("inf")),
            host=sent.headers.get("Host", ""),
            peer=sent.remote or "",
            connected=lambda: sent.transport is not None and not sent.transport.is_closing(),
        )
        if refused:
            error = ServingError(StatusCode.UNAVAILABLE, "Server is shutting down")
            return self._application.refuse(request, error)
        zipped = "gzip" in sent.headers.get("Content-Encoding", "")
        answer = self._loop.run_in_executor(self._pool, self._answer, request, zipped)
        done, _ = await asyncio.wait([answer], timeout=self._timeout_s)
        if not done:
            answer.cancel()
            error = ServingError(StatusCode.DEADLINE_EXCEEDED, "Timed out waiting for notification")
            return self._application.refuse(request, error)
        return answer.result()

    def _answer(self, request: HttpRequest, zipped: bool) -> HttpResponse:
        if zipped:
            request = dataclasses.replace(request, body=_unzipped(request.body))
        return self._application.answer(request)

    async def _receive(self, request: web.BaseRequest, body: _Body) -> None:
        """Reads the whole body, as it was sent.

        Raises:
            web.HTTPException: it is too large, or does not come.
        """
        if (request.content_length or 0) > _MAX_BODY_BYTES:
            raise _too_large(request.content_length or 0)
        expects = request.headers.get("Expect", "").lower()
        if expects == "100-continue" and request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # what was written is not yet the answer
        began = time.monotonic()
        while not request.content.at_eof():
            if request.content.is_eof():
                piece = request.content.read_nowait()
            else:
                late = began + _time_for(body.size) - time.monotonic()
                try:
                    piece = await asyncio.wait_for(
                        request.content.readany(), max(0.0, min(_SILENCE_S, late))
                    )
                except asyncio.TimeoutError:
                    raise web.HTTPRequestTimeout from None
            body.content += piece
            body.size += len(piece)
            self._held_bytes += len(piece)
            if body.size > _MAX_BODY_BYTES:
                raise _too_large(body.size)
            if self._held_bytes > _MAX_HELD_BYTES:
                raise web.HTTPServiceUnavailable


@dataclass
class _Body:
    """What has come of a request's body."""

    content: bytearray = field(default_factory=bytearray)
    size: int = 0

    def taken(self) -> bytes:
        """All of it, which is then no longer held here."""
        content, self.content = bytes(self.content), bytearray()
        return content


async def _answer(given: HttpResponse, sent: web.BaseRequest, *, close: bool) -> web.StreamResponse:
    """Sends an answer, at the caller's pace.

    As libevent, TensorFlow Serving's HTTP server, does: an answer to HEAD has its body, and says
    no length, so that the caller takes the body for the beginning of the next answer; nor does an
    answer to HTTP/1.0 unless the connection is kept.

    Raises:
        ConnectionError: the caller has gone, or does not read.
    """
    unframed = sent.method == "HEAD" or (sent.version < HttpVersion11 and not sent.keep_alive)
    response: web.StreamResponse
    if unframed and given.body:
        response, body = web.StreamResponse(status=given.status, headers=given.headers), given.body
    else:
        response, body = web.Response(status=given.status, body=given.body), b""
        response.headers.update(given.headers)
    response.headers["Server"] = "serving.local"
    if given.content_type:
        response.headers["Content-Type"] = given.content_type
    if close:
        response.force_close()
    transport = sent.transport
    try:
        await response.prepare(sent)
        await asyncio.wait_for(_rest_of(response, body), _time_for(len(given.body)))
    except asyncio.TimeoutError:
        if transport is not None:
            transport.abort()
        raise ConnectionAbortedError("the answer is not read") from None
    return response


async def _rest_of(response: web.StreamResponse, body: bytes) -> None:
    if body:
        await response.write(body)
    await response.write_eof()


def _time_for(size: int) -> float:
    """Seconds that so many bytes may take."""
    return _SILENCE_S + size / _SLOWEST_BYTES_S


def _too_large(size: int) -> web.HTTPException:
    return web.HTTPRequestEntityTooLarge(max_size=_MAX_BODY_BYTES, actual_size=size)


def _unzipped(body: bytes) -> bytes:
    """The body as it was before it was packed; empty where it was not, as TensorFlow Serving."""
    unzip = zlib.decompressobj(_GZIP)
    try:
        plain = unzip.decompress(body, _MAX_UNZIPPED_BYTES)
    except zlib.error:
        return b""
    return plain if unzip.eof else b""
