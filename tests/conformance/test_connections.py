"""Hundreds of connections that send nothing, nonsense or too little, and callers who give up."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc
import pytest
from hypothesis import given, strategies as st

from tests.conformance.ask import METHODS
from tests.conformance.case import predict
from tests.conformance.compare import holds
from tests.conformance.local import LocalServer
from tests.conformance.table.predict_answers import LATEST
from tests.conformance.table.requests import AFFINE, X

GOOD = predict(AFFINE + X)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
BODY = b'{"instances": [1.0]}'
REQUEST = (
    b"POST /v1/models/affine:predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


@pytest.fixture(autouse=True)
def lives(default_server: LocalServer) -> Iterator[None]:
    yield
    assert default_server.lives()
    assert holds(LATEST, default_server.ask(GOOD))


Connect = Callable[[str], socket.socket]


@pytest.fixture
def connect(default_server: LocalServer) -> Iterator[Connect]:
    """Opens connections to "grpc" or "rest" that stay open until the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda protocol: stack.enter_context(
            socket.create_connection(("127.0.0.1", default_server.ports[protocol]), timeout=20)
        )


def test_half_open_grpc_connections_hold_up_nobody(
    default_server: LocalServer, connect: Connect
) -> None:
    said = [
        b"",
        PREFACE,
        PREFACE + SETTINGS,
        PREFACE + SETTINGS[:5],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 100,
    ]
    for number in range(240):
        with contextlib.suppress(ConnectionError):
            connect("grpc").sendall(said[number % len(said)])

    for _ in range(20):
        assert holds(LATEST, default_server.ask(GOOD))


def test_requests_that_come_byte_by_byte_are_answered_and_hold_up_nobody(
    default_server: LocalServer, connect: Connect
) -> None:
    slow = [connect("rest") for _ in range(60)]
    for connection in slow:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each byte goes alone
    for position in range(len(REQUEST)):
        for connection in slow:
            connection.sendall(REQUEST[position : position + 1])
        if position % 20 == 0:
            assert holds(LATEST, default_server.ask(GOOD))

    answers = {connection.recv(1000).split(b"\r\n")[0] for connection in slow}
    assert answers == {b"HTTP/1.1 200 OK"}


def test_callers_who_give_up_harm_nobody(default_server: LocalServer) -> None:
    request = METHODS["Predict"][1](model_spec={"name": "affine"})
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=200_000)
    call = default_server.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

    given_up = [call.future(request.SerializeToString(), timeout=20) for _ in range(100)]
    for number, future in enumerate(given_up):
        if number % 2:
            future.cancel()
    kept = given_up[::2]

    futures_done = [_code(future) for future in kept]
    # The last may find all threads busy, as with TensorFlow Serving.
    assert set(futures_done) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert grpc.StatusCode.OK in futures_done


def test_many_connections_at_once_are_all_answered(default_server: LocalServer) -> None:
    def ask(_: int) -> bool:
        address = ("127.0.0.1", default_server.ports["rest"])
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(REQUEST)
            return connection.recv(1000).startswith(b"HTTP/1.1 200")

    with futures.ThreadPoolExecutor(32) as pool:
        assert all(pool.map(ask, range(500)))


@given(before=st.sampled_from([b"", PREFACE, PREFACE + SETTINGS]), content=st.binary(max_size=100))
def test_any_bytes_on_the_grpc_port_reach_no_other_request(
    default_server: LocalServer, before: bytes, content: bytes
) -> None:
    address = ("127.0.0.1", default_server.ports["grpc"])
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(address, timeout=20) as connection,
    ):
        connection.sendall(before + content)


def _code(future: grpc.Future) -> grpc.StatusCode:
    try:
        future.result()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK
