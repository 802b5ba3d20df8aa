"""A small HTTP/1.1 server: connections on one event loop, answers from a pool of threads.

A slow or half-open connection costs a coroutine, not a thread. Knows HTTP and nothing about models.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

_log = logging.getLogger(__name__)

_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_BODY_BYTES: Final = 512 * 2**20
_STATUS_499: Final = "Client Closed Request"


@dataclass(frozen=True)
class HttpRequest:
    """A whole request."""

    method: str
    path: str
    """As sent, without the query."""
    body: bytes


@dataclass(frozen=True)
class HttpResponse:
    """A whole answer."""

    status: int
    content_type: str
    body: bytes


Answer = Callable[[HttpRequest], HttpResponse]


class HttpServer:
    """A listening HTTP server; `close` ends it."""

    def __init__(
        self, answer: Answer, host: str, port: int, threads: int, timeout_s: float
    ) -> None:
        """Args:
        answer: called in a thread of its own for each request.
        host: the address to bind.
        port: 0 takes a free one, see `port`.
        threads: requests that are answered at the same time.
        timeout_s: how long a connection may keep silent, within a request or between two.

        Raises:
            OSError: the port cannot be had.
        """
        self._answer = answer
        self._timeout_s = timeout_s
        self._pool = futures.ThreadPoolExecutor(threads, thread_name_prefix="rest")
        self._socket = socket.create_server((host, port), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)
        self._busy: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()
        self._closing = False

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def close(self, grace_s: float) -> None:
        """Takes no new request and gives those in flight so long to finish."""
        if self._thread.is_alive():
            stopped = asyncio.run_coroutine_threadsafe(self._stop(grace_s), self._loop)
            with contextlib.suppress(TimeoutError, futures.TimeoutError):
                stopped.result(grace_s + 1)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=1)
        else:
            self._socket.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._connection, sock=self._socket, limit=_MAX_HEAD_BYTES)
        )
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _stop(self, grace_s: float) -> None:
        self._closing = True
        self._server.close()
        for task in self._idle:
            task.cancel()
        if self._busy:
            await asyncio.wait(self._busy, timeout=grace_s)
        for task in self._busy | self._idle:
            task.cancel()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            again = True
            while again and not self._closing:
                self._idle.add(task)
                with self._patience(task):
                    head = await _read_head(reader)
                if head is None:
                    break
                self._idle.discard(task)
                self._busy.add(task)
                again = await self._exchange(task, head, reader, writer)
                self._busy.discard(task)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the other side has gone, keeps silent, or the server stops
        except Exception:
            _log.exception("a connection failed inside the server")
        finally:
            self._idle.discard(task)
            self._busy.discard(task)
            writer.close()

    @contextlib.contextmanager
    def _patience(self, task: asyncio.Task[None]) -> Iterator[None]:
        """Ends the connection if the other side keeps silent for too long."""
        alarm = self._loop.call_later(self._timeout_s, task.cancel)
        try:
            yield
        finally:
            alarm.cancel()

    async def _exchange(
        self,
        task: asyncio.Task[None],
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answers one request; returns whether the connection stays open."""
        try:
            method, path, headers, version = _parse_head(head)
            with self._patience(task):
                body = await _read_body(headers, reader, writer)
        except _BadRequestError as error:
            plain = HttpResponse(error.status, "text/plain", f"{error}\n".encode())
            await _write(writer, plain, stay=False, with_body=True)
            return False
        request = HttpRequest(method, path, body)
        response = await self._loop.run_in_executor(self._pool, self._answer, request)
        wish = headers.get("connection", "").lower()
        stay = (version == "HTTP/1.1" and wish != "close") or wish == "keep-alive"
        stay = stay and not self._closing
        await _write(writer, response, stay=stay, with_body=method != "HEAD")
        return stay


class _BadRequestError(Exception):
    """Not HTTP; the connection cannot go on."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def _read_head(reader: asyncio.StreamReader) -> bytes | None:
    """The request line and headers, None at the end of the connection or where there is no end."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str], str]:
    lines = head.decode("latin-1").strip("\r\n").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.0", "HTTP/1.1"):
        raise _BadRequestError(400, "Expected METHOD PATH HTTP/1.1.")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, separator, value = line.partition(":")
        if not separator or not name or name != name.strip():
            raise _BadRequestError(400, "Expected headers of the form name: value.")
        headers[name.lower()] = value.strip()
    method, target, version = parts
    return method, target.split("?", 1)[0], headers, version


async def _read_body(
    headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bytes:
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _read_chunks(reader)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise _BadRequestError(400, "Expected a whole number as Content-Length.")
    if int(length) > _MAX_BODY_BYTES:
        raise _BadRequestError(413, f"Expected at most {_MAX_BODY_BYTES} bytes.")
    return await reader.readexactly(int(length))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        line = await reader.readline()
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            raise _BadRequestError(400, "Expected the size of a chunk.") from None
        if size < 0 or len(body) + size > _MAX_BODY_BYTES:
            raise _BadRequestError(413, f"Expected at most {_MAX_BODY_BYTES} bytes.")
        if size == 0:
            while (await reader.readline()).strip():
                pass
            return bytes(body)
        body += await reader.readexactly(size)
        await reader.readexactly(2)


async def _write(
    writer: asyncio.StreamWriter, response: HttpResponse, *, stay: bool, with_body: bool
) -> None:
    known = response.status in HTTPStatus._value2member_map_
    phrase = HTTPStatus(response.status).phrase if known else _STATUS_499
    head = (
        f"HTTP/1.1 {response.status} {phrase}\r\n"
        f"Content-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\n"
        + ("" if stay else "Connection: close\r\n")
        + "\r\n"
    )
    writer.write(head.encode("latin-1") + (response.body if with_body else b""))
    await writer.drain()
