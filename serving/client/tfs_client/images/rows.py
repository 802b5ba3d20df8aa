"""The answers about images: the rows of a prediction, checked against the contract.

Also those that stand in for a row: for a picture that cannot be sent, and where no servable
answers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tfs_client import contract
from tfs_client.answers import ImagePrediction, Prediction
from tfs_client.errors import AnswerError, RequestError
from tfs_client.failures.fallback import DEFAULT
from tfs_client.images import undecoded
from tfs_client.images.pictures import Picture
from tfs_client.servable import Servable

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
            or a score that is none (not finite, say) or no class for an image that is valid;
            another class.
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
    scores = _scores_of(prediction, classes)
    for probability, raw_label, needs_review, valid, of_classes, picture in zip(
        *columns, scores, batch
    ):
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
                scores=of_classes,
            )
        )
    return rows


def _scores_of(prediction: Prediction, known: frozenset[str] | None) -> list[dict[str, float]]:
    """For each image its classes with their probabilities; empty where it is not valid.

    Also where the version is from before there were such outputs.
    """
    valid = prediction.outputs[contract.OUTPUT_VALID]
    names, scores = (prediction.outputs.get(name) for name in contract.SCORE_OUTPUTS)
    if names is None or scores is None:
        return [{} for _ in valid]
    if (
        scores.dtype.kind != "f"
        or names.dtype.kind != "O"
        or scores.ndim != 2
        or scores.shape != names.shape
        or len(scores) != len(valid)
    ):
        raise _against_the_contract(
            f"Expected outputs {contract.OUTPUT_SCORES!r} and {contract.OUTPUT_CLASSES!r} with one "
            f"row of classes for each of {len(valid)} images. Received: {scores.dtype} "
            f"{list(scores.shape)} and {names.dtype} {list(names.shape)}",
            prediction,
        )
    wrong = np.flatnonzero(valid & ~((scores >= 0) & (scores <= 1)).all(axis=1))
    if len(wrong):
        raise _against_the_contract(
            f"Expected output {contract.OUTPUT_SCORES!r} between 0 and 1 where the image is valid. "
            f"Received: {scores[wrong[0]].tolist()}",
            prediction,
        )
    classes_of = _names_of(names)
    foreign = sorted({name for row in classes_of for name in row} - known) if known else []
    if foreign:
        raise _against_the_contract(
            f"Expected output {contract.OUTPUT_CLASSES!r} to name none but {sorted(known or ())}. "
            f"Received: {foreign[0]!r}",
            prediction,
        )
    return [
        dict(zip(classes, row)) if is_valid else {}
        for classes, row, is_valid in zip(classes_of, scores.tolist(), valid.tolist())
    ]


def _names_of(names: NDArray[Any]) -> list[list[str]]:
    """Bytes [N, K] as text; decoded once where all rows are alike, as they are in a version."""
    if len(names) and (names == names[0]).all():
        return [[one.decode(errors="replace") for one in names[0]]] * len(names)
    return [[one.decode(errors="replace") for one in row] for row in names]


def _against_the_contract(what: str, prediction: Prediction) -> AnswerError:
    return AnswerError(
        f"{what}; version {prediction.version} of {prediction.model} does not follow the contract"
    )
