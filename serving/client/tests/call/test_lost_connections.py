"""Servers that fall over a request, and servers that accept connections and go away."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from tfs_client import CallError, Client, Retry, Servable, UnavailableError

from ..model_server import ModelServer

QUICK = Retry(attempts=9, backoff_s=0.001, max_backoff_s=0.01, budget_burst=100)

FALLS = """
import os, sys, time
from concurrent import futures
import grpc

class Handlers(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.fall)

    def fall(self, request, context):
        with open(sys.argv[1], "a") as told:
            told.write("a request\\n")
        time.sleep(float(sys.argv[2]))
        os._exit(1)

server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((Handlers(),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""


@pytest.fixture
def falling(tmp_path):
    """A function that starts servers, each of which ends with its first request."""
    started: list[subprocess.Popen[str]] = []

    def start(servers: int, after_s: float = 0.0) -> list[str]:
        command = [sys.executable, "-c", FALLS, str(tmp_path / "requests"), str(after_s)]
        new = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(servers)]
        started.extend(new)
        return [f"127.0.0.1:{one.stdout.readline().strip()}" for one in new]

    yield start
    for one in started:
        one.kill()
        one.wait()
        one.stdout.close()


@pytest.fixture
def arrived(tmp_path):
    """A function that counts the requests that have reached any of these servers."""

    def count() -> int:
        path = tmp_path / "requests"
        return len(path.read_text().splitlines()) if path.exists() else 0

    return count


def ask(client, **settings):
    return client.predict({"x": [1.0]}, model="echo", **settings)


def test_a_request_over_which_two_servers_fell_is_taken_to_no_third(falling, arrived, open_client):
    client = open_client("ipv4:" + ",".join(falling(4)), retry=QUICK, check_inputs=False)
    with pytest.raises(UnavailableError, match="2 connections were lost while this request"):
        ask(client)
    assert arrived() == 2


def test_neither_do_fallbacks_get_it(falling, arrived, open_client):
    targets = falling(4)
    clients = [open_client(target, retry=QUICK, check_inputs=False) for target in targets]
    chain = [
        Servable(model="echo", client=getattr(one, "wrapped", one), label=f"of-{at}")
        for at, one in enumerate(clients)
    ]
    answer = ask(clients[0], fallback=chain[1:], default={"x": [0.0]})
    assert arrived() == 2
    assert (answer.answered_by, answer.needs_review) == ("default", True)
    not_asked = "not asked, as servers fell over this request: echo/labels/of-2, echo/labels/of-3"
    assert not_asked in answer.reason


def test_neither_do_the_servables_of_an_image(
    falling, arrived, open_client, make_classifier, as_file
):
    targets = falling(3)
    clients = [open_client(target, retry=QUICK, check_inputs=False) for target in targets]
    chain = [Servable(client=getattr(one, "wrapped", one)) for one in clients]
    classifier = make_classifier(clients[0], fallback=[chain[1], Servable(version=1), chain[2]])
    with pytest.raises(UnavailableError):
        classifier.predict(as_file())
    assert arrived() == 2


def test_a_hedge_counts_too(falling, arrived, open_client):
    targets = ",".join(falling(4, after_s=0.3))
    client = open_client(
        f"ipv4:{targets}", retry=QUICK, check_inputs=False, hedge_after_s=0.1, timeout_s=10
    )
    with pytest.raises(UnavailableError, match="2 connections were lost"):
        ask(client)
    assert arrived() == 2


def test_a_request_that_one_server_fell_over_is_asked_once_more(
    falling, arrived, server, open_client
):
    client = open_client(f"ipv4:{falling(1)[0]},{server.target}", retry=QUICK, check_inputs=False)
    deadline = time.monotonic() + 10
    while not arrived():  # until the one that falls is connected
        assert ask(client)["x"].tolist() == [1.0]
        assert time.monotonic() < deadline
    assert ask(client)["x"].tolist() == [1.0]


# --- servers that go away -------------------------------------------------------------------------

SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""HTTP/2's first frame from a server, empty."""
GOAWAY = bytes([0, 0, 8, 7, 0, 0, 0, 0, 0]) + bytes(8)
"""Nothing that was sent was begun with, and nothing more shall be sent."""


@contextlib.contextmanager
def leaving(farewell: bytes, *, hears: bytes = b"", lingers_s: float = 0.0, then: bytes = b""):
    """A port that says something to each connection, hears something, and closes it soon.

    Gives the target and a list with one item for each connection so far.
    """
    connections: list[None] = []

    def behave(connection) -> None:
        connections.append(None)
        with connection, contextlib.suppress(OSError):  # the other side's end
            connection.sendall(farewell)
            heard = b""
            while hears not in heard and (more := connection.recv(65536)):
                heard += more
            time.sleep(lingers_s)
            if then:
                connection.sendall(then)
                time.sleep(0.05)  # so that it is read

    def accept() -> None:
        with contextlib.suppress(OSError):  # the listener's end
            while True:
                threading.Thread(target=behave, args=[server.accept()[0]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}", connections
        finally:
            server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("farewell", "hears", "lingers_s", "most"),
    [
        # Where it got no connection, gRPC goes on by itself, with growing pauses.
        (b"", b"", 0, 12),
        (SETTINGS, b"", 0.01, 5),
        # Until a request is on its way, gRPC connects again without a pause and without telling,
        # within an attempt: to a neighbour that says hello and goodbye at once, dozens of times.
        (SETTINGS, b"", 0, 800),
        (SETTINGS + GOAWAY, b"", 0, 800),
        (SETTINGS, b"PredictionService", 0, 2),
    ],
    ids=["at once", "in a moment", "after its settings", "with goaway", "after the request"],
)
def test_a_server_that_accepts_and_goes_away_is_left_alone_after_the_call(
    open_client, farewell, hears, lingers_s, most
):
    """It was thousands a second, and they went on without any call."""
    with leaving(farewell, hears=hears, lingers_s=lingers_s) as (target, connections):
        client = open_client(target, timeout_s=3, check_inputs=False)
        with pytest.raises(CallError):
            ask(client)
        time.sleep(0.2)  # for those that are under way
        during = len(connections)
        time.sleep(0.4)
        assert len(connections) <= most
        if farewell:
            assert len(connections) == during
        client.close()


@pytest.fixture
def restless():
    """The target of two servers that end every connection after 60 ms, as one that drains does."""
    options = [("grpc.max_connection_age_ms", 60), ("grpc.max_connection_age_grace_ms", 5000)]
    with ModelServer(options=options) as one, ModelServer(options=options) as other:
        yield [one.target, other.target]


def test_servers_that_drain_cost_no_call_even_without_retries(restless):
    for target in (restless[0], "ipv4:" + ",".join(restless)):
        failures = []
        end = time.monotonic() + 1

        def call(client, end=end, failures=failures):
            while time.monotonic() < end:
                try:
                    ask(client)
                except CallError as error:  # noqa: PERF203
                    failures.append(str(error))

        with Client(target, timeout_s=5, retry=None, check_inputs=False) as client:
            threads = [threading.Thread(target=call, args=[client]) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert failures == []


REFUSED_STREAM = bytes([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7])
"""HTTP/2's RST_STREAM of the first stream: nothing of it was begun with."""


@pytest.mark.parametrize("farewell", [GOAWAY, REFUSED_STREAM], ids=["goaway", "refused stream"])
def test_a_call_that_the_server_has_not_begun_is_sent_again_even_without_retries(
    open_client, farewell
):
    with leaving(SETTINGS, hears=b"PredictionService", then=farewell) as (target, connections):
        client = open_client(target, timeout_s=3, check_inputs=False, retry=None)
        with pytest.raises(UnavailableError) as caught:
            ask(client)
        assert 2 <= caught.value.attempts <= 3
        # Each attempt needs a connection of its own, and gRPC may send each once more by itself.
        if farewell is GOAWAY:
            assert 2 <= len(connections) <= 2 * caught.value.attempts
        client.close()
