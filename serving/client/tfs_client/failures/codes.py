"""The table from gRPC codes, and the texts that come with them, to this package's errors.

It says of each failure which class it has and whether the request may be sent again: what a server
says, what gRPC says of a connection, and what proxies on the way say (nginx and Envoy, tried).
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

import grpc

from tfs_client.errors import (
    CallError,
    CancelledError,
    CircuitOpenError,
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


class Again(enum.Enum):
    """Whether a request that failed is sent again."""

    NEVER = "no"
    """It would fail again, or was being computed until a time was up."""
    YES = "yes"
    """It was not computed: as often as Retry.attempts says."""
    FULL = "once more"
    """The server is full: as often as Retry.overload_attempts says."""
    LOST = "once"
    """The connection was lost while it was under way: it may be what ended the server."""
    NOT_BEGUN = "at once"
    """It is known that the server has not begun with it: twice, such an attempt is not counted."""


class Case(NamedTuple):
    """One row of the table."""

    kind: type[CallError]
    again: Again
    hint: str = ""
    """What to do, where the class's own hint does not fit."""


BY_CODE: Final[dict[grpc.StatusCode, Case]] = {
    grpc.StatusCode.UNAVAILABLE: Case(UnavailableError, Again.YES),
    grpc.StatusCode.RESOURCE_EXHAUSTED: Case(OverloadedError, Again.FULL),
    grpc.StatusCode.DEADLINE_EXCEEDED: Case(DeadlineExceededError, Again.NEVER),
    grpc.StatusCode.NOT_FOUND: Case(NotFoundError, Again.NEVER),
    grpc.StatusCode.INVALID_ARGUMENT: Case(InvalidRequestError, Again.NEVER),
    grpc.StatusCode.OUT_OF_RANGE: Case(InvalidRequestError, Again.NEVER),
    grpc.StatusCode.FAILED_PRECONDITION: Case(FailedPreconditionError, Again.NEVER),
    grpc.StatusCode.UNAUTHENTICATED: Case(NotAllowedError, Again.NEVER),
    grpc.StatusCode.PERMISSION_DENIED: Case(NotAllowedError, Again.NEVER),
    grpc.StatusCode.UNIMPLEMENTED: Case(NotServedError, Again.NEVER),
    grpc.StatusCode.CANCELLED: Case(CancelledError, Again.LOST),
    grpc.StatusCode.INTERNAL: Case(ServerError, Again.NEVER),
    grpc.StatusCode.UNKNOWN: Case(ServerError, Again.NEVER),
    grpc.StatusCode.DATA_LOSS: Case(ServerError, Again.NEVER),
    grpc.StatusCode.ABORTED: Case(ServerError, Again.NEVER),
    grpc.StatusCode.ALREADY_EXISTS: Case(ServerError, Again.NEVER),
}
"""gRPC code → what it means where the text makes no difference."""

_UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE
_UNKNOWN: Final = grpc.StatusCode.UNKNOWN
_EXHAUSTED: Final = grpc.StatusCode.RESOURCE_EXHAUSTED

_NO_NAME: Final = Case(HostNotFoundError, Again.YES)
_NO_TLS: Final = Case(TlsError, Again.NEVER)
_NOT_REACHED: Final = Case(UnavailableError, Again.YES)
_NOT_BEGUN: Final = Case(UnavailableError, Again.NOT_BEGUN)
_LOST: Final = Case(
    UnavailableError, Again.LOST, "the connection ended under way: look whether the server fell"
)
_TOO_LARGE: Final = Case(MessageTooLargeError, Again.NEVER)
_TOO_LARGE_FOR_A_PROXY: Final = Case(
    MessageTooLargeError,
    Again.NEVER,
    "a proxy on the way takes no more: send fewer rows at once, or raise its limit (nginx: "
    "client_max_body_size)",
)
_PROXY_GAVE_UP: Final = Case(
    DeadlineExceededError,
    Again.NEVER,
    "send fewer rows at once, or raise the proxy's limit above timeout_s (nginx: "
    "grpc_read_timeout; Envoy: the route's timeout)",
)
_FULL: Final = Case(OverloadedError, Again.FULL)
_LIMITED: Final = Case(
    OverloadedError,
    Again.FULL,
    "a proxy on the way lets no more through: send less at once, or raise its limit",
)
_NONE_BEHIND: Final = Case(
    UnavailableError,
    Again.YES,
    "a proxy answers, and has no server behind it that is up: look at those, and at its list",
)
_FELL_BEHIND: Final = Case(
    UnavailableError,
    Again.LOST,
    "a proxy answers, and the server behind it gave no answer: look whether it is up, or fell",
)

BY_TEXT: Final[tuple[tuple[grpc.StatusCode, str, Case], ...]] = (
    # TensorFlow Serving, batching: "The batch scheduling queue to which this task was submitted
    # is full". A server does answer, so it is not the UNAVAILABLE of a dead one.
    (_UNAVAILABLE, "batch scheduling queue", _FULL),
    # Envoy. "upstream connect error or disconnect/reset before headers. reset reason: …"
    (_UNAVAILABLE, "request timeout", _PROXY_GAVE_UP),
    (_UNAVAILABLE, "stream timeout", _PROXY_GAVE_UP),
    (_UNAVAILABLE, "stream duration reached", _PROXY_GAVE_UP),
    (_UNAVAILABLE, "reset reason: overflow", _LIMITED),
    (_UNAVAILABLE, "rate_limited", _LIMITED),
    (_UNAVAILABLE, "envoy overloaded", _LIMITED),
    (_UNAVAILABLE, "no healthy upstream", _NONE_BEHIND),
    (_UNAVAILABLE, "connection failure", _NONE_BEHIND),
    (_UNAVAILABLE, "connection timeout", _NONE_BEHIND),
    (_UNAVAILABLE, "reset reason: ", _FELL_BEHIND),
    (_UNKNOWN, "payload too large", _TOO_LARGE_FOR_A_PROXY),
    # nginx, and every other proxy that answers as a web server does.
    (_UNKNOWN, "http2 header with status: 413", _TOO_LARGE_FOR_A_PROXY),
    (_UNAVAILABLE, "http2 header with status: 504", _PROXY_GAVE_UP),
    (_UNAVAILABLE, "http2 header with status: 502", _FELL_BEHIND),
    (_UNAVAILABLE, "http2 header with status: 503", _NONE_BEHIND),
    (_UNAVAILABLE, "http2 header with status: 429", _LIMITED),
    # gRPC's own words over a connection that could not be made, from 1.60 on.
    (_UNAVAILABLE, "dns resolution failed", _NO_NAME),
    (_UNAVAILABLE, "errors resolving", _NO_NAME),
    (_UNAVAILABLE, "name resolution", _NO_NAME),
    (_UNAVAILABLE, "handshake failed", _NO_TLS),
    (_UNAVAILABLE, "hostname verification", _NO_TLS),
    (_UNAVAILABLE, "is not in peer certificate", _NO_TLS),  # the same in gRPC 1.49
    # A certificate that cannot be read, or a key of another one.
    (_UNAVAILABLE, "failed to create security handshaker", _NO_TLS),
    (_UNAVAILABLE, "connection refused", Case(RefusedError, Again.YES)),
    (_UNAVAILABLE, "all backends failing", _NOT_REACHED),
    (_UNAVAILABLE, "failed to connect to all addresses", _NOT_REACHED),
    # And over one that was lost before the request was begun to be sent: "Transport closed (…)".
    (_UNAVAILABLE, "transport closed", _NOT_BEGUN),
    # And over one that was lost; "Socket closed (GOAWAY received …)" with a request that had begun.
    (_UNAVAILABLE, "socket closed", _LOST),
    (_UNAVAILABLE, "connection reset", _LOST),
    (_UNAVAILABLE, "connection timed out", _LOST),
    (_UNAVAILABLE, "broken pipe", _LOST),
    (_UNAVAILABLE, "ping timeout", _LOST),
    (_UNAVAILABLE, "keepalive", _LOST),
    # A server that drains: HTTP/2's GOAWAY, and REFUSED_STREAM.
    (_UNAVAILABLE, "goaway received", _NOT_BEGUN),
    (_UNAVAILABLE, "rst_stream with error code 7", _NOT_BEGUN),
    (_UNAVAILABLE, "stream removed", _LOST),
    (_UNAVAILABLE, "rst_stream", _LOST),
    # A server that ends in the middle of a call resets its streams.
    (grpc.StatusCode.INTERNAL, "rst_stream", Case(ServerError, Again.LOST)),
    (_UNKNOWN, "rst_stream", Case(ServerError, Again.LOST)),
    # gRPC itself, on either side: "Received message larger than max (8000 vs. 4000)".
    (_EXHAUSTED, "larger than max", _TOO_LARGE),
    # And: "received metadata size exceeds hard limit (value length 20000 vs. 16384)".
    (_EXHAUSTED, "metadata size exceeds", _TOO_LARGE),
    # TensorFlow Serving: "Unrecognized servable version label: L".
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        "unrecognized servable version label",
        Case(LabelNotFoundError, Again.NEVER),
    ),
)
"""Codes with several meanings, by the text (in lower case) that comes with them; the first fits."""

_OTHER: Final = Case(ServerError, Again.NEVER)

_TLS_WANTED: Final = ", while connecting: does the server want TLS, or a client certificate?"

_WHILE_CONNECTING: Final = {
    # All that is seen when plain text meets TLS, or when a client certificate is wanted.
    "socket closed": _TLS_WANTED,
    "connection reset by peer": _TLS_WANTED,
    "http1.x server": ": is that the REST port? gRPC has its own",
}
"""Likely causes of an UNAVAILABLE, by the text (in lower case) that comes with it."""


def case_of(code: grpc.StatusCode, details: str) -> Case:
    """The table's row for a code and the words that came with it."""
    words = details.lower()
    for of_code, sign, case in BY_TEXT:
        if code is of_code and sign in words:
            return case
    return BY_CODE.get(code, _OTHER)


def again_after(error: CallError) -> Again:
    """Whether the request of a call that failed may be sent again."""
    if isinstance(error, CircuitOpenError):
        return Again.NEVER
    return case_of(error.code, error.details).again


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
    case = case_of(code, details)
    if case is _NOT_REACHED:
        words = details.lower()
        details += next((why for sign, why in _WHILE_CONNECTING.items() if sign in words), "")
    error = case.kind(code, details, target=target, call=call, timeout_s=timeout_s)
    if case.hint:
        error.hint = case.hint
    return error
