"""The answers about images: the rows of a prediction, checked against the contract.

Also those that stand in for a row: for a picture that cannot be sent, and where no servable
answers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from tfs_client import contract
from tfs_client.answers import ImagePrediction, Prediction
from tfs_client.errors import AnswerError, RequestError
from tfs_client.failures.fallback import DEFAULT
from tfs_client.images import undecoded
from tfs_client.images.pictures import Picture
from tfs_client.servable import Servable


def numbered(
    answers: list[ImagePrediction], request_id: str, ids: Sequence[str]
) -> list[ImagePrediction]:
    """The answers with the call's id, and the place of each after it; as they are without an id."""
    if not request_id:
        return answers
    return [
        dataclasses.replace(answer, request_id=request_id + one)
        for answer, one in zip(answers, ids)
    ]


def marked(picture: Picture) -> ImagePrediction:
    """The answer for a picture that cannot be sent."""
    problem = picture.problem
    return ImagePrediction(
        label="",
        probability=math.nan,
        needs_review=True,
        valid=False,
        model_version=0,
        latency_s=0.0,
        reason=f"{type(problem).__name__}: {problem}",
        source=picture.source,
    )


def stand_in(
    picture: Picture, asked: Servable, latency_s: float, request_id: str
) -> ImagePrediction:
    """The answer where no servable gives one; the picture was not found to be invalid."""
    return ImagePrediction(
        label="",
        probability=math.nan,
        needs_review=True,
        valid=True,
        model_version=0,
        latency_s=latency_s,
        model=asked.model,
        answered_by=DEFAULT,
        request_id=request_id,
        source=picture.source,
    )


_KINDS: Final = {
    contract.OUTPUT_PROBABILITY: "f",
    contract.OUTPUT_LABEL: "O",
    contract.OUTPUT_NEEDS_REVIEW: "b",
    contract.OUTPUT_VALID: "b",
}
"""The contract's outputs, with numpy's letter for their dtypes."""


def checked_classes(classes: Iterable[str]) -> frozenset[str]:
    """The names that may be answered.

    Raises:
        RequestError: not a list of names, or none in it.
    """
    names = () if isinstance(classes, str) or not isinstance(classes, Iterable) else tuple(classes)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise RequestError(
            "Expected classes as the names that may be answered, such as ('defective', 'sound'). "
            f"Received: classes={classes!r}"
        )
    return frozenset(names)


def rows_of(
    prediction: Prediction,
    batch: Sequence[Picture],
    request_id: str,
    classes: frozenset[str] | None,
) -> list[ImagePrediction]:
    """One typed answer for each image.

    Args:
        prediction: of a version that follows the contract.
        batch: the pictures that it is about.
        request_id: of the call.
        classes: the class names that may be answered; None takes every name.

    Raises:
        AnswerError: the outputs do not follow the contract: another shape or dtype; a probability
            that is none (not finite, say) or no class for an image that is valid; another class.
    """
    columns: list[list[Any]] = []
    for name, kind in _KINDS.items():
        output = prediction.outputs.get(name)
        if output is None or output.shape != (len(batch),) or output.dtype.kind != kind:
            received = "none" if output is None else f"{output.dtype} {list(output.shape)}"
            raise _against_the_contract(
                f"Expected output {name!r} with one row for each of {len(batch)} images. "
                f"Received: {received}, outputs={sorted(prediction.outputs)}",
                prediction,
            )
        columns.append(output.tolist())
    rows = []
    for probability, raw_label, needs_review, valid, picture in zip(*columns, batch):
        label = raw_label.decode(errors="replace")
        if not (0 <= probability <= 1 or (not valid and math.isnan(probability))):
            raise _against_the_contract(
                f"Expected output {contract.OUTPUT_PROBABILITY!r} between 0 and 1, or NaN where "
                f"the image is not valid. Received: {probability}, valid={valid}",
                prediction,
            )
        if valid and (not label if classes is None else label not in classes):
            expected = "a class" if classes is None else f"one of {sorted(classes)}"
            raise _against_the_contract(
                f"Expected output {contract.OUTPUT_LABEL!r} to name {expected} where the image is "
                f"valid. Received: {label!r}",
                prediction,
            )
        rows.append(
            ImagePrediction(
                label=label,
                probability=probability,
                # Whatever the model says: nothing was decided about this image.
                needs_review=needs_review or not valid,
                valid=valid,
                model_version=prediction.version,
                latency_s=prediction.latency_s,
                model=prediction.model,
                answered_by=prediction.answered_by,
                reason="" if valid else undecoded.reason(picture, prediction),
                request_id=request_id,
                source=picture.source,
            )
        )
    return rows


def _against_the_contract(what: str, prediction: Prediction) -> AnswerError:
    return AnswerError(
        f"{what}; version {prediction.version} of {prediction.model} does not follow the contract"
    )
