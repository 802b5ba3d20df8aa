"""The table from gRPC codes, and the texts that come with them, to this package's errors."""

from __future__ import annotations

from typing import Final

import grpc

from tfs_client.errors import (
    CallError,
    CancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    HostNotFoundError,
    InvalidRequestError,
    LabelNotFoundError,
    MessageTooLargeError,
    NotAllowedError,
    NotFoundError,
    NotServedError,
    OverloadedError,
    RefusedError,
    ServerError,
    TlsError,
    UnavailableError,
)

BY_CODE: Final[dict[grpc.StatusCode, type[CallError]]] = {
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowedError,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowedError,
    grpc.StatusCode.UNIMPLEMENTED: NotServedError,
    grpc.StatusCode.CANCELLED: CancelledError,
    grpc.StatusCode.INTERNAL: ServerError,
    grpc.StatusCode.UNKNOWN: ServerError,
    grpc.StatusCode.DATA_LOSS: ServerError,
    grpc.StatusCode.ABORTED: ServerError,
    grpc.StatusCode.ALREADY_EXISTS: ServerError,
}
"""gRPC code → class of the error, where the text makes no difference."""

_UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE

BY_TEXT: Final[tuple[tuple[grpc.StatusCode, str, type[CallError]], ...]] = (
    # TensorFlow Serving, batching: "The batch scheduling queue to which this task was submitted
    # is full". A server does answer, so it is not the UNAVAILABLE of a dead one.
    (_UNAVAILABLE, "batch scheduling queue", OverloadedError),
    # gRPC's own words over a connection that could not be made, from 1.60 on.
    (_UNAVAILABLE, "dns resolution failed", HostNotFoundError),
    (_UNAVAILABLE, "errors resolving", HostNotFoundError),
    (_UNAVAILABLE, "name resolution", HostNotFoundError),
    (_UNAVAILABLE, "handshake failed", TlsError),
    (_UNAVAILABLE, "hostname verification", TlsError),
    (_UNAVAILABLE, "is not in peer certificate", TlsError),  # the same in gRPC 1.49
    # A certificate that cannot be read, or a key of another one.
    (_UNAVAILABLE, "failed to create security handshaker", TlsError),
    (_UNAVAILABLE, "connection refused", RefusedError),
    # gRPC itself, on either side: "Received message larger than max (8000 vs. 4000)".
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max", MessageTooLargeError),
    # And: "received metadata size exceeds hard limit (value length 20000 vs. 16384)".
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "metadata size exceeds", MessageTooLargeError),
    # TensorFlow Serving: "Unrecognized servable version label: L".
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        "unrecognized servable version label",
        LabelNotFoundError,
    ),
)
"""Codes with several meanings, distinguished by the text (in lower case) that comes with them."""

_TLS_WANTED: Final = ", while connecting: does the server want TLS, or a client certificate?"

_WHILE_CONNECTING: Final = {
    # All that is seen when plain text meets TLS, or when a client certificate is wanted.
    "socket closed": _TLS_WANTED,
    "connection reset by peer": _TLS_WANTED,
    "http1.x server": ": is that the REST port? gRPC has its own",
}
"""Likely causes of an UNAVAILABLE, by the text (in lower case) that comes with it."""


def from_rpc_error(error: grpc.RpcError, *, target: str, call: str, timeout_s: float) -> CallError:
    """The error of this package for one of gRPC's; raise it `from` the original.

    Args:
        error: as raised by a gRPC stub, of either kind (sync or asyncio).
        target: the address that was called.
        call: the method's short name, such as "Predict".
        timeout_s: the deadline that the call had, in seconds.
    """
    code, details = grpc.StatusCode.UNKNOWN, str(error)
    if hasattr(error, "code") and hasattr(error, "details"):
        code, details = error.code() or code, error.details() or ""
    return from_code(code, details, target=target, call=call, timeout_s=timeout_s)


def from_code(
    code: grpc.StatusCode, details: str, *, target: str, call: str, timeout_s: float
) -> CallError:
    """The error for a gRPC code and the words that came with it."""
    chosen = BY_CODE.get(code, ServerError)
    words = details.lower()
    for of_code, sign, special in BY_TEXT:
        if code is of_code and sign in words:
            chosen = special
            break
    if chosen is UnavailableError and "backends" in words:
        details += next((why for sign, why in _WHILE_CONNECTING.items() if sign in words), "")
    return chosen(code, details, target=target, call=call, timeout_s=timeout_s)
