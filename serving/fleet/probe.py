"""A real request through a label: does the version that should answer, answer?"""

from __future__ import annotations

import base64
from typing import Any, Final

from tfs_client import contract
from tfs_client.answers import Metadata, TensorSpec
from tfs_client.client import Client
from tfs_client.errors import (
    CallError,
    DeadlineExceededError,
    InvalidRequestError,
    LabelNotFoundError,
    TfsError,
    UnavailableError,
)

PICTURE: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
"""A PNG file of one grey pixel: it is decoded and classified as any picture is."""


def problem(client: Client, model: str, label: str, version: int) -> str:
    """Asks the label for a prediction.

    Args:
        client: connected to one server.
        model: the servable.
        label: the label that is asked.
        version: the version that should answer.

    Returns:
        What is wrong with the answer; empty if nothing is.

    Raises:
        UnavailableError, DeadlineExceededError: the server does not answer at all.
    """
    try:
        metadata = client.metadata(model=model, label=label)
        if metadata.version != version:
            return _another(label, metadata.version, version)
        asked = request(metadata)
        if asked is None:
            return ""  # no signature can be asked, so the metadata is all there is to check
        signature, inputs = asked
        answer = client.predict(inputs, model=model, label=label, signature=signature)
    except LabelNotFoundError:
        return f"label {label} is unknown"
    except InvalidRequestError:
        return ""  # the version has answered, and only refuses these values
    except (UnavailableError, DeadlineExceededError):
        raise
    except CallError as error:
        return f"label {label}: {error.code.name} {error.details}"
    except TfsError as error:
        return f"label {label}: {error}"
    if answer.version != version:
        return _another(label, answer.version, version)
    valid = answer.outputs.get(contract.OUTPUT_VALID)
    if signature == contract.SIGNATURE_DEFAULT and valid is not None and not valid.all():
        return f"version {version} cannot decode a PNG file of one pixel"
    return ""


def request(metadata: Metadata) -> tuple[str, dict[str, Any]] | None:
    """Signature and inputs of the smallest request that a version takes.

    A picture for the contract's default signature; else one row of zeros and empty strings. None
    where no signature is one of Predict's.
    """
    predict = [one for one in metadata.signatures.values() if one.method == contract.METHOD_PREDICT]
    for signature in predict:
        if set(signature.inputs) == {contract.INPUT_IMAGE_BYTES}:
            return signature.name, {contract.INPUT_IMAGE_BYTES: [PICTURE]}
    predict.sort(key=lambda one: one.name != contract.SIGNATURE_DEFAULT)
    if not predict:
        return None
    return predict[0].name, {name: _zeros(spec) for name, spec in predict[0].inputs.items()}


def _zeros(spec: TensorSpec) -> Any:
    """Zeros as nested lists, which the client sends in the signature's dtype."""
    nothing: Any = {"string": b"", "bool": False}.get(spec.dtype, 0)
    for size in reversed(spec.shape or ()):
        nothing = [nothing] * (1 if size is None else size)
    return nothing


def _another(label: str, received: int, expected: int) -> str:
    return f"label {label} answers with version {received}, not {expected}"
