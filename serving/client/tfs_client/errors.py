"""What can go wrong, as classes a caller can tell apart, and one table from gRPC code to class.

    TfsError
    ├── RequestError (a ValueError)        the caller's mistake, found before anything was sent
    ├── PillowMissingError (an ImportError)  pictures must be converted and Pillow is not there
    ├── AnswerError                        the answer contradicts itself or the contract
    └── CallError                          the call failed: `code`, `details`, `target`
        ├── UnavailableError         nobody answers at the target
        ├── OverloadedError          the server answers, but is full
        ├── DeadlineExceededError    the time was up
        ├── NotFoundError            no such model or version, or it is not loaded
        ├── InvalidRequestError      the server refused the request itself
        ├── FailedPreconditionError  the server refused it in its present state
        ├── MessageTooLargeError     a request or an answer is larger than one side takes
        ├── NotAllowedError          not authenticated, or not permitted
        ├── NotServedError           the server does not know this method
        ├── CancelledError           the call was cancelled
        └── ServerError              anything else

Knows nothing about models, images or retries.
"""

from __future__ import annotations

from typing import Final

import grpc


class TfsError(Exception):
    """The root: everything that this package raises on purpose."""


class RequestError(TfsError, ValueError):
    """A mistake of the caller, found before anything was sent: Expected … Received …"""


class PillowMissingError(TfsError, ImportError):
    """A picture has to be decoded or resized here, and Pillow is not installed."""


class AnswerError(TfsError):
    """An answer arrived and cannot be believed: a tensor that does not fit its shape, say."""


class CallError(TfsError):
    """A call failed; the subclasses say how.

    Attributes:
        code: the gRPC status code.
        details: the server's (or gRPC's) own words.
        target: the address that was called.
    """

    hint = "look at the server's log"

    def __init__(
        self, code: grpc.StatusCode, details: str, *, target: str, call: str, timeout_s: float
    ):
        self.code = code
        self.details = details
        self.target = target
        self.call = call
        self.timeout_s = timeout_s
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """What was expected, what was received, and what to do."""
        return (
            f"Expected {self.target} to answer {self.call}. "
            f"Received: {self.code.name}{self._in_brackets()}; {self.hint}"
        )

    def _in_brackets(self) -> str:
        return f" ({' '.join(self.details.split())})" if self.details else ""


class UnavailableError(CallError):
    """UNAVAILABLE: no server, a name that does not resolve, or a connection that broke."""

    hint = "start one there, or give another target"

    def sentence(self) -> str:  # noqa: D102
        return (
            f"No server answered {self.call} at {self.target} within {self.timeout_s:g} s"
            f"{self._in_brackets()}: {self.hint}"
        )


class OverloadedError(CallError):
    """RESOURCE_EXHAUSTED, or UNAVAILABLE because of a full queue: the server is up, and full."""

    hint = "send less at once, try again later, or add servers"


class DeadlineExceededError(CallError):
    """DEADLINE_EXCEEDED: the server is slow, or what listens at the target is not a gRPC server."""

    hint = "is it a model server, and up? Start one there, give another target, or allow more time"

    def sentence(self) -> str:  # noqa: D102
        return (
            f"No answer to {self.call} from {self.target} within {self.timeout_s:g} s"
            f"{self._in_brackets()}: {self.hint}"
        )


class NotFoundError(CallError):
    """NOT_FOUND: no such model or version, or it is not loaded (yet, or any more)."""

    hint = "ask for another model, version or label, or wait until it is loaded"


class InvalidRequestError(CallError):
    """INVALID_ARGUMENT or OUT_OF_RANGE: an unknown label, or an input of a wrong name or value."""

    hint = "compare the request with the server's metadata"


class FailedPreconditionError(CallError):
    """FAILED_PRECONDITION: an unknown signature, or a model that cannot run as it is."""

    hint = "compare the signature with the server's metadata, and look at the server's log"


class MessageTooLargeError(CallError):
    """RESOURCE_EXHAUSTED because a message is larger than the client or the server takes."""

    hint = "send fewer rows at once, or raise the limit (here: max_message_bytes)"


class NotAllowedError(CallError):
    """UNAUTHENTICATED or PERMISSION_DENIED."""

    hint = "check the credentials"


class NotServedError(CallError):
    """UNIMPLEMENTED: a gRPC server answers, but not with this method."""

    hint = "is it a model server? Give its gRPC port, not its REST port"


class CancelledError(CallError):
    """CANCELLED: by the caller, by a closed client, or by the server."""

    hint = "the client was closed, or the server stopped, while the call was under way"


class ServerError(CallError):
    """INTERNAL, UNKNOWN, DATA_LOSS, ABORTED and whatever else a server may say."""


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
"""The one table from gRPC code to class."""

BY_TEXT: Final[tuple[tuple[grpc.StatusCode, str, type[CallError]], ...]] = (
    # TensorFlow Serving, batching: "The batch scheduling queue to which this task was submitted
    # is full". Somebody does answer, so it is not the UNAVAILABLE of a dead server.
    (grpc.StatusCode.UNAVAILABLE, "queue", OverloadedError),
    # gRPC itself, on either side: "Received message larger than max (8000 vs. 4000)".
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max", MessageTooLargeError),
)
"""Codes with two meanings, told apart by the words that come with them."""


def from_rpc_error(error: grpc.RpcError, *, target: str, call: str, timeout_s: float) -> CallError:
    """The error of this package for one of gRPC's; raise it `from` the original.

    Args:
        error: as raised by a gRPC stub.
        target: the address that was called.
        call: the method's short name, such as "Predict".
        timeout_s: the deadline that the call had, in seconds.
    """
    code, details = grpc.StatusCode.UNKNOWN, str(error)
    if isinstance(error, grpc.Call):
        code, details = error.code() or code, error.details() or ""
    chosen = BY_CODE.get(code, ServerError)
    for of_code, words, special in BY_TEXT:
        if code is of_code and words in details:
            chosen = special
    return chosen(code, details, target=target, call=call, timeout_s=timeout_s)
