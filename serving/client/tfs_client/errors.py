"""What can go wrong, as classes a caller can tell apart.

    TfsError
    ├── RequestError (a ValueError)        the caller's mistake, found before anything was sent
    │   ├── TargetError                  an address, or options of it, that cannot be
    │   ├── InputNameError               inputs that the signature lacks, or lacked by the request
    │   ├── OutputNameError              an output that the signature does not have
    │   ├── SignatureError               the version has no such signature
    │   ├── DtypeError                   another dtype than the signature's, or none at all (object)
    │   ├── ShapeError                   another rank or size than the signature's, or ragged rows
    │   ├── ValueRangeError              a value that the dtype cannot hold
    │   ├── EmptyBatchError              no rows
    │   ├── ImageError                   what is given cannot be sent as an image
    │   ├── ClosedClientError            the client was closed
    │   ├── ForkedClientError            the client was opened in the parent process
    │   └── WrongLoopError               an AsyncClient in another event loop than its own
    ├── PillowMissingError (an ImportError)  pictures must be converted and Pillow is not there
    ├── AnswerError                        the answer contradicts itself or the contract
    └── CallError                          the call failed: `code`, `details`, `target`
        ├── UnavailableError         no server answers at the target
        │   ├── HostNotFoundError    its name does not resolve
        │   ├── RefusedError         the host is there, nothing listens on the port
        │   ├── TlsError             the two sides do not agree on TLS or on certificates
        │   └── CircuitOpenError     not sent: too many calls before this one failed
        ├── OverloadedError          the server answers, but is full
        ├── DeadlineExceededError    the time was up
        ├── NotFoundError            no such model or version, or it is not loaded
        ├── InvalidRequestError      the server refused the request itself
        │   └── LabelNotFoundError   no such label
        ├── FailedPreconditionError  the server refused it in its present state
        ├── MessageTooLargeError     a request or an answer is larger than one side takes
        ├── NotAllowedError          not authenticated, or not permitted
        ├── NotServedError           the server does not know this method
        ├── CancelledError           the call was cancelled
        └── ServerError              anything else

failures/codes.py maps gRPC codes to these classes.

The text of an error is for whoever runs the client: it names servers, files and inputs. For the
callers of a service that uses the client, each error has `http_status` and `public`: what to answer
to them, without anything that they should not see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc


class TfsError(Exception):
    """The root: everything that this package raises on purpose."""

    http_status: int = 500
    """What a web service answers to its own caller: 4xx where another request would do, 5xx where
    the caller is not to blame, so that an outage of the model counts as one."""
    public: str = "The service made a mistake."
    """One sentence for that caller: no hosts, paths, names of models or words of a server."""


class RequestError(TfsError, ValueError):
    """A mistake of the caller, found before anything was sent: Expected … Received …"""

    http_status = 400
    public = "The request cannot be answered as it is."


class TargetError(RequestError):
    """An address, or options of a connection, that cannot be."""

    http_status = 500
    public = "The service is not set up rightly."


class InputNameError(RequestError):
    """Inputs that the signature does not have, or that it has and the request lacks."""

    public = "The request has inputs that the model does not take, or lacks some."


class OutputNameError(RequestError):
    """An output that the signature does not have, or one asked for twice."""

    public = "The request asks for an output that the model does not have."


class SignatureError(RequestError):
    """The version has no such signature."""

    public = "The request asks for something that the model does not do."


class DtypeError(RequestError):
    """Another dtype than the signature's, or one that no tensor has."""

    public = "The request holds values of another type than the model takes."


class ShapeError(RequestError):
    """Another rank or size than the signature's, or rows of different lengths."""

    public = "The request holds values in another shape than the model takes."


class ValueRangeError(RequestError):
    """A value that the signature's dtype cannot hold."""

    public = "The request holds a value that is out of range."


class EmptyBatchError(RequestError):
    """An input without rows."""

    public = "The request is empty."


class ImageError(RequestError):
    """What is given cannot be sent as an image: broken, foreign, too large, of another kind.

    Args:
        text: what was expected and received.
        public: what is wrong with the picture, for callers of a service; None says it in general.
    """

    http_status = 422
    public = "The picture cannot be used: it is broken, too large or of another format."

    def __init__(self, text: str, *, public: str | None = None):
        super().__init__(text)
        if public is not None:
            self.public = public


class ClosedClientError(RequestError):
    """The client was closed before."""

    http_status = 500
    public = "The service is being stopped."


class ForkedClientError(RequestError):
    """The client was opened in a parent process; its connection did not survive the fork."""

    http_status = 500
    public = "The service is not set up rightly."


class WrongLoopError(RequestError):
    """An AsyncClient is used in another event loop than the one of its first call."""

    http_status = 500
    public = "The service is not set up rightly."


class PillowMissingError(TfsError, ImportError):
    """A picture has to be decoded or resized here, and Pillow is not installed."""

    public = "The service is not set up rightly."


class AnswerError(TfsError):
    """An answer that contradicts itself or the contract: values that do not fit a shape, say."""

    http_status = 502
    public = "The model gave an answer that cannot be used."


class CallError(TfsError):
    """A call failed; the subclasses say how.

    Attributes:
        code: the gRPC status code.
        details: the server's (or gRPC's) own words.
        target: the address that was called.
        call: the method's short name, such as "Predict".
        timeout_s: the deadline that the whole call had, in seconds.
        attempts: how often it was sent.
        waited_s: how long wait_ready had asked before it gave up; None elsewhere.
    """

    http_status = 502
    public = "The model failed over the request."
    hint = "look at the server's log"

    def __init__(
        self, code: grpc.StatusCode, details: str, *, target: str, call: str, timeout_s: float
    ):
        self.code = code
        self.details = details
        self.target = target
        self.call = call
        self.timeout_s = timeout_s
        self.attempts = 1
        self.waited_s: float | None = None
        super().__init__(code, details)

    def __str__(self) -> str:
        tried = f" (sent {self.attempts} times)" if self.attempts > 1 else ""
        return self.sentence() + tried

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process pools: pickle keeps what the sentence is made of."""
        return (_rebuilt, (type(self), self.__dict__.copy()))

    def sentence(self) -> str:
        """What was expected, what was received, and what to do."""
        return (
            f"Expected {self.target} to answer {self.call}{self._within()}. "
            f"Received: {self.code.name}{self._in_brackets()}; {self.hint}"
        )

    def _within(self) -> str:
        return "" if self.waited_s is None else f" within {self.waited_s:g} s"

    def _in_brackets(self) -> str:
        return f" ({' '.join(self.details.split())})" if self.details else ""


class UnavailableError(CallError):
    """UNAVAILABLE: no server there, or a connection that broke."""

    http_status = 503
    public = "The model cannot be reached; try again later."
    hint = "start one there, or give another target"

    def sentence(self) -> str:  # noqa: D102
        return (
            f"No server answered {self.call} at {self.target}{self._within()}"
            f"{self._in_brackets()}: {self.hint}"
        )


class HostNotFoundError(UnavailableError):
    """UNAVAILABLE because the target's name does not resolve."""

    hint = "no such name: check its spelling and the name service, or give an address"


class RefusedError(UnavailableError):
    """UNAVAILABLE because nothing listens on the target's port."""

    hint = "nothing listens on that port: start a server there, or give another port"


class TlsError(UnavailableError):
    """UNAVAILABLE because the two sides do not agree on TLS, or on each other's certificates."""

    hint = (
        "the server speaks plain text, or the certificates do not fit: compare tls= (roots, "
        "certificate, server name) with the server's --ssl_config_file"
    )


class CircuitOpenError(UnavailableError):
    """Not sent: so many calls before this one failed that the server is left alone for a while."""

    public = "The model has failed often and is left alone for a while; try again later."
    hint = "nothing was sent; it is tried again by itself"

    def sentence(self) -> str:  # noqa: D102
        return f"{self.call} was not sent to {self.target}: {self.details}; {self.hint}"


class OverloadedError(CallError):
    """RESOURCE_EXHAUSTED, or UNAVAILABLE because of a full queue: the server is up, and full."""

    http_status = 503
    public = "The model has too much to do; try again later."
    hint = "send less at once, try again later, or add servers"


class DeadlineExceededError(CallError):
    """DEADLINE_EXCEEDED: the server is slow, or what listens at the target is not a gRPC server.

    Also UNAVAILABLE where a proxy on the way waited no longer; the server may still be computing.
    """

    http_status = 504
    public = "The model did not answer in time; try again later."
    hint = "is it a model server, and up? Start one there, give another target, or allow more time"

    def sentence(self) -> str:  # noqa: D102
        if self.code.name != "DEADLINE_EXCEEDED":
            return (
                f"No answer to {self.call} from {self.target} within a proxy's time"
                f"{self._in_brackets()}: {self.hint}"
            )
        return (
            f"No answer to {self.call} from {self.target} within {self.timeout_s:g} s"
            f"{self._in_brackets()}: {self.hint}"
        )


class NotFoundError(CallError):
    """NOT_FOUND: no such model or version, or it is not loaded (yet, or any more)."""

    http_status = 503
    public = "The model is not there at present; try again later."
    hint = "ask for another model, version or label, or wait until it is loaded"


class InvalidRequestError(CallError):
    """INVALID_ARGUMENT or OUT_OF_RANGE: an unknown label, or an input of a wrong name or value."""

    http_status = 400
    public = "The model refuses the request."
    hint = "compare the request with the server's metadata"


class LabelNotFoundError(InvalidRequestError):
    """INVALID_ARGUMENT because no version has the label that was asked for.

    A server says the same where it does not have the model at all.
    """

    http_status = 503
    public = "The model is not there at present; try again later."
    hint = "no such label, or no such model: compare both with the server's models.config"


class FailedPreconditionError(CallError):
    """FAILED_PRECONDITION: an unknown signature, or a model that cannot run as it is."""

    public = "The model cannot answer in its present state."
    hint = "compare the signature with the server's metadata, and look at the server's log"


class MessageTooLargeError(CallError):
    """RESOURCE_EXHAUSTED because a message is larger than the client or the server takes."""

    http_status = 413
    public = "The request, or the answer to it, is too large."
    hint = "send fewer rows at once, or raise the limit (here: max_message_bytes)"


class NotAllowedError(CallError):
    """UNAUTHENTICATED or PERMISSION_DENIED."""

    public = "The service is not allowed to ask the model."
    hint = "check the credentials"


class NotServedError(CallError):
    """UNIMPLEMENTED: a gRPC server answers, but not with this method."""

    public = "The service is not set up rightly."
    hint = "is it a model server? Give its gRPC port, not its REST port"


class CancelledError(CallError):
    """CANCELLED: by the caller, by a closed client, or by the server."""

    http_status = 503
    public = "The request was given up; try again later."
    hint = "the client was closed, or the server stopped, while the call was under way"


class ServerError(CallError):
    """INTERNAL, UNKNOWN, DATA_LOSS, ABORTED and whatever else a server may say."""


def _rebuilt(kind: type[CallError], state: dict[str, object]) -> CallError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    error.args = (state["code"], state["details"])
    return error
