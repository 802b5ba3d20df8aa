"""TensorFlow Serving's gRPC services: how calls arrive, how many at a time, what is counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.local import config_files, metrics
from serving.local.core import ServerCore
from serving.local.errors import ServingError, invalid_argument
from serving.local.flags import HOST
from serving.local.grpc import calls

_log = logging.getLogger(__name__)

_MAX_RECEIVED_BYTES: Final = 2**31 - 1
"""The largest protobuf message, which TensorFlow Serving receives as well."""

_SPARE_THREADS: Final = 256
"""Threads for requests that are refused, or whose message is still arriving. Each starts when it is
first needed."""

Answer = Callable[[ServerCore, Any], Any]


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
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _PredictionService(self._desk), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            _ModelService(self._desk), self._server
        )
        self._health = _Health() if options.health else None
        if self._health is not None:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
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

    def answer(
        self, answer: Answer, request: Any, context: grpc.ServicerContext, api: str = ""
    ) -> Any:
        """Answers a request.

        Args:
            answer: the core's answer to it.
            request: as received.
            context: gRPC's.
            api: counts the request and its time under this name; not at all if empty.
        """
        if not self._places.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        try:
            self._enter(context)
            return self._answer(answer, request, context, api)
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

    def _answer(self, answer: Answer, request: Any, context: grpc.ServicerContext, api: str) -> Any:
        started = time.perf_counter()
        try:
            response = answer(self._core, request)
        except Exception as error:
            refusal = error if isinstance(error, ServingError) else _internal(error)
            if api:
                metrics.REQUEST_COUNT.increment(request.model_spec.name, refusal.code.name)
            context.abort(refusal.code, refusal.grpc_text)
        if api:
            name = request.model_spec.name
            took = 1e6 * (time.perf_counter() - started)
            metrics.REQUEST_LATENCY.observe(took, name, api, "GRPC")
            metrics.REQUEST_COUNT.increment(name, "OK")
        return response


def _internal(error: Exception) -> ServingError:
    # A bug in the server: the log gets the whole stack, the caller one line.
    _log.exception("a request failed inside the server")
    return ServingError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._desk.answer(calls.predict, request, context, "Predict")

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._desk.answer(calls.classify, request, context, "Classify")

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._desk.answer(calls.metadata, request, context)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._desk.answer(calls.regress, request, context, "Regress")

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._desk.answer(calls.multi_inference, request, context)


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._desk.answer(calls.status, request, context)

    def HandleReloadConfigRequest(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Any:
        return self._desk.answer(calls.reload, request, context)


class _Health(health.HealthServicer):  # type: ignore[misc]
    """SERVING for the whole server, NOT_FOUND for any name, as gRPC's default service in C++."""

    def __init__(self) -> None:
        # Otherwise every watch would occupy a thread for as long as it lasts.
        super().__init__(
            experimental_non_blocking=True,
            experimental_thread_pool=futures.ThreadPoolExecutor(1, thread_name_prefix="health"),
        )

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        if request.service:
            context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
        return super().Check(request, context)
