"""Traces: a client span of every call, and its context sent along in gRPC metadata.

    Client("models.example:8500", observers=[Tracing()])

Names and attributes follow OpenTelemetry's semantic conventions for gRPC
(https://opentelemetry.io/docs/specs/semconv/rpc/grpc); attributes of TensorFlow Serving begin with
"tfs.".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

import grpc

from tfs_client.answers import ImagePrediction
from tfs_client.call.channel import METHODS, checked_metadata
from tfs_client.call.observer import Call, Observer
from tfs_client.errors import AnswerError, CallError, TfsError

try:
    from opentelemetry import propagate, trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ImportError as error:
    raise ImportError(
        "Expected OpenTelemetry's API. Received: no module opentelemetry; "
        "pip install 'tfs-client[opentelemetry]'"
    ) from error

_SCHEME: Final = re.compile(r"(?:dns|xds):(?://[^/]*/)?|ipv[46]:")
"""The scheme before the address in gRPC's name syntax. A host may have a scheme's name
("dns:8500"), so host:port is tried first."""

_HOST_AND_PORT: Final = re.compile(r"(?:\[([^\[\]]+)\]|([^\s:/,\[\]]+))(?::(\d+))?")


class Tracing(Observer):
    """Makes a span for each call; one object may watch any number of clients.

    The span is a child of the caller's current span, in threads, in event loops and in the threads
    of a stream. Failed attempts are events of it; fallbacks are events of the caller's span.

    Args:
        tracer_provider: where spans go; None means the one that was set for the process with
            opentelemetry.trace.set_tracer_provider.
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None = None):
        self._tracer = trace.get_tracer("tfs_client", tracer_provider=tracer_provider)
        self._key = f"{__name__} {id(self)}"  # in Call.state: a client may have several of these

    def call_started(self, call: Call) -> None:
        """Starts the span and adds its context to what is sent."""
        service, _, method = METHODS[call.method].lstrip("/").partition("/")
        attributes: dict[str, Any] = {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            **_address(call.target),
            "tfs.model": call.model,
            "tfs.signature": call.signature,
            "tfs.request_bytes": call.request_bytes,
        }
        if call.label is not None:
            attributes["tfs.label"] = call.label
        span = self._tracer.start_span(
            f"{service}/{method}", kind=SpanKind.CLIENT, attributes=attributes
        )
        call.state[self._key] = span
        carrier: dict[str, str] = {}
        propagate.inject(carrier, context=trace.set_span_in_context(span))
        sent = checked_metadata((key.lower(), value) for key, value in carrier.items())
        names = {name for name, _ in sent}
        call.metadata[:] = [pair for pair in call.metadata if pair[0] not in names] + list(sent)

    def attempt_failed(self, call: Call, error: TfsError, pause_s: float | None) -> None:
        """An event of the call's span."""
        span = call.state.get(self._key)
        if span is None:  # it could not be started
            return
        attributes: dict[str, Any] = {"error": str(error), "error.type": type(error).__name__}
        if pause_s is not None:
            attributes["tfs.pause_s"] = pause_s
        span.add_event("tfs.attempt_failed", attributes)

    def call_ended(self, call: Call) -> None:
        """Ends the span, with what came of the call."""
        span = call.state.pop(self._key, None)
        if span is None:  # it could not be started
            return
        span.set_attribute("tfs.attempts", call.attempts)
        if call.version:
            span.set_attribute("tfs.version", call.version)
        if call.answer_bytes:
            span.set_attribute("tfs.answer_bytes", call.answer_bytes)
        error = call.error
        code = _code(error)
        if code is not None:
            span.set_attribute("rpc.grpc.status_code", code.value[0])
        if error is not None:
            span.set_attribute("error.type", type(error).__name__)
        if isinstance(error, Exception):
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        elif isinstance(error, asyncio.CancelledError):  # wanted by the caller, so no exception
            span.set_status(Status(StatusCode.ERROR, "cancelled"))
        elif error is not None:  # the process or the loop is ending
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        span.end()

    def fell_back(self, servable: str, to: str, error: TfsError) -> None:
        """An event of the caller's span, which covers all servables that are asked."""
        trace.get_current_span().add_event(
            "tfs.fell_back",
            {"tfs.from": servable, "tfs.to": to, "error.type": type(error).__name__},
        )

    def images_answered(
        self, model: str, label: str | None, predictions: Sequence[ImagePrediction]
    ) -> None:
        """An event of the caller's span: how many images, and how many of them need review."""
        trace.get_current_span().add_event(
            "tfs.images_answered",
            {
                "tfs.model": model,
                "tfs.images": len(predictions),
                "tfs.needs_review": sum(one.needs_review for one in predictions),
            },
        )


def _code(error: BaseException | None) -> grpc.StatusCode | None:
    """The gRPC code that a call ended with; None where it ended without one."""
    if error is None or isinstance(error, AnswerError):  # an answer did arrive
        return grpc.StatusCode.OK
    if isinstance(error, CallError):
        return error.code
    return grpc.StatusCode.CANCELLED if isinstance(error, asyncio.CancelledError) else None


def _address(target: str) -> dict[str, Any]:
    """server.address and server.port, of the first address of a list."""
    found = _HOST_AND_PORT.fullmatch(target)
    if found is None:
        target = _SCHEME.sub("", target, count=1)
        found = _HOST_AND_PORT.fullmatch(target.partition(",")[0])
    if found is None:  # a socket's path, say
        return {"server.address": target}
    attributes: dict[str, Any] = {"server.address": found[1] or found[2]}
    if found[3]:
        attributes["server.port"] = int(found[3])
    return attributes
