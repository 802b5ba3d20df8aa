"""TensorFlow Serving's gRPC services: how calls arrive, how many at a time, what is counted.

Requests are parsed where they are answered, and not by grpcio: there each malformed message costs a
stack in the log and 19 KB that are never freed.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.local import caller, config_files, metrics
from serving.local.core import ServerCore
from serving.local.errors import ServingError, invalid_argument
from serving.local.flags import HOST
from serving.local.grpc import calls
from serving.local.grpc.arrivals import Arrivals

_log = logging.getLogger(__name__)

_MAX_RECEIVED_BYTES: Final = 2**31 - 1
"""The largest protobuf message, which TensorFlow Serving receives as well."""

_SPARE_THREADS: Final = 256
"""Threads for requests that are refused, or whose message is still arriving: half of them may wait
for messages. Each starts when it is first needed."""


@dataclass(frozen=True)
class _Method:
    """One of TensorFlow Serving's methods."""

    answer: Callable[[ServerCore, Any], Any]
    request: Any
    """The class of its request."""
    api: str = ""
    """Counts its requests and their time under this name; not at all if empty."""


_SERVICES: Final = {
    "tensorflow.serving.PredictionService": {
        "Predict": _Method(calls.predict, predict_pb2.PredictRequest, "Predict"),
        "Classify": _Method(calls.classify, classification_pb2.ClassificationRequest, "Classify"),
        "Regress": _Method(calls.regress, regression_pb2.RegressionRequest, "Regress"),
        "MultiInference": _Method(calls.multi_inference, inference_pb2.MultiInferenceRequest),
        "GetModelMetadata": _Method(calls.metadata, get_model_metadata_pb2.GetModelMetadataRequest),
    },
    "tensorflow.serving.ModelService": {
        "GetModelStatus": _Method(calls.status, get_model_status_pb2.GetModelStatusRequest),
        "HandleReloadConfigRequest": _Method(
            calls.reload, model_management_pb2.ReloadConfigRequest
        ),
    },
}


@dataclass(frozen=True, kw_only=True)
class GrpcOptions:
    """How to listen."""

    port: int | None
    """None listens on no TCP port; 0 takes a free one."""
    socket_path: str = ""
    """A Unix socket besides; none if empty."""
    max_threads: int
    """Requests that are worked on at the same time."""
    channel_arguments: Sequence[tuple[str, int | str]] = ()
    """gRPC's own options; they override those set here."""
    credentials: grpc.ServerCredentials | None = None
    """None: no TLS."""
    health: bool = False
    """Answers grpc.health.v1.Health."""


class GrpcServer:
    """A listening gRPC server. It ends with the process, see `drain`.

    Args:
        core: answers.
        options: see GrpcOptions.

    Raises:
        ServingError: INVALID_ARGUMENT, an address cannot be had.
    """

    def __init__(self, core: ServerCore, options: GrpcOptions) -> None:
        arguments: dict[str, int | str] = {
            "grpc.max_receive_message_length": _MAX_RECEIVED_BYTES,
            "grpc.max_send_message_length": -1,
            # Otherwise a second server on this port would silently get half of the callers.
            "grpc.so_reuseport": 0,
        }
        arguments.update(options.channel_arguments)
        self._desk = _Desk(core, options.max_threads)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(
                options.max_threads + _SPARE_THREADS, thread_name_prefix="grpc"
            ),
            options=list(arguments.items()),
        )
        handlers = [self._desk.handlers(*service) for service in _SERVICES.items()]
        self._health = _Health(self._desk.arrivals) if options.health else None
        if self._health is not None:
            handlers.append(self._health.handlers())
        self._server.add_generic_rpc_handlers(tuple(handlers))
        self.port: int | None = None
        """The TCP port, None if there is none."""
        if options.port is not None:
            self.port = self._bind(f"{HOST}:{options.port}", options.credentials)
        if options.socket_path:
            self._bind(f"unix:{options.socket_path}", options.credentials)

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def refuse(self) -> None:
        """From now on each new request gets UNAVAILABLE, and the health service says so."""
        self._desk.refuse()
        if self._health is not None:
            self._health.enter_graceful_shutdown()

    def drain(self, grace_s: float) -> None:
        """Waits until requests in flight are answered, at most so long; call `refuse` before.

        New requests are refused until the process ends. gRPC's own `stop` would cancel requests
        that have arrived but not been handled, and their callers would see CANCELLED. When the
        process ends, its connections close, which callers see as UNAVAILABLE.
        """
        self._desk.wait_until_idle(grace_s)

    def _bind(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        try:
            port = (
                self._server.add_insecure_port(address)
                if credentials is None
                else self._server.add_secure_port(address, credentials)
            )
        except RuntimeError as error:
            _log.error("%s: %s", address, error)
            port = 0
        if not port:
            raise invalid_argument("Failed to BuildAndStart gRPC server")
        return port


def credentials(ssl_config_file: str) -> grpc.ServerCredentials:
    """The server credentials that an SSLConfig file describes.

    Raises:
        ServingError: INVALID_ARGUMENT, the file is not one, or gRPC refuses what it says.
        OSError: the file cannot be read.
    """
    config = config_files.read(ssl_config_file, "SSLConfig")
    try:
        return grpc.ssl_server_credentials(
            [(config.server_key.encode(), config.server_cert.encode())],
            root_certificates=config.custom_ca.encode() or None,
            require_client_auth=config.client_verify,
        )
    except ValueError as error:
        raise invalid_argument(f"{ssl_config_file}: {error}") from error


class _Desk:
    """Admits requests, answers and counts them."""

    def __init__(self, core: ServerCore, max_threads: int) -> None:
        self.arrivals = Arrivals(_SPARE_THREADS // 2)
        """Of all services."""
        self._core = core
        self._places = threading.Semaphore(max_threads)
        self._refusing = False
        self._in_flight = 0
        self._changed = threading.Condition()

    def refuse(self) -> None:
        with self._changed:
            self._refusing = True

    def wait_until_idle(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._in_flight == 0, timeout_s)

    def handlers(self, service: str, methods: Mapping[str, _Method]) -> grpc.GenericRpcHandler:
        """A service's methods, which take and give bytes."""
        return grpc.method_handlers_generic_handler(
            service,
            {
                name: grpc.stream_unary_rpc_method_handler(functools.partial(self.answer, method))
                for name, method in methods.items()
            },
        )

    def answer(
        self, method: _Method, messages: Iterator[bytes], context: grpc.ServicerContext
    ) -> bytes:
        """Answers a request: its bytes, which may still be arriving → those of the answer."""
        sent = self.arrivals.message(messages, context)
        if not self._places.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        try:
            self._enter(context)
            request = _parsed(method.request, sent, context)
            with caller.waiting(context.is_active):
                return self._answer(method, request, context)
        finally:
            self._places.release()

    def _enter(self, context: grpc.ServicerContext) -> None:
        """Counts a request as in flight until its answer is sent; refuses it while stopping."""
        with self._changed:
            refused = self._refusing
            self._in_flight += not refused
        if refused:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Server is shutting down")
        if not context.add_callback(self._leave):
            # The caller has given up: the answer would reach no one.
            self._leave()
            context.abort(grpc.StatusCode.CANCELLED, "")

    def _leave(self) -> None:
        with self._changed:
            self._in_flight -= 1
            if self._refusing:
                self._changed.notify_all()

    def _answer(self, method: _Method, request: Any, context: grpc.ServicerContext) -> bytes:
        started = time.perf_counter()
        try:
            response = method.answer(self._core, request)
            took = 1e6 * (time.perf_counter() - started)
            answered = bytes(response.SerializeToString())
        except Exception as error:
            refusal = error if isinstance(error, ServingError) else _internal(error)
            if method.api:
                self._count(request.model_spec.name, refusal.code)
            context.abort(refusal.code, refusal.grpc_text)
        if method.api:
            name = request.model_spec.name
            metrics.REQUEST_LATENCY.observe(took, name, method.api, "GRPC")
            self._count(name, grpc.StatusCode.OK)
        return answered

    def _count(self, name: str, code: grpc.StatusCode) -> None:
        metrics.count_request(name, code.name, known=self._core.knows(name))


def _parsed(kind: Any, sent: bytes, context: grpc.ServicerContext) -> Any:
    try:
        return kind.FromString(sent)
    except DecodeError:
        context.abort(grpc.StatusCode.INTERNAL, "")  # gRPC for C++ says no more either


def _internal(error: Exception) -> ServingError:
    # A bug in the server: the log gets the whole stack, the caller one line.
    _log.exception("a request failed inside the server")
    return ServingError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")


class _Health(health.HealthServicer):  # type: ignore[misc]
    """SERVING for the whole server, NOT_FOUND for any name, as gRPC's default service in C++."""

    def __init__(self, arrivals: Arrivals) -> None:
        super().__init__()
        self._arrivals = arrivals

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service, which parses its requests itself."""

        def check(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            request = self._request(messages, context)
            if request.service:
                context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
            return self.Check(request, context)

        def watch(messages: Iterator[bytes], context: grpc.ServicerContext, send: Any) -> Any:
            return self.Watch(self._request(messages, context), context, send)

        # Otherwise every watch would occupy a thread for as long as it lasts.
        watch.experimental_non_blocking = True  # type: ignore[attr-defined]
        written = health_pb2.HealthCheckResponse.SerializeToString
        return grpc.method_handlers_generic_handler(
            health.SERVICE_NAME,
            {
                "Check": grpc.stream_unary_rpc_method_handler(check, response_serializer=written),
                "Watch": grpc.stream_stream_rpc_method_handler(watch, response_serializer=written),
            },
        )

    def _request(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        sent = self._arrivals.message(messages, context)
        return _parsed(health_pb2.HealthCheckRequest, sent, context)
