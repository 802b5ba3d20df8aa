"""Addresses, TLS, channel options and TensorFlow Serving's method paths."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Union

import grpc

from tfs_client.errors import RequestError, TargetError

_SERVICE: Final = "/tensorflow.serving."

METHODS: Final = {
    "Predict": f"{_SERVICE}PredictionService/Predict",
    "Classify": f"{_SERVICE}PredictionService/Classify",
    "Regress": f"{_SERVICE}PredictionService/Regress",
    "GetModelMetadata": f"{_SERVICE}PredictionService/GetModelMetadata",
    "GetModelStatus": f"{_SERVICE}ModelService/GetModelStatus",
    "HandleReloadConfigRequest": f"{_SERVICE}ModelService/HandleReloadConfigRequest",
}
"""Short name of a method → its path; the channel carries bytes, so there are no stubs."""

MAX_MESSAGE_BYTES: Final = 256 * 2**20
"""Default limit of a message in either direction; gRPC's own default for answers is 4 MiB."""

KEEPALIVE_S: Final = 300.0
"""A server with gRPC's defaults ends a connection that is pinged more often than every five
minutes ("too_many_pings")."""

_INT32_MAX: Final = 2**31 - 1

ChannelOption = tuple[str, Any]

Pem = Union[bytes, str, "os.PathLike[str]"]
"""Certificates or a key in PEM: the content as bytes, or the path of a file."""

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):(\d{1,5})")
_NAME_SYNTAX = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):\S+")
_ONE_ADDRESS = re.compile(
    r"(dns:///|ipv4:|ipv6:)?(localhost|[\d.]+|\[[0-9A-Fa-f:.%]+\]):\d+|unix(-abstract)?:.+"
)
_THIS_MACHINE = re.compile(
    r"(dns:///|ipv4:|ipv6:)?(localhost|127\.[\d.]+|\[::1\]):\d+|unix(-abstract)?:.+"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tls:
    """The certificates by which server and client identify themselves.

    Raises:
        TargetError: a certificate without its key, or the reverse; a file that cannot be read.
    """

    roots: Pem | None = None
    """Authorities that may sign the server's certificate; None means those that gRPC comes with."""
    certificate: Pem | None = None
    """The client's own, with its chain, where the server wants one (mutual TLS)."""
    key: Pem | None = None
    """The private key of `certificate`."""
    server_name: str | None = None
    """The name in the server's certificate, where it is not the one in the target."""

    def __repr__(self) -> str:
        """Which certificates there are: paths, but nothing of what is in them."""
        pems = {name: _shown(getattr(self, name)) for name in ("roots", "certificate", "key")}
        given = ", ".join(f"{name}={shown}" for name, shown in pems.items())
        return f"Tls({given}, server_name={self.server_name!r})"

    def credentials(self) -> grpc.ChannelCredentials:
        """The same as gRPC's credentials."""
        if (self.certificate is None) != (self.key is None):
            given = "certificate" if self.key is None else "key"
            raise TargetError(
                "Expected Tls(certificate=…, key=…), both or none. "
                f"Received: {given} without the other"
            )
        return grpc.ssl_channel_credentials(
            root_certificates=_read_pem(self.roots, "roots"),
            private_key=_read_pem(self.key, "key"),
            certificate_chain=_read_pem(self.certificate, "certificate"),
        )


def _shown(pem: object) -> str:
    """A certificate or key as a text without its content, whatever was given for it."""
    if isinstance(pem, bytes):
        return f"<{len(pem)} bytes>"
    if pem is None or (isinstance(pem, (str, os.PathLike)) and "-----BEGIN" not in str(pem)):
        return repr(pem)
    return f"<{type(pem).__name__}>"


def _read_pem(pem: Pem | None, name: str) -> bytes | None:
    if pem is None:
        return None
    if not isinstance(pem, bytes):
        if not isinstance(pem, (str, os.PathLike)) or "-----BEGIN" in os.fspath(pem):
            # Without the value: it may be a key.
            raise TargetError(
                f"Expected Tls.{name} as the path of a PEM file, or its content as bytes. "
                f"Received: {'its content as str' if isinstance(pem, str) else type(pem).__name__}"
            )
        path, pem = pem, b""
        from pathlib import Path  # here: plain text does not need it

        try:
            pem = Path(path).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
            raise TargetError(f"Expected Tls.{name} as a PEM file. Received: {error}") from error
    if b"-----BEGIN" not in pem:
        raise TargetError(
            f"Expected Tls.{name} as PEM (-----BEGIN …). Received: {len(pem)} bytes without it"
        )
    return pem


def check_target(target: str) -> str:
    """Returns the target if gRPC can make sense of it.

    Raises:
        TargetError: a URL, a missing port, a port out of range.
    """
    if isinstance(target, str):
        match = _HOST_AND_PORT.fullmatch(target)
        if match and 0 < int(match[2]) < 65536:
            return target
        if not match and _NAME_SYNTAX.fullmatch(target):
            return target
    raise TargetError(
        "Expected target as host:port, such as localhost:8500, or in gRPC's name syntax, such as "
        f"dns:///models.example:8500. Received: target={target!r}"
    )


SECRET_KEYS: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
"""Metadata that HTTP defines as the caller's credentials; it needs TLS, as a token does."""

_METADATA_KEY = re.compile(r"[a-z0-9_.-]+")


def checked_metadata(
    pairs: Iterable[tuple[str, str | bytes]] | Mapping[str, str | bytes],
) -> tuple[tuple[str, str | bytes], ...]:
    """The pairs, if gRPC can send them as metadata.

    Raises:
        RequestError: not pairs; a key with capitals or spaces, or one of gRPC's own; a value of the
            wrong kind. The message does not quote the value, which may be a secret.
    """
    try:
        if isinstance(pairs, Mapping):
            pairs = pairs.items()
        checked = tuple((key, value) for key, value in pairs)
    except (TypeError, ValueError) as error:
        raise RequestError(
            f"Expected metadata as pairs of name and value. Received: {type(pairs).__name__} "
            f"({error})"
        ) from error
    for key, value in checked:
        binary = isinstance(key, str) and key.endswith("-bin")
        if (
            not isinstance(key, str)
            or not _METADATA_KEY.fullmatch(key)
            or key.startswith("grpc-")
            or not isinstance(value, bytes if binary else str)
            or (isinstance(value, str) and not (value.isascii() and value.isprintable()))
        ):
            raise RequestError(
                "Expected metadata as pairs of a name in lower case and printable ASCII text (or "
                f"bytes, where the name ends in -bin). Received: {key!r:.60} with {_kind(value)}"
            )
    return checked


def check_no_secrets(pairs: Iterable[tuple[str, str | bytes]], target: str) -> None:
    """Refuses metadata with credentials, which is to be sent in plain text to another machine.

    Raises:
        TargetError: there are some. The message does not quote them.
    """
    for key, _ in pairs:
        if key in SECRET_KEYS:
            raise TargetError(
                f"Expected tls with metadata {key!r}: in plain text everybody on the way can read "
                f"it. Received: {key} for {target} without tls; give tls=True or tls=Tls(…)"
            )


def _kind(value: Any) -> str:
    if not isinstance(value, str):
        return f"a value of type {type(value).__name__}"
    return f"text of {len(value)} characters"


def is_this_machine(target: str) -> bool:
    """Whether what is sent there never leaves this machine."""
    return _THIS_MACHINE.fullmatch(target) is not None


def channel_arguments(
    target: str,
    *,
    max_message_bytes: int,
    keepalive_s: float | None,
    server_name: str | None,
    options: Sequence[ChannelOption],
) -> list[ChannelOption]:
    """The channel arguments, as gRPC takes them.

    Args:
        target: the address, as check_target takes it.
        max_message_bytes: limit of one message, in either direction.
        keepalive_s: how often a connection with calls under way is pinged; None means never.
        server_name: expected in the server's certificate in place of the target's.
        options: further ones, which win over the defaults here.

    Raises:
        TargetError: options that gRPC cannot take.
    """
    merged: dict[str, Any] = {
        "grpc.max_receive_message_length": max_message_bytes,
        "grpc.max_send_message_length": max_message_bytes,
        # A server that comes back is found within a second; gRPC's pause may grow to 2 minutes.
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 1000,
        # In spite of its name: how long connecting may take, TLS included. With less than a slow
        # network needs, a server would never be reached.
        "grpc.min_reconnect_backoff_ms": 5000,
        # All addresses behind the name share the load; gRPC's default stays with one of them. For
        # one address it is that default: round_robin connects again at once, without a pause and
        # without a call, to a server that accepts connections and goes away.
        "grpc.lb_policy_name": "pick_first" if _ONE_ADDRESS.fullmatch(target) else "round_robin",
        # A name is looked up again this soon after an address was lost; gRPC's default is 30 s.
        "grpc.dns_min_time_between_resolutions_ms": 2000,
        # Ours are the only ones (sender.py): gRPC sends a call that the server has not begun again
        # without a pause, to a server that accepts connections and goes away a hundred times.
        "grpc.enable_retries": 0,
        # A model server is near its callers; a proxy that is set for web pages is not for it.
        "grpc.enable_http_proxy": 0,
    }
    if keepalive_s is not None:
        merged["grpc.keepalive_time_ms"] = int(min(1000 * keepalive_s, _INT32_MAX))
        # With keep-alive on, this is also how long sent bytes may stay unacknowledged
        # (TCP_USER_TIMEOUT): a host that vanished is noticed with the first call.
        merged["grpc.keepalive_timeout_ms"] = 5000
    if server_name is not None:
        merged["grpc.ssl_target_name_override"] = server_name
    try:
        merged.update(options)
    except (TypeError, ValueError) as error:
        raise TargetError(
            f"Expected options as pairs of name and value. Received: options={options!r:.80}"
        ) from error
    for name, value in merged.items():
        fits = not isinstance(value, int) or abs(value) <= _INT32_MAX
        if not isinstance(name, str) or value is None or not fits:
            raise TargetError(
                "Expected options as pairs of a name and a value: text, or a number of 32 bits. "
                f"Received: {name!r}: {value!r:.60}"
            )
    return list(merged.items())
