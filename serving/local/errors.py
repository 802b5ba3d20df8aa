"""The one kind of error that the server raises, and the HTTP status of each code."""

from __future__ import annotations

from typing import Final, NoReturn

from grpc import StatusCode

_MAX_GRPC_TEXT: Final = 1024
"""TensorFlow Serving cuts what it sends as a gRPC status message after so many characters."""

_MAX_REST_TEXT: Final = 16 * 1024
"""What names of the caller's own make longer is cut; TensorFlow Serving sends all of it."""


class ServingError(Exception):
    """A request (or a load, or a configuration) that the server refuses.

    Attributes:
        code: the gRPC status code.
        text: TensorFlow Serving's own words for it, without a stack or a prefix.
    """

    def __init__(self, code: StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def grpc_text(self) -> str:
        """The text as it goes over gRPC: cut where TensorFlow Serving cuts it."""
        return _cut(self.text, _MAX_GRPC_TEXT)

    @property
    def rest_text(self) -> str:
        """The text as it goes over REST."""
        return _cut(self.text, _MAX_REST_TEXT)

    def __str__(self) -> str:
        return f"{self.code.name}: {self.text}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + "...TRUNCATED"


def invalid_argument(text: str) -> ServingError:
    """INVALID_ARGUMENT with this text."""
    return ServingError(StatusCode.INVALID_ARGUMENT, text)


def not_found(text: str) -> ServingError:
    """NOT_FOUND with this text."""
    return ServingError(StatusCode.NOT_FOUND, text)


def failed_precondition(text: str) -> ServingError:
    """FAILED_PRECONDITION with this text."""
    return ServingError(StatusCode.FAILED_PRECONDITION, text)


def refuse(text: str) -> NoReturn:
    """Raises INVALID_ARGUMENT, the usual verdict on a request, with this text."""
    raise invalid_argument(text)


HTTP_STATUS: Final[dict[StatusCode, int]] = {
    StatusCode.OK: 200,
    StatusCode.CANCELLED: 499,
    StatusCode.UNKNOWN: 500,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.INTERNAL: 500,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DATA_LOSS: 500,
}
"""The HTTP status of a gRPC code, as TensorFlow Serving derives it."""

CODE_BY_NUMBER: Final[dict[int, StatusCode]] = {code.value[0]: code for code in StatusCode}
"""grpc's own numbers, which TensorFlow's errors and StatusProto use as well."""
