"""TensorFlow Serving's gRPC services in front of the core.

Only translates: finds the core's answer, sends its errors with their codes. Knows nothing about
models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, Final

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.local import messages
from serving.local.core import ServerCore
from serving.local.errors import ServingError

_log = logging.getLogger(__name__)

_MAX_RECEIVED_BYTES: Final = 2**31 - 1
"""TensorFlow Serving receives whatever a protobuf message can hold."""

Answer = Callable[[ServerCore, Any], Any]


class GrpcServer:
    """A listening gRPC server; `close` ends it."""

    def __init__(
        self,
        core: ServerCore,
        address: str,
        max_threads: int,
        channel_arguments: Sequence[tuple[str, int | str]] = (),
    ) -> None:
        """Args:
        core: answers.
        address: host:port; port 0 takes a free one, see `port`.
        max_threads: requests that are worked on at the same time.
        channel_arguments: gRPC's own options, which win over those set here.

        Raises:
            OSError: the port cannot be had.
        """
        options: dict[str, int | str] = {
            "grpc.max_receive_message_length": _MAX_RECEIVED_BYTES,
            "grpc.max_send_message_length": -1,
            # Two servers on one port would share its callers without a word.
            "grpc.so_reuseport": 0,
        }
        options.update(channel_arguments)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(max_threads, thread_name_prefix="grpc"),
            options=list(options.items()),
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _PredictionService(core), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(core), self._server)
        try:
            self.port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"{address} cannot be bound") from error
        if not self.port:
            raise OSError(f"{address} cannot be bound")

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def close(self, grace_s: float) -> None:
        """Refuses new requests with UNAVAILABLE and gives those in flight so long to finish."""
        self._server.stop(grace_s).wait()


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict, Classify and GetModelMetadata; the rest is UNIMPLEMENTED."""

    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return _answer(messages.predict, self._core, request, context)

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return _answer(messages.classify, self._core, request, context)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return _answer(messages.metadata, self._core, request, context)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "Regress is not answered by this server")

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        context.abort(
            grpc.StatusCode.UNIMPLEMENTED, "MultiInference is not answered by this server"
        )


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus; the rest is UNIMPLEMENTED."""

    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return _answer(messages.status, self._core, request, context)

    def HandleReloadConfigRequest(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "Edit models.config, the server polls it")


def _answer(answer: Answer, core: ServerCore, request: Any, context: grpc.ServicerContext) -> Any:
    try:
        return answer(core, request)
    except ServingError as error:
        context.abort(error.code, error.grpc_text)
    except Exception as error:
        # A bug here, not in the request: told to the operator in full, to the caller in one line.
        _log.exception("a request failed inside the server")
        context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
