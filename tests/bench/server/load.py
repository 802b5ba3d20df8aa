"""Closed-loop callers: each sends one request, waits for its answer, and sends the next.

They share the machine with the server, so they must cost little: requests are serialized
beforehand and answers stay bytes. Of gRPC's three Python clients `.future` with callbacks on one
channel costs the least: against the echo server, 32 callers, 12 kB requests, median of 6
interleaved rounds, client's CPU per call 234 µs; threads with the synchronous stub 305 µs,
grpc.aio 260 µs; a channel for each caller 343, 310 and 277 µs. HTTP callers are plain sockets with
kept connections in one thread.

A `Check` says whether an answer is right.
"""

from __future__ import annotations

import dataclasses
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import grpc
import numpy as np
from numpy.typing import NDArray

WARM_UP_S: Final = 0.25
"""Callers run so long before they are measured: connections are made, queues are full."""

TIMEOUT_S: Final = 30.0
"""Of one request; and how long a round may take to come to its end."""

Check = Callable[[int, bytes], str]
"""(which request, its answer) → what is wrong with it, empty if nothing. Called for each answer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """What one round of callers saw."""

    seconds: float
    latencies_s: NDArray[np.float64]
    """Of the right answers that came within these seconds."""
    answered: int
    """Right answers in all, those of the warm-up too."""
    errors: int
    first_error: str
    client_cpu_s: float
    """Of this process, within these seconds."""
    server_cpu_s: float

    @property
    def per_s(self) -> float:
        """Right answers a second."""
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, share: float) -> float:
        """Of the latencies; NaN where there are none."""
        if not len(self.latencies_s):
            return float("nan")
        return float(np.percentile(self.latencies_s, share)) * 1000


class Callers(Protocol):
    """One way to a server; keeps its connections from round to round."""

    def start(self, requests: Sequence[bytes], count: int, taken: Taken) -> None:
        """Lets `count` callers ask until `taken.stop`, and returns at once."""


class Taken:
    """What callers record, and when they stop."""

    def __init__(self, check: Check, callers: int) -> None:
        self.check = check
        self.stop = False
        self.answers: list[tuple[float, float]] = []
        """(when it came, seconds it took), of right answers."""
        self.errors = 0
        self.first_error = ""
        self._running = callers
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def answer(self, index: int, started: float, data: bytes) -> None:
        """Records an answer, right or wrong."""
        now = time.perf_counter()
        wrong = self.check(index, data)
        if wrong:
            self.error(wrong)
        else:
            self.answers.append((now, now - started))

    def error(self, what: str) -> None:
        """Counts a failure; the text of the first one is kept."""
        self.first_error = self.first_error or what
        self.errors += 1

    def caller_ended(self) -> None:
        """Called once by each caller when it stops."""
        with self._lock:
            self._running -= 1
            if not self._running:
                self._ended.set()

    def wait(self) -> None:
        """Waits until all callers have stopped; one that does not is an error."""
        if not self._ended.wait(TIMEOUT_S + 5):
            self.error(f"{self._running} callers got no answer in {TIMEOUT_S:.0f} s")


def run(
    callers: Callers,
    requests: Sequence[bytes],
    check: Check,
    *,
    count: int,
    seconds: float,
    server_cpu_s: Callable[[], float],
) -> Load:
    """One round.

    Args:
        callers: the way to the server.
        requests: sent in turn, by all callers together.
        check: of each answer.
        count: concurrent callers.
        seconds: measured; the warm-up comes on top.
        server_cpu_s: what the server has used so far.
    """
    taken = Taken(check, count)
    callers.start(requests, count, taken)
    time.sleep(WARM_UP_S)
    begin, client, server = time.perf_counter(), time.process_time(), server_cpu_s()
    time.sleep(seconds)
    end, client_end, server_end = time.perf_counter(), time.process_time(), server_cpu_s()
    taken.stop = True
    taken.wait()
    return Load(
        seconds=end - begin,
        latencies_s=np.array([took for came, took in taken.answers if begin <= came < end]),
        answered=len(taken.answers),
        errors=taken.errors,
        first_error=taken.first_error,
        client_cpu_s=client_end - client,
        server_cpu_s=server_end - server,
    )


def ask_once(target: str, method: str, request: bytes) -> bytes:
    """One gRPC call and its answer."""
    with grpc.insecure_channel(target) as channel:
        answer: bytes = channel.unary_unary(method)(request, timeout=TIMEOUT_S)
    return answer


class GrpcCallers:
    """Callers on one channel, driven by its callbacks.

    Args:
        target: host:port.
        method: path of a unary call.
    """

    def __init__(self, target: str, method: str) -> None:
        # A pool of its own: or channels to one target would share a connection.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self._call = grpc.insecure_channel(target, options=options).unary_unary(method)

    def start(self, requests: Sequence[bytes], count: int, taken: Taken) -> None:
        """See Callers."""
        turns = _Turns(len(requests))

        def ask() -> None:
            if taken.stop:
                taken.caller_ended()
                return
            index = turns.next()
            started = time.perf_counter()
            future = self._call.future(requests[index], timeout=TIMEOUT_S)

            def answered(future: Any) -> None:
                # gRPC only logs what a callback raises: the caller would stop unnoticed.
                try:
                    taken.answer(index, started, future.result())
                except grpc.RpcError as error:
                    taken.error(f"{error.code().name}: {error.details()}")
                except Exception as error:
                    taken.error(f"{type(error).__name__}: {error}")
                ask()

            future.add_done_callback(answered)

        for _ in range(count):
            ask()


_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class HttpCallers:
    """Callers with a kept connection each, all in one thread.

    Args:
        address: host and port.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def request(self, path: str, content_type: str, body: bytes) -> bytes:
        """A whole POST request as it goes over the wire."""
        host, port = self._address
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\nAccept: */*\r\n\r\n"
        )
        return head.encode() + body

    def start(self, requests: Sequence[bytes], count: int, taken: Taken) -> None:
        """See Callers."""
        threading.Thread(
            target=self._run, args=(requests, count, taken), name="http callers", daemon=True
        ).start()

    def _run(self, requests: Sequence[bytes], count: int, taken: Taken) -> None:
        turns = _Turns(len(requests))
        with selectors.DefaultSelector() as selector:
            for _ in range(count):
                self._connect(selector, requests, turns, taken)
            while selector.get_map():
                for key, _ in selector.select(TIMEOUT_S):
                    self._go_on(key.data, selector, requests, turns, taken)

    def _connect(
        self,
        selector: selectors.BaseSelector,
        requests: Sequence[bytes],
        turns: _Turns,
        taken: Taken,
    ) -> None:
        try:
            connection = _Connection(self._address, max(map(len, requests)))
            connection.send(turns.next(), requests)
        except OSError as error:
            taken.error(f"{type(error).__name__}: {error}")
            taken.caller_ended()
        else:
            selector.register(connection.socket, selectors.EVENT_READ, connection)

    def _go_on(
        self,
        connection: _Connection,
        selector: selectors.BaseSelector,
        requests: Sequence[bytes],
        turns: _Turns,
        taken: Taken,
    ) -> None:
        """Takes what has come; when it is an answer, sends the next request."""
        try:
            answer = connection.receive()
            if answer is None:
                return
            taken.answer(connection.index, connection.started, answer)
            if not taken.stop:
                connection.send(turns.next(), requests)
                return
        except Exception as error:
            taken.error(f"{type(error).__name__}: {error}")
        selector.unregister(connection.socket)
        connection.socket.close()
        if taken.stop:
            taken.caller_ended()
        else:  # after a failure: on a new connection
            self._connect(selector, requests, turns, taken)


class _Connection:
    """One caller's connection, and the request whose answer it waits for."""

    def __init__(self, address: tuple[str, int], largest_request: int) -> None:
        self.socket = socket.create_connection(address, TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A request goes out in one piece, so that no caller keeps the others waiting.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * largest_request)
        self.index = 0
        self.started = 0.0
        self._received = bytearray()
        self._whole = 0
        self._body = 0

    def send(self, index: int, requests: Sequence[bytes]) -> None:
        self.index = index
        self.started = time.perf_counter()
        self.socket.sendall(requests[index])

    def receive(self) -> bytes | None:
        """The body, once it is whole.

        Raises:
            ValueError: another status than 200, or no length.
            OSError: the connection was closed.
        """
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._received += data
        if not self._whole:
            end = self._received.find(b"\r\n\r\n") + 4
            if end < 4:
                return None
            found = _CONTENT_LENGTH.search(self._received, 0, end)
            if found is None:
                raise ValueError(f"no content-length in {bytes(self._received[:200])!r}")
            self._body, self._whole = end, end + int(found[1])
        if len(self._received) < self._whole:
            return None
        status, body = bytes(self._received[9:12]), bytes(self._received[self._body : self._whole])
        del self._received[: self._whole]
        self._whole = 0
        if status != b"200":
            raise ValueError(f"HTTP {status.decode()}: {body[:200]!r}")
        return body


class _Turns:
    """0, 1, 2 … and again, for callers that ask from any thread."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._next = 0

    def next(self) -> int:
        # Two threads may get the same one, which does no harm.
        index = self._next
        self._next = (index + 1) % self._count
        return index
