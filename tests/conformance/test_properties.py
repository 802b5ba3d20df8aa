"""Whatever is sent, the server lives, answers with a legal code, and serves other callers well.

While the examples are sent, another caller on a connection of its own asks a good request again and
again.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, strategies as st
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.client.tests import examples
from tests.conformance import setups, strategies
from tests.conformance.ask import METHODS
from tests.conformance.local import LocalServer

LEGAL_CODES = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.OUT_OF_RANGE,
}
METHOD_NAME = "Expected prediction signature method_name to be one of "
"""The one refusal that TensorFlow Serving itself calls INTERNAL."""

LEGAL_STATUSES = {200, 400, 404, 501}


class Witness:
    """A caller that asks a good request again and again; `wrong` is what it got instead."""

    def __init__(self, server: LocalServer) -> None:
        self.right = 0
        self.wrong: list[str] = []
        self._stop = threading.Event()
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}", options=options)
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._channel.close()

    def _ask(self) -> None:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        request = predict_pb2.PredictRequest()
        # A model that no other request asks: in a merged batch it would share their fate.
        request.model_spec.name = "assorted"
        request.inputs["x"].CopyFrom(tensor_pb2.TensorProto(dtype=1, float_val=[4.0]))
        request.inputs["x"].tensor_shape.dim.add(size=1)
        while not self._stop.wait(0.01):
            try:
                found = stub.Predict(request, timeout=20).outputs["y"]
            except grpc.RpcError as error:
                self.wrong.append(str(error))
                continue
            if list(found.float_val) == [3.0] or found.tensor_content == struct.pack("<f", 3.0):
                self.right += 1
            else:
                self.wrong.append(str(found))


@pytest.fixture(scope="module", params=setups.SETUPS)
def server(request: pytest.FixtureRequest) -> LocalServer:
    """Both servers: one computes each request alone, the other merges them."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture(autouse=True)
def witness(server: LocalServer) -> Iterator[None]:
    """Holds every test against what another caller sees, and the server against its end."""
    caller = Witness(server)
    try:
        yield
    finally:
        caller.close()
    assert caller.wrong == []
    assert caller.right > 0
    assert server.lives()


def call(server: LocalServer, method: str, content: bytes) -> tuple[grpc.StatusCode | None, str]:
    """The code and text of the answer; None where there is none by right.

    With batching, a request without a row waits for another one.
    """
    path = f"/tensorflow.serving.{METHODS[method][0]}/{method}"
    waits = server.setup == "flags" and method == "Predict" and _has_no_rows(content)
    try:
        server.channel.unary_unary(path)(content, timeout=0.5 if waits else 20)
    except grpc.RpcError as error:
        late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return None if waits and late else error.code(), error.details()
    return grpc.StatusCode.OK, ""


def _has_no_rows(content: bytes) -> bool:
    try:
        inputs = predict_pb2.PredictRequest.FromString(content).inputs.values()
    except DecodeError:
        return False
    return any(value.tensor_shape.dim and not value.tensor_shape.dim[0].size for value in inputs)


def assert_legal(server: LocalServer, method: str, content: bytes) -> None:
    code, text = call(server, method, content)
    assert code is None or code in LEGAL_CODES or text.startswith(METHOD_NAME), (code, text)


@given(request=strategies.predict_requests())
def test_any_predict_request_gets_a_legal_code(server: LocalServer, request: Any) -> None:
    assert_legal(server, "Predict", request.SerializeToString())


@given(tensor=strategies.tensors())
def test_any_tensor_for_a_model_gets_a_legal_code(server: LocalServer, tensor: Any) -> None:
    for name, alias in (("affine", "x"), ("convolution", "image"), ("scalar", "x")):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.inputs[alias].CopyFrom(tensor)
        assert_legal(server, "Predict", request.SerializeToString())


@given(
    request=strategies.classification_requests(), method=st.sampled_from(["Classify", "Regress"])
)
def test_any_examples_get_a_legal_code(server: LocalServer, request: Any, method: str) -> None:
    # The two messages are alike on the wire.
    assert_legal(server, method, request.SerializeToString())


@given(request=strategies.inference_requests())
def test_any_tasks_get_a_legal_code(server: LocalServer, request: Any) -> None:
    assert_legal(server, "MultiInference", request.SerializeToString())


@given(
    method=st.sampled_from(sorted(METHODS)),
    content=st.one_of(st.binary(max_size=200), strategies.mutations()),
)
def test_any_bytes_are_parsed_or_refused(server: LocalServer, method: str, content: bytes) -> None:
    code, text = call(server, method, content) if _is_safe(method, content) else (None, "")

    try:
        METHODS[method][1].FromString(content)
        legal = LEGAL_CODES
    except DecodeError:
        legal = {grpc.StatusCode.INTERNAL}
    assert code is None or code in legal or text.startswith(METHOD_NAME), (code, text)


def _is_safe(method: str, content: bytes) -> bool:
    """Whether it cannot happen to be a configuration that unloads the models."""
    if method != "HandleReloadConfigRequest":
        return True
    try:
        request = METHODS[method][1].FromString(content)
    except DecodeError:
        return True
    return not request.config.HasField("model_config_list")


def exchange(server: LocalServer, verb: str, path: str, body: bytes | None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.ports["rest"], timeout=20)
    try:
        connection.putrequest(verb, path, skip_host=False, skip_accept_encoding=True)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    finally:
        connection.close()
    assert response.status in LEGAL_STATUSES, (response.status, text)
    return response.status, text


@given(
    path=strategies.CALLS,
    body=st.one_of(strategies.BODIES, strategies.broken_bodies(), st.binary(max_size=50)),
)
def test_any_body_gets_a_legal_status_and_json(server: LocalServer, path: str, body: bytes) -> None:
    status, text = exchange(server, "POST", path, body)

    found = json.loads(text)
    assert ("error" in found) == (status != 200)


@given(
    verb=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    path=strategies.PATHS,
    body=st.one_of(st.none(), st.just(b'{"instances": [1.0]}')),
)
def test_any_path_gets_a_legal_status(
    server: LocalServer, verb: str, path: str, body: bytes | None
) -> None:
    exchange(server, verb, path, body)


@examples.of_quick_run(10)  # where no answer is due, each takes until it is given up
@given(
    head=st.sampled_from([b"", b"GET /v1/models/affine HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n"]),
    content=st.binary(max_size=100),
)
def test_any_bytes_on_the_rest_port_reach_no_other_request(
    server: LocalServer, head: bytes, content: bytes
) -> None:
    address = ("127.0.0.1", server.ports["rest"])
    with socket.create_connection(address, timeout=0.5) as connection:
        try:
            connection.sendall(head + content + b"\r\n\r\n")
            answer = connection.recv(1000)
        except (TimeoutError, ConnectionError):  # not yet a request, or never one
            answer = b""
    assert answer == b"" or answer.startswith(
        (b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.1 2", b"HTTP/1.0 4")
    )


def test_hundreds_of_broken_requests_leave_the_server_as_it_was(
    server: LocalServer,
) -> None:
    broken = [b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", b""]
    for number in range(300):
        call(server, sorted(METHODS)[number % 6], broken[number % len(broken)])
    for number in range(300):
        body = ["{", '{"instances": [[1], [1, 2]]}', '{"inputs": "a"}'][number % 3]
        assert exchange(server, "POST", "/v1/models/affine:predict", body.encode())[0] == 400

    found = exchange(server, "POST", "/v1/models/affine:predict", b'{"instances": [1.0]}')
    assert json.loads(found[1]) == {"predictions": [3.5]}
