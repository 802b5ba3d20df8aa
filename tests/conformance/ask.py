"""Sends the table's requests to a server and returns what comes back as plain data."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, Final

import grpc
from google.protobuf import json_format, text_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from tests.conformance import setups
from tests.conformance.case import MODELS, Case, Http, Request, Rpc, Setup, Step, Together
from tests.conformance.compare import holds

METHODS: Final[dict[str, tuple[str, Any, Any]]] = {
    "Predict": ("PredictionService", predict_pb2.PredictRequest, predict_pb2.PredictResponse),
    "Classify": (
        "PredictionService",
        classification_pb2.ClassificationRequest,
        classification_pb2.ClassificationResponse,
    ),
    "Regress": (
        "PredictionService",
        regression_pb2.RegressionRequest,
        regression_pb2.RegressionResponse,
    ),
    "MultiInference": (
        "PredictionService",
        inference_pb2.MultiInferenceRequest,
        inference_pb2.MultiInferenceResponse,
    ),
    "GetModelMetadata": (
        "PredictionService",
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
    ),
    "GetModelStatus": (
        "ModelService",
        get_model_status_pb2.GetModelStatusRequest,
        get_model_status_pb2.GetModelStatusResponse,
    ),
    "HandleReloadConfigRequest": (
        "ModelService",
        model_management_pb2.ReloadConfigRequest,
        model_management_pb2.ReloadConfigResponse,
    ),
}
"""Method → service, request, answer. A method that is not listed is a whole path, sent as bytes and
answered in hexadecimal."""

TIMEOUT_S: Final = 20.0
PATIENCE_S: Final = 0.5
"""How long a server may say nothing before it is taken to wait for the rest of a request."""

LOST_S: Final = 2.0
"""How long after a connection broke the server is given to end, or to be taken to live."""

SETTLE_S: Final = 15.0
"""How long after a reload an answer may take to come true."""


class ServerEndedError(Exception):
    """The server's process has ended; str() says when."""


class Server:
    """A running server that serves the models of the table; `close` ends the connections.

    Attributes:
        setup: which of the two it is.

    Args:
        grpc_address: host:port.
        rest_address: host:port.
        models: the folder of the models, as the server sees it.
        setup: how it was started, see `setups`.
    """

    def __init__(self, grpc_address: str, rest_address: str, models: str, setup: Setup) -> None:
        self.setup: Setup = setup
        self._grpc_address = grpc_address
        self._rest_address = rest_address
        self._models = models
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(grpc_address, options=options)

    def close(self) -> None:
        self.channel.close()

    def wait_until_connected(self, timeout_s: float) -> None:
        """Waits for the gRPC port.

        Raises:
            RuntimeError: nothing listens there.
        """
        try:
            grpc.channel_ready_future(self.channel).result(timeout_s)
        except grpc.FutureTimeoutError as error:
            raise RuntimeError(
                f"Expected a server. Received: no connection to {self._grpc_address} within "
                f"{timeout_s:g} s. Start it, or name another address."
            ) from error

    def prepare(self) -> None:
        """Gives it the labels and the versions that the table asks about.

        Raises:
            RuntimeError: it does not come to serve them.
        """
        # Labels may only point at what is loaded: first the versions, then the labels.
        for labels in ({}, setups.LABELS):
            reload = Rpc("HandleReloadConfigRequest", f"config {{ {self._whole(labels)} }}")
            self._until("OK", lambda reload=reload: self._outcome(reload))
            self._until("['AVAILABLE', 'AVAILABLE']", lambda: str(self._states("affine")[:2]))
        if self.setup == "flags":
            # Which of them can be loaded is asked by cases.
            self._until("4 settled", lambda: f"{self._settled('assorted')} settled")

    def run(self, case: Case) -> list[Any]:
        """Takes a case's steps; returns what each received.

        Raises:
            ServerEndedError: the server has ended meanwhile, even if it is up again.
        """
        with self._watched(case) as check:
            received = []
            for step in case.steps:
                received.append(self._take(step))
                check(received[-1])
            if case.reloads:
                self.prepare()
            return received

    def ask(self, request: Request) -> dict[str, Any]:
        """Sends one request.

        Returns:
            {"answer"} or {"code", "text"} for gRPC, {"each": [...]} for calls sent together;
            {"http", "headers", "body"} for HTTP. $MODELS stands for the folder.
        """
        if isinstance(request, Rpc):
            found = self._call(request)
        elif isinstance(request, Http):
            found = self._exchange(request)
        elif isinstance(request, Together):
            with futures.ThreadPoolExecutor(len(request.calls)) as pool:
                found = {"each": list(pool.map(self._call, request.calls))}
        else:
            found = self._write(request.content)
        text = json.dumps(found)
        return dict(json.loads(text.replace(json.dumps(self._models)[1:-1], MODELS)))

    def _take(self, step: Step) -> dict[str, Any]:
        deadline = time.monotonic() + SETTLE_S
        while True:
            received = self.ask(step.request)
            if not step.eventually or holds(step.expected, received):
                return received
            if time.monotonic() > deadline:
                return received
            time.sleep(0.05)

    def _call(self, request: Rpc) -> dict[str, Any]:
        service, kind, answer_kind = METHODS.get(request.method, ("", None, None))
        if isinstance(request.request, bytes):
            sent = request.request
        else:
            text = request.request.replace(MODELS, self._models)
            sent = text_format.Parse(text, kind()).SerializeToString()
        path = f"/tensorflow.serving.{service}/{request.method}" if service else request.method
        call = self.channel.unary_unary(path)
        try:
            raw = call(sent, timeout=request.timeout_s, wait_for_ready=True)
        except grpc.RpcError as error:
            return {"code": error.code().name, "text": error.details()}
        if answer_kind is None:
            return {"answer": raw.hex()}
        answer = answer_kind.FromString(raw)
        return {"answer": json_format.MessageToDict(answer, preserving_proto_field_name=True)}

    def _exchange(self, request: Http) -> dict[str, Any]:
        body = request.body
        sent = body.encode() if isinstance(body, str) else body
        connection = http.client.HTTPConnection(self._rest_address, timeout=TIMEOUT_S)
        try:
            connection.putrequest(request.verb, request.path, skip_accept_encoding=True)
            for name, value in request.headers:
                connection.putheader(name, value)
            if sent is not None:
                connection.putheader("Content-Length", str(len(sent)))
            connection.endheaders(sent)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            return {"http": None, "headers": {}, "body": repr(error)}
        finally:
            connection.close()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return {"http": response.status, "headers": headers, "body": text}

    def _write(self, content: bytes) -> dict[str, Any]:
        host, _, port = self._rest_address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
                connection.sendall(content)
                try:
                    answer = connection.recv(1000)
                except TimeoutError:
                    # It waits for more, which does not come.
                    connection.shutdown(socket.SHUT_WR)
                    connection.settimeout(TIMEOUT_S)
                    answer = connection.recv(1000)
        except ConnectionError:
            answer = b""
        line = answer.decode("latin-1").partition("\r\n")[0]
        words = line.split(" ")
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else None
        return {"http": status, "headers": {}, "body": line.strip()}

    @contextlib.contextmanager
    def _watched(self, case: Case) -> Iterator[Callable[[Any], None]]:
        """Notices the end of the server by that of a connection which asks nothing.

        Yields what checks it after each answer.
        """
        host, _, port = self._grpc_address.rpartition(":")
        try:
            watch = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
        except OSError as error:
            raise ServerEndedError(f"the server had ended before case {case.name}") from error

        def check(received: Any) -> None:
            if _is_closed(watch, LOST_S if _is_lost(received) else 0.0):
                raise ServerEndedError(f"the server ended at case {case.name}")

        with watch:
            yield check

    def _settled(self, name: str) -> int:
        return sum(state in ("AVAILABLE", "END") for state in self._states(name))

    def _whole(self, labels: dict[str, int]) -> str:
        return setups.whole(self.setup, labels)

    def _outcome(self, request: Rpc) -> str:
        received = self.ask(request)
        return "OK" if "answer" in received else f"{received['code']}: {received['text']}"

    def _states(self, name: str) -> list[str]:
        received = self.ask(Rpc("GetModelStatus", f'model_spec {{ name: "{name}" }}'))
        rows = received.get("answer", {}).get("model_version_status", [])
        return [row["state"] for row in rows]

    def _until(self, wanted: str, look: Any) -> None:
        deadline = time.monotonic() + 4 * SETTLE_S
        while (found := look()) != wanted:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"Expected a server that serves the table's models. Received: {found} instead "
                    f"of {wanted}. Start it as `python -m tests.conformance.models` prints it."
                )
            time.sleep(0.05)


def _is_lost(received: Any) -> bool:
    """Whether an answer is what a connection that broke leaves."""
    if "each" in received:
        return any(map(_is_lost, received["each"]))
    return received.get("code") == "UNAVAILABLE" or received.get("http", 0) is None


def _is_closed(connection: socket.socket, timeout_s: float) -> bool:
    """Whether the other end has gone, or goes in so many seconds; what it sends is passed over."""
    deadline = time.monotonic() + timeout_s
    while True:
        connection.settimeout(max(0.0, deadline - time.monotonic()))
        try:
            if not connection.recv(10_000):
                return True
        except (BlockingIOError, TimeoutError):
            return False
        except OSError:
            return True
