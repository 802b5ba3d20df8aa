"""A thin client for TensorFlow Serving: grpcio, protobuf and numpy, never TensorFlow.

    from tfs_client import Client, ImageClassifier

    with Client("localhost:8500") as client:
        answer = ImageClassifier(client).predict("cell.png")
        print(answer.label, answer.probability, answer.needs_review)

Everything that is listed in __all__ is public and nothing else is. The names are looked up when
they are first used, so that `tfs_client.contract` stays importable with the standard library alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfs_client.answers import (
        Classification,
        ClassScore,
        Metadata,
        Prediction,
        Signature,
        TensorSpec,
        VersionStatus,
    )
    from tfs_client.client import Client
    from tfs_client.errors import (
        AnswerError,
        CallError,
        CancelledError,
        DeadlineExceededError,
        FailedPreconditionError,
        InvalidRequestError,
        MessageTooLargeError,
        NotAllowedError,
        NotFoundError,
        NotServedError,
        OverloadedError,
        PillowMissingError,
        RequestError,
        ServerError,
        TfsError,
        UnavailableError,
    )
    from tfs_client.images import ImageClassifier, ImagePrediction
    from tfs_client.pixels import image_to_array

__all__ = [
    "AnswerError",
    "CallError",
    "CancelledError",
    "ClassScore",
    "Classification",
    "Client",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "ImageClassifier",
    "ImagePrediction",
    "InvalidRequestError",
    "MessageTooLargeError",
    "Metadata",
    "NotAllowedError",
    "NotFoundError",
    "NotServedError",
    "OverloadedError",
    "PillowMissingError",
    "Prediction",
    "RequestError",
    "ServerError",
    "Signature",
    "TensorSpec",
    "TfsError",
    "UnavailableError",
    "VersionStatus",
    "image_to_array",
]

_HOMES = ("client", "images", "pixels", "answers", "errors")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = importlib.import_module(f"tfs_client.{home}")
            if name in vars(module):
                globals()[name] = vars(module)[name]
                return globals()[name]
    raise AttributeError(f"module 'tfs_client' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
