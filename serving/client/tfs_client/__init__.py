"""A thin client for TensorFlow Serving: grpcio, protobuf and numpy, never TensorFlow.

    from tfs_client import Client, ImageClassifier

    with Client("localhost:8500") as client:
        answer = ImageClassifier(client).predict("cell.png")
        print(answer.label, answer.probability, answer.needs_review)

Public are the names in __all__, __version__, and these modules: contract, errors, answers, flags
(connection flags for argparse), steps (walking a call step by step), protocol (for programs that
speak the protocol without a Client), testing (fakes for the tests of services) and observers. The
names are looked up when they are first used, so that `tfs_client.contract` stays importable with
the standard library alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfs_client.aio import AsyncClient
    from tfs_client.answers import (
        Classification,
        ClassScore,
        ImagePrediction,
        Metadata,
        Prediction,
        Regression,
        Signature,
        TensorSpec,
        VersionStatus,
    )
    from tfs_client.call.channel import Tls
    from tfs_client.call.observer import Call, Observer
    from tfs_client.client import Client
    from tfs_client.errors import (
        AnswerError,
        CallError,
        CancelledError,
        CircuitOpenError,
        ClosedClientError,
        DeadlineExceededError,
        DtypeError,
        EmptyBatchError,
        FailedPreconditionError,
        ForkedClientError,
        HostNotFoundError,
        ImageError,
        InputNameError,
        InvalidRequestError,
        LabelNotFoundError,
        MessageTooLargeError,
        NotAllowedError,
        NotFoundError,
        NotServedError,
        OutputNameError,
        OverloadedError,
        PillowMissingError,
        RefusedError,
        RequestError,
        ServerError,
        ShapeError,
        SignatureError,
        TargetError,
        TfsError,
        TlsError,
        UnavailableError,
        ValueRangeError,
        WrongLoopError,
    )
    from tfs_client.failures.policy import Breaker, Retry
    from tfs_client.images.classifier import AsyncImageClassifier, ImageClassifier
    from tfs_client.images.pictures import Guards
    from tfs_client.images.pixels import image_to_array
    from tfs_client.routing.router import Assignment, Exposure, ExposureLog, Router
    from tfs_client.servable import Servable
    from tfs_client.shadow.shadow import Comparison, Shadow, ShadowLog

__version__ = "0.1.0"
"""Of the package; its metadata takes it from here."""

__all__ = [
    "AnswerError",
    "Assignment",
    "AsyncClient",
    "AsyncImageClassifier",
    "Breaker",
    "Call",
    "CallError",
    "CancelledError",
    "CircuitOpenError",
    "ClassScore",
    "Classification",
    "Client",
    "ClosedClientError",
    "Comparison",
    "DeadlineExceededError",
    "DtypeError",
    "EmptyBatchError",
    "Exposure",
    "ExposureLog",
    "FailedPreconditionError",
    "ForkedClientError",
    "Guards",
    "HostNotFoundError",
    "ImageClassifier",
    "ImageError",
    "ImagePrediction",
    "InputNameError",
    "InvalidRequestError",
    "LabelNotFoundError",
    "MessageTooLargeError",
    "Metadata",
    "NotAllowedError",
    "NotFoundError",
    "NotServedError",
    "Observer",
    "OutputNameError",
    "OverloadedError",
    "PillowMissingError",
    "Prediction",
    "RefusedError",
    "Regression",
    "RequestError",
    "Retry",
    "Router",
    "Servable",
    "ServerError",
    "Shadow",
    "ShadowLog",
    "ShapeError",
    "Signature",
    "SignatureError",
    "TargetError",
    "TensorSpec",
    "TfsError",
    "Tls",
    "TlsError",
    "UnavailableError",
    "ValueRangeError",
    "VersionStatus",
    "WrongLoopError",
    "image_to_array",
]

# Looked through in this order; router and shadow last: their libraries cost time that others save.
_HOMES = (
    *("errors", "answers", "servable", "client", "aio", "images.classifier", "failures.policy"),
    *("call.observer", "call.channel", "images.pixels", "images.pictures"),
    *("routing.router", "shadow.shadow"),
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = importlib.import_module(f"tfs_client.{home}")
            if name in vars(module):
                globals()[name] = vars(module)[name]
                return globals()[name]
    raise AttributeError(f"module 'tfs_client' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
