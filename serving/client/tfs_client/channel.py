"""Addresses, channel options and TensorFlow Serving's method paths.

Bytes in, bytes out: knows nothing about what the messages say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import grpc

from tfs_client.errors import RequestError

METHODS: Final = {
    "Predict": "/tensorflow.serving.PredictionService/Predict",
    "Classify": "/tensorflow.serving.PredictionService/Classify",
    "GetModelMetadata": "/tensorflow.serving.PredictionService/GetModelMetadata",
    "GetModelStatus": "/tensorflow.serving.ModelService/GetModelStatus",
}
"""The stubs, by hand: short name to method path."""

MAX_MESSAGE_BYTES: Final = 256 * 2**20
"""Default limit of a message in either direction; gRPC's own default for answers is 4 MiB."""

ChannelOption = tuple[str, Any]

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):(\d{1,5})")
_NAME_SYNTAX = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):\S+")


def check_target(target: str) -> str:
    """Returns the target if gRPC can make sense of it.

    Raises:
        RequestError: a URL, a missing port, a port out of range.
    """
    if isinstance(target, str):
        match = _HOST_AND_PORT.fullmatch(target)
        if match and 0 < int(match[2]) < 65536:
            return target
        if not match and _NAME_SYNTAX.fullmatch(target):
            return target
    raise RequestError(
        "Expected target as host:port, such as localhost:8500, or in gRPC's name syntax, such as "
        f"dns:///models.example:8500. Received: target={target!r}"
    )


def open_channel(
    target: str,
    *,
    max_message_bytes: int,
    options: Sequence[ChannelOption],
    credentials: grpc.ChannelCredentials | None,
) -> grpc.Channel:
    """Opens a channel; it connects with the first call.

    Args:
        target: as check_target returns it.
        max_message_bytes: limit of one message, in either direction.
        options: gRPC channel arguments, which win over the defaults here.
        credentials: for TLS; None speaks plain text, as TensorFlow Serving does by default.
    """
    merged: dict[str, Any] = {
        "grpc.max_receive_message_length": max_message_bytes,
        "grpc.max_send_message_length": max_message_bytes,
        # A server that comes back is found within 2 s; gRPC's own pause grows to 2 minutes.
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.min_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 2000,
        # A model server stands beside its callers; a proxy set for web pages is not for it.
        "grpc.enable_http_proxy": 0,
        **dict(options),
    }
    arguments = tuple(merged.items())
    if credentials is not None:
        return grpc.secure_channel(target, credentials, options=arguments)
    return grpc.insecure_channel(target, options=arguments)
