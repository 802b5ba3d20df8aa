"""What a server says when it fails: a code and a text for each of this package's errors.

The texts are TensorFlow Serving's own where it has one for that failure, and else those of gRPC or
of a proxy on the way, with which the client tells one failure from the other (failures/codes.py).
"""

from __future__ import annotations

from typing import Final, NamedTuple

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
from tfs_client.failures.codes import BY_CODE


class ScriptError(AssertionError):
    """A test's mistake with a fake: its script ran out, cannot be answered, or is used wrongly.

    An AssertionError, so that test runners count it as a failed test.
    """


class Failure(Exception):  # noqa: N818  # a scripted outcome, not a mistake
    """How a call fails. A function that computes answers may raise it.

    Args:
        kind: the error that the client is to raise, such as NotFoundError, or a gRPC status code.
        details: the server's words; None means those that fit the kind.

    Raises:
        ScriptError: a kind that no server's answer leads to.
    """

    def __init__(self, kind: type[CallError] | grpc.StatusCode, details: str | None = None):
        self.code, self._words = _said(kind)
        self.kind = kind
        self._details = details
        super().__init__(kind, details)

    def details(self, model: str, label: str | None, version: int | None, signature: str) -> str:
        """The server's words about what was asked."""
        if self._details is not None:
            return self._details
        asked = f"Latest({model})" if version is None else f"Specific({model}, {version})"
        return self._words.format(asked=asked, label=label or "", signature=signature)


class _Said(NamedTuple):
    code: grpc.StatusCode
    words: str


_CODE: Final = grpc.StatusCode

_SAID: Final[dict[type[CallError], _Said]] = {
    NotFoundError: _Said(_CODE.NOT_FOUND, "Servable not found for request: {asked}"),
    LabelNotFoundError: _Said(
        _CODE.INVALID_ARGUMENT, "Unrecognized servable version label: {label}"
    ),
    InvalidRequestError: _Said(
        _CODE.INVALID_ARGUMENT, "Expects arg[0] to be float but int32 is provided"
    ),
    FailedPreconditionError: _Said(
        _CODE.FAILED_PRECONDITION, 'Serving signature key "{signature}" not found.'
    ),
    OverloadedError: _Said(_CODE.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted"),
    MessageTooLargeError: _Said(
        _CODE.RESOURCE_EXHAUSTED, "Received message larger than max (5000000 vs. 4194304)"
    ),
    DeadlineExceededError: _Said(_CODE.DEADLINE_EXCEEDED, "Deadline Exceeded"),
    UnavailableError: _Said(_CODE.UNAVAILABLE, "failed to connect to all addresses"),
    RefusedError: _Said(
        _CODE.UNAVAILABLE,
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:8500: Failed to "
        "connect to remote host: connect: Connection refused (111)",
    ),
    HostNotFoundError: _Said(
        _CODE.UNAVAILABLE,
        "DNS resolution failed for models:8500: C-ares status is not ARES_SUCCESS "
        "qtype=A name=models is_balancer=0: Domain name not found",
    ),
    TlsError: _Said(
        _CODE.UNAVAILABLE,
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:8500: Ssl "
        "handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED",
    ),
    NotAllowedError: _Said(_CODE.UNAUTHENTICATED, "Jwt is missing"),
    NotServedError: _Said(_CODE.UNIMPLEMENTED, ""),
    CancelledError: _Said(_CODE.CANCELLED, "CANCELLED"),
    ServerError: _Said(
        _CODE.INTERNAL,
        "Tensor concat operation failed: INVALID_ARGUMENT: Cannot concatenate tensors that have "
        "different data types. Got int32 and string.",
    ),
}


def _said(kind: object) -> _Said:
    """The code and the words for a kind of failure.

    Raises:
        ScriptError: no server's answer leads to it.
    """
    if isinstance(kind, type) and kind in _SAID:
        return _SAID[kind]
    if isinstance(kind, grpc.StatusCode) and kind is not grpc.StatusCode.OK:
        usual = _SAID.get(BY_CODE[kind].kind) if kind in BY_CODE else None
        return _Said(kind, usual.words if usual is not None and usual.code is kind else "")
    names = sorted(one.__name__ for one in _SAID)
    received = f"{getattr(kind, '__name__', kind)!s}; a server's answer does not lead to it"
    if isinstance(kind, str):
        code = kind in _CODE.__members__
        meant = f"grpc.StatusCode.{kind}" if code else "tfs_client.OverloadedError"
        meant = f"tfs_client.{kind}" if kind in names else meant
        wanted = "code" if code else "class"
        received = f"the text {kind!r}; give the {wanted} itself, such as fails({meant})"
    raise ScriptError(
        f"Expected a failure as a gRPC status code, or as one of {', '.join(names)}. "
        f"Received: {received}"
    )
