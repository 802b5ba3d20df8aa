"""The contract's image classifier, as a fake serves it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from tfs_client import contract
from tfs_client.answers import ImagePrediction, Signature, TensorSpec
from tfs_client.errors import ImageError
from tfs_client.images.headers import check_header, read_header
from tfs_client.images.pixels import MAX_PIXELS
from tfs_client.testing.served.fake_model import FakeModel, specs
from tfs_client.testing.served.requests import Request
from tfs_client.testing.served.wording import Failure, ScriptError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INVALID = grpc.StatusCode.INVALID_ARGUMENT


class ImageModel(FakeModel):
    """The contract's image classifier, with the signatures that every version of it has.

    It decodes no picture: a file is valid where its header is one of a picture that the graph can
    decode. For any other it answers valid=False, whatever is scripted.

    Args:
        name: the servable's name.
        image_size: (height, width) in pixels that predict_images takes; or version to such a size,
            which then are the versions.
        classes: their names, two or more; of two the negative one first.
        versions: as of FakeModel.
        labels: label to version; None means "stable" and "canary" for the lowest version, as where
            nothing is on trial.

    Attributes:
        sizes: version to (height, width). A version without one has the lowest version's.

    Raises:
        ScriptError: as FakeModel; a size or classes that cannot be.
    """

    def __init__(
        self,
        name: str = contract.MODEL_NAME,
        *,
        image_size: tuple[int, int] | Mapping[int, tuple[int, int]] = (64, 64),
        classes: Sequence[str] = ("sound", "defective"),
        versions: Iterable[int] | None = None,
        labels: Mapping[str, int] | None = None,
    ):
        if isinstance(image_size, Mapping) and versions is None:
            versions = sorted(image_size)
        super().__init__(name, versions=versions, labels=labels)
        if labels is None and self.versions:
            self.labels[contract.LABEL_CANARY] = min(self.versions)
        sizes = image_size if isinstance(image_size, Mapping) else {0: image_size}
        for size in sizes.values():
            if not (isinstance(size, tuple) and len(size) == 2 and min(size) > 0):
                raise ScriptError(
                    f"Expected image_size as (height, width) in pixels. Received: {size!r}"
                )
        if len(set(classes)) < 2 or len(set(classes)) < len(classes) or isinstance(classes, str):
            raise ScriptError(
                "Expected classes as two names or more, each once; of two the negative one first. "
                f"Received: {classes!r}"
            )
        self.sizes = dict(sizes)
        self.classes = tuple(classes)

    def size_of(self, version: int) -> tuple[int, int]:
        """(height, width) in pixels that a version's predict_images takes."""
        return self.sizes.get(version) or self.sizes[min(self.sizes)]

    def signatures_of(self, version: int) -> Mapping[str, Signature]:
        """The contract's signatures."""
        scores = {
            contract.OUTPUT_CLASSES: f"string [N, {len(self.classes)}]",
            contract.OUTPUT_SCORES: f"float32 [N, {len(self.classes)}]",
        }
        answered = {
            contract.OUTPUT_PROBABILITY: "float32 [N]",
            contract.OUTPUT_LABEL: "string [N]",
            contract.OUTPUT_NEEDS_REVIEW: "bool [N]",
            contract.OUTPUT_VALID: "bool [N]",
            **scores,
        }
        height, width = self.size_of(version)
        pixels = TensorSpec(dtype="uint8", shape=(None, height, width, 3))
        predict, classify = contract.METHOD_PREDICT, contract.METHOD_CLASSIFY
        return {
            name: Signature(name=name, method=method, inputs=specs(takes), outputs=specs(gives))
            for name, method, takes, gives in (
                (
                    contract.SIGNATURE_DEFAULT,
                    predict,
                    {contract.INPUT_IMAGE_BYTES: "string [N]"},
                    answered,
                ),
                (contract.SIGNATURE_IMAGES, predict, {contract.INPUT_IMAGES: pixels}, answered),
                (
                    contract.SIGNATURE_CLASSIFY,
                    classify,
                    {contract.INPUT_EXAMPLES: "string [N]"},
                    scores,
                ),
            )
        }

    def answer(self, request: Request) -> Any:
        """About every picture the same: the first class, quite sure."""
        return example_of(self.classes)

    def check(self, request: Request, version: int) -> None:
        """As FakeModel.check, and what the graph refuses: shapes, and more rows than MAX_ROWS."""
        super().check(request, version)
        signature = self.signatures_of(version)[request.signature or contract.SIGNATURE_DEFAULT]
        for name, array in request.inputs.items():
            wanted = signature.inputs[name].shape or ()
            if array.ndim != len(wanted) or array.shape[1:] != wanted[1:]:
                raise Failure(
                    _INVALID,
                    f"Shape of tensor {name} {_shape(array.shape)} is not compatible with expected "
                    f"shape {_shape(wanted)}.",
                )
        if request.rows > contract.MAX_ROWS:
            raise Failure(
                _INVALID,
                f"assertion failed: [Expected at most {contract.MAX_ROWS} rows. Send smaller "
                f"requests. Received:] [{request.rows}]",
            )

    def files_of(self, request: Request) -> list[bytes | None]:
        """The image files of a request, one a row; None for a row that is given as pixels."""
        if request.call == "Classify":
            found = [one.get(contract.FEATURE_ENCODED, []) for one in request.examples]
            return [values[0] if values else b"" for values in found]
        files = request.inputs.get(contract.INPUT_IMAGE_BYTES)
        return [None] * request.rows if files is None else files.tolist()

    def rows_of(
        self, request: Request, scripted: tuple[ImagePrediction, ...]
    ) -> list[ImagePrediction]:
        """The answer about each picture: the scripted one, but where its file is no picture.

        Raises:
            ScriptError: not one answer for all pictures, and not one for each.
        """
        files = self.files_of(request)
        if len(scripted) not in (1, len(files)):
            raise ScriptError(
                "Expected one scripted answer for all pictures of a request, or one for each. "
                f"Received: {len(scripted)} answers for a request of {len(files)} pictures"
            )
        every = scripted * len(files) if len(scripted) == 1 else scripted
        return [
            one if file is None or _can_be_decoded(file) else ImagePrediction.example(valid=False)
            for one, file in zip(every, files)
        ]

    def scores_of(self, one: ImagePrediction) -> list[tuple[str, float]]:
        """A picture's classes with their probabilities, in order: the scripted ones.

        Where none are scripted they follow from the probability: what it leaves is the other
        class's, or shared by all others alike.

        Raises:
            ScriptError: a label, or a class of the scores, that the model does not have.
        """
        names = self.classes
        for name in ([one.label] if one.valid else []) + [*one.scores]:
            if name not in names:
                raise self._stranger(name, "scores for" if name in one.scores else "an answer with")
        if one.scores:
            return [(name, one.scores.get(name, 0.0)) for name in names]
        if len(names) == 2:
            return [(names[0], 1 - one.probability), (names[1], one.probability)]
        rest = (1 - one.probability) / (len(names) - 1)
        # NaN for each where the image is not valid
        return [(name, one.probability if name == one.label else rest) for name in names]

    def _stranger(self, name: object, where: str) -> ScriptError:
        """The error of a class that the model does not have; a typing error gets the right name."""
        near = difflib.get_close_matches(str(name), self.classes, 1)
        return ScriptError(
            f"Expected a label of {', '.join(self.classes)}. Received: {where} {name!r}; "
            + (f"did you mean {near[0]!r}? Other" if near else "other")
            + " classes are given with ImageModel(classes=…)"
        )

    def outputs_of(self, rows: Sequence[ImagePrediction]) -> dict[str, NDArray[Any]]:
        """The contract's outputs for pictures, one row each."""
        of_each = [self.scores_of(row) for row in rows]
        shape = (len(rows), len(self.classes))
        names = [[name.encode() for name, _ in row] for row in of_each]
        scores = [[score for _, score in row] for row in of_each]
        labels = np.empty(len(rows), object)
        labels[:] = [row.label.encode() for row in rows]
        return {
            contract.OUTPUT_PROBABILITY: np.array([row.probability for row in rows], np.float32),
            contract.OUTPUT_LABEL: labels,
            contract.OUTPUT_NEEDS_REVIEW: np.array([row.needs_review for row in rows], bool),
            contract.OUTPUT_VALID: np.array([row.valid for row in rows], bool),
            contract.OUTPUT_CLASSES: np.array(names, object).reshape(shape),
            contract.OUTPUT_SCORES: np.array(scores, np.float32).reshape(shape),
        }


def example_of(
    classes: Sequence[str],
    label: str | None = None,
    probability: float | None = None,
    *,
    needs_review: bool | None = None,
    valid: bool = True,
    scores: Mapping[str, float] | None = None,
) -> ImagePrediction:
    """ImagePrediction.example, with the defaults that fit a model of these classes.

    Args:
        classes: the model's, two or more; of two the negative one first.
        label: None means the likeliest of the scores, or the first class without any.
        probability: None means what the scores say, or quite sure of the label.
        needs_review: as of ImagePrediction.example.
        valid: as of ImagePrediction.example.
        scores: as of ImagePrediction.example.

    Raises:
        RequestError: as ImagePrediction.example.
    """
    if valid and not scores:
        label = classes[0] if label is None else label
        if probability is None:
            # Of two classes it is the positive one's, whichever the label is.
            probability = 0.1 if len(classes) == 2 and label == classes[0] else 0.9
    return ImagePrediction.example(
        label, probability, needs_review=needs_review, valid=valid, scores=scores
    )


def _can_be_decoded(file: bytes) -> bool:
    try:
        check_header(read_header(file), max_pixels=MAX_PIXELS, name="a file")
    except ImageError:
        return False
    return True


def _shape(sizes: tuple[int | None, ...]) -> str:
    return f"[{','.join('?' if size is None else str(size) for size in sizes)}]"
