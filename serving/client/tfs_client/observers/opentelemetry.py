"""Traces: a client span of every call, and its context sent along in gRPC metadata.

    Client("models.example:8500", observers=[Tracing()])

Names and attributes follow OpenTelemetry's semantic conventions for gRPC
(https://opentelemetry.io/docs/specs/semconv/rpc/grpc); what is TensorFlow Serving's own begins with
"tfs.".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

from tfs_client.answers import ImagePrediction
from tfs_client.channel import METHODS
from tfs_client.errors import CallError, TfsError
from tfs_client.observer import Call, Observer

try:
    from opentelemetry import propagate, trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ImportError as error:
    raise ImportError(
        "Expected OpenTelemetry's API. Received: no module opentelemetry; "
        "pip install 'tfs-client[opentelemetry]'"
    ) from error

_SPAN: Final = "opentelemetry.span"

_HOST_AND_PORT = re.compile(r"(?:\w[\w-]*:(?://[^/]*/)?)?(\[[^\]]+\]|[^:/,\[\]]+)(?::(\d+))?")


class Tracing(Observer):
    """Makes spans; one object may watch any number of clients.

    Each is a child of the caller's current span, in threads, in event loops and in the threads of a
    stream. Attempts that failed are its events, fallbacks are events of the caller's span.

    Args:
        tracer_provider: where spans go; None means the process's own, as set up with
            opentelemetry.trace.set_tracer_provider.
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None = None):
        self._tracer = trace.get_tracer("tfs_client", tracer_provider=tracer_provider)

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
        call.state[_SPAN] = span
        carrier: dict[str, str] = {}
        propagate.inject(carrier, context=trace.set_span_in_context(span))
        call.metadata.extend((key.lower(), value) for key, value in carrier.items())

    def attempt_failed(self, call: Call, error: TfsError, pause_s: float | None) -> None:
        """An event of the call's span."""
        attributes: dict[str, Any] = {"error": str(error), "error.type": type(error).__name__}
        if pause_s is not None:
            attributes["tfs.pause_s"] = pause_s
        call.state[_SPAN].add_event("tfs.attempt_failed", attributes)

    def call_ended(self, call: Call) -> None:
        """Ends the span, with what came of the call."""
        span = call.state.pop(_SPAN, None)
        if span is None:  # it could not be started
            return
        span.set_attribute("tfs.attempts", call.attempts)
        if call.version:
            span.set_attribute("tfs.version", call.version)
        error = call.error
        if error is None:
            span.set_attribute("rpc.grpc.status_code", 0)
            span.set_attribute("tfs.answer_bytes", call.answer_bytes)
        elif isinstance(error, asyncio.CancelledError):  # somebody's wish, no fault
            span.set_status(Status(StatusCode.ERROR, "cancelled"))
        else:
            if isinstance(error, CallError):
                span.set_attribute("rpc.grpc.status_code", error.code.value[0])
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        span.end()

    def fell_back(self, servable: str, to: str, error: TfsError) -> None:
        """An event of the caller's span, to which all those asked belong."""
        trace.get_current_span().add_event(
            "tfs.fell_back",
            {"tfs.from": servable, "tfs.to": to, "error.type": type(error).__name__},
        )

    def images_answered(
        self, model: str, label: str | None, predictions: Sequence[ImagePrediction]
    ) -> None:
        """An event of the caller's span: how many, and how many for a person."""
        trace.get_current_span().add_event(
            "tfs.images_answered",
            {
                "tfs.model": model,
                "tfs.images": len(predictions),
                "tfs.needs_review": sum(one.needs_review for one in predictions),
            },
        )


def _address(target: str) -> dict[str, Any]:
    """server.address and server.port, of the first address of a list."""
    found = _HOST_AND_PORT.match(target)
    if found is None or target.startswith("unix"):
        return {"server.address": target}
    attributes: dict[str, Any] = {"server.address": found[1].strip("[]")}
    if found[2]:
        attributes["server.port"] = int(found[2])
    return attributes
