"""What callers of the REST port may hold, and for how long: real sockets, no models."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from serving.local.errors import ServingError
from serving.local.rest import http
from serving.local.rest.http import HttpRequest, HttpResponse, HttpServer
from tests.waiting import eventually

HEAD = b"POST /x HTTP/1.1\r\nHost: x\r\n"
WHOLE = HEAD + b"Content-Length: 2\r\n\r\nab"


class Echo:
    """Answers with the length of the body; a body `held` waits until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.sent: list[HttpRequest] = []

    def answer(self, request: HttpRequest) -> HttpResponse:
        self.sent.append(request)
        if request.body == b"held":
            self.go.wait(20)
        return HttpResponse(200, "text/plain", str(len(request.body)).encode())

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        return HttpResponse(500, "text/plain", error.text.encode())


Start = Callable[..., HttpServer]


@pytest.fixture
def application() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.go.set()


@pytest.fixture
def start(application: Echo) -> Start:
    def started(timeout_s: float = 0) -> HttpServer:
        server = HttpServer(application, "127.0.0.1", 0, threads=2, timeout_s=timeout_s)
        server.start()
        return server

    return started


@contextlib.contextmanager
def connected(server: HttpServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        yield connection


def ended(connection: socket.socket) -> bool:
    """Whether the server has closed it, at once or within the time that is left."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(10_000):
            pass
    return True


def test_one_connection_too_many_closes_the_one_that_was_idle_for_longest(
    start: Start, monkeypatch: pytest.MonkeyPatch, application: Echo
) -> None:
    monkeypatch.setattr(http, "most_connections", lambda: 3)
    server = start()
    with contextlib.ExitStack() as stack:
        working, oldest, used = (stack.enter_context(connected(server)) for _ in range(3))
        working.sendall(HEAD + b"Content-Length: 4\r\n\r\nheld")
        eventually(lambda: len(application.sent) == 1, "the first is in work")
        used.sendall(WHOLE)
        assert used.recv(1000).startswith(b"HTTP/1.1 200")

        newest = stack.enter_context(connected(server))
        newest.sendall(WHOLE)

        assert newest.recv(1000).startswith(b"HTTP/1.1 200")
        assert ended(oldest)
        used.sendall(WHOLE)
        assert used.recv(1000).startswith(b"HTTP/1.1 200")
        application.go.set()
        assert working.recv(1000).startswith(b"HTTP/1.1 200")


def test_callers_who_hold_all_connections_keep_nobody_out(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "most_connections", lambda: 20)
    server = start()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connected(server)).sendall(b"POST /x HT")
        with connected(server) as connection:
            connection.sendall(WHOLE)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_body_that_drips_is_ended(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_SILENCE_S", 0.5)
    server = start()
    with connected(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
        began = time.monotonic()
        answer = b""
        connection.settimeout(0.1)
        while not answer and time.monotonic() - began < 10:
            with contextlib.suppress(TimeoutError):
                connection.sendall(b"a")
                answer = connection.recv(1000)

    assert answer.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 5


def test_an_answer_that_nobody_reads_ends_the_connection(
    start: Start, monkeypatch: pytest.MonkeyPatch, application: Echo
) -> None:
    monkeypatch.setattr(http, "_SILENCE_S", 0.5)
    monkeypatch.setattr(http, "_SLOWEST_BYTES_S", 2**40)
    large = HttpResponse(200, "text/plain", bytes(50_000_000))
    monkeypatch.setattr(application, "answer", lambda _: large)
    server = start()
    with connected(server) as connection:
        connection.sendall(WHOLE)
        time.sleep(2)
        received = 0
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1_000_000):
                received += len(piece)

    assert received < 50_000_000


def test_bodies_hold_no_more_than_their_share_together(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_MAX_HELD_BYTES", 100_000)
    server = start()
    with connected(server) as half, connected(server) as other:
        half.sendall(HEAD + b"Content-Length: 90000\r\n\r\n" + bytes(80_000))
        eventually(lambda: server._held_bytes == 80_000, "the first body is held")
        other.sendall(HEAD + b"Content-Length: 30000\r\n\r\n" + bytes(30_000))
        assert other.recv(1000).startswith(b"HTTP/1.1 503")
        half.sendall(bytes(10_000))
        assert half.recv(1000).endswith(b"90000")
    eventually(lambda: server._held_bytes == 0, "nothing is held")


@pytest.mark.parametrize(("size", "received"), [(1000, b"1000"), (1001, b"0")])
def test_a_body_is_unpacked_up_to_a_limit_and_is_none_beyond(
    start: Start, monkeypatch: pytest.MonkeyPatch, size: int, received: bytes
) -> None:
    monkeypatch.setattr(http, "_MAX_UNZIPPED_BYTES", 1000)
    server = start()
    packed = gzip.compress(bytes(size))
    with connected(server) as connection:
        connection.sendall(
            HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
        )
        assert connection.recv(1000).endswith(b"\r\n\r\n" + received)


def test_a_gzip_bomb_holds_up_nobody(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go = threading.Event(), threading.Event()

    def slowly(body: bytes) -> bytes:
        began.set()
        go.wait(20)
        return b""

    monkeypatch.setattr(http, "_unzipped", slowly)
    server = start()
    packed = gzip.compress(bytes(1000))
    with connected(server) as bomb, connected(server) as other:
        bomb.sendall(
            HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
        )
        assert began.wait(20)
        other.sendall(WHOLE)
        assert other.recv(1000).startswith(b"HTTP/1.1 200")
        go.set()
        assert bomb.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_request_knows_when_its_caller_has_gone(start: Start, application: Echo) -> None:
    server = start()
    with connected(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 4\r\n\r\nheld")
        eventually(lambda: len(application.sent) == 1, "it is in work")
        assert application.sent[0].waits()
    eventually(lambda: not application.sent[0].waits(), "the caller has gone")


def test_a_request_knows_when_it_has_been_refused(start: Start, application: Echo) -> None:
    server = start(timeout_s=0.2)
    with connected(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 4\r\n\r\nheld")
        assert connection.recv(1000).endswith(b"Timed out waiting for notification")
    assert application.sent[0].expired()
