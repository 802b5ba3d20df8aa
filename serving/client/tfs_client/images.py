"""Images to decisions: the three shapes a caller may hold a picture in, and one typed answer.

Files and bytes travel untouched and are decoded in the model's graph. Pixels (numpy arrays, Pillow
images) travel as uint8; the size that a version wants is read from its metadata. Knows nothing
about thresholds, class names or scaling: those are in the graph.

Pillow is needed only for Pillow images and for arrays of another size than the version's, and is
imported only then.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from tfs_client import contract
from tfs_client.answers import Prediction
from tfs_client.client import Client
from tfs_client.errors import (
    AnswerError,
    FailedPreconditionError,
    InvalidRequestError,
    RequestError,
)
from tfs_client.pixels import (
    ImageSource,
    Pixels,
    checked_pixels,
    describe,
    image_to_array,
    is_pillow,
    read_file,
)

BATCH_SIZE: Final = 32
"""Images a request; a server with batching refuses more than its max_batch_size."""

BATCH_BYTES: Final = 32 * 2**20
"""A request is closed when its files are larger together, whatever their number."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagePrediction:
    """What the model says about one image."""

    label: str
    """The class decided on; empty where the image is not valid."""
    probability: float
    """Of the positive class, 0-1; NaN where the image is not valid."""
    needs_review: bool
    """A person should decide: too close to the threshold, or not valid."""
    valid: bool
    """The image could be decoded."""
    model_version: int
    """The version that answered."""
    latency_s: float
    """Of the request that carried this image (and perhaps others) and its answer."""


class ImageClassifier:
    """Asks one version of an image classifier that follows the contract.

    Args:
        client: an open client; stays the caller's, who closes it.
        label: ask the version that this label points at; None means "stable", unless a version is
            given.
        version: ask this version, in place of a label.
        model: the servable's name.
        timeout_s: deadline of each request in seconds; None means the client's.
        batch_size: at most so many images in one request.

    Raises:
        RequestError: a label and a version, or a batch size below 1.
    """

    def __init__(
        self,
        client: Client,
        *,
        label: str | None = None,
        version: int | None = None,
        model: str = contract.MODEL_NAME,
        timeout_s: float | None = None,
        batch_size: int = BATCH_SIZE,
    ):
        if label is not None and version is not None:
            raise RequestError(
                "Expected a label or a version. "
                f"Received: label={label!r} and version={version!r}; give one of them"
            )
        if batch_size < 1:
            raise RequestError(f"Expected batch_size above 0. Received: batch_size={batch_size}")
        self._client = client
        self._label = contract.LABEL_STABLE if label is None and version is None else label
        self._version = version
        self._model = model
        self._timeout_s = timeout_s
        self._batch_size = batch_size
        self._known_size: tuple[int, tuple[int, int]] | None = None

    def predict(self, source: ImageSource) -> ImagePrediction:
        """Asks about one image.

        Args:
            source: the path or the content of a JPEG, PNG, GIF (first frame) or BMP file; or
                pixels: a uint8 array [H, W, 3], RGB, 0-255, or a Pillow image. EXIF orientation is
                ignored in all of them, as it was in training.

        Raises:
            RequestError: what is given cannot be an image; nothing was sent.
            PillowMissingError: pixels have to be converted and Pillow is not installed.
            OSError: the file cannot be read.
            CallError: the call failed.
            AnswerError: the answer does not follow the contract.
        """
        if isinstance(source, (list, tuple)) or (
            isinstance(source, np.ndarray) and source.ndim == 4
        ):
            raise RequestError(
                f"Expected one image. Received: {describe(source)}; use predict_many for several"
            )
        return self.predict_many([source])[0]

    def predict_many(self, sources: Iterable[ImageSource] | Pixels) -> list[ImagePrediction]:
        """Asks about many images, in requests of batch_size; answers in the same order.

        Args:
            sources: any mix of what predict takes, or one uint8 array [N, H, W, 3].

        Raises:
            RequestError: no images, or one of them cannot be one. Earlier batches may have been
                sent; nothing is changed by that.
            PillowMissingError: as for predict, as are OSError, CallError and AnswerError.
        """
        if isinstance(sources, (str, bytes, bytearray, memoryview, os.PathLike)):
            raise RequestError(
                f"Expected several images. Received: {describe(sources)}; use predict for one"
            )
        if isinstance(sources, np.ndarray) and sources.ndim != 4:
            raise RequestError(
                f"Expected pixels as uint8 [N, H, W, 3]. Received: {describe(sources)}"
            )
        answers: list[ImagePrediction] = []
        for batch in self._batches(sources):
            answers.extend(self._ask(batch))
        if not answers:
            raise RequestError("Expected at least one image. Received: none")
        return answers

    def input_size(self) -> tuple[int, int]:
        """The (height, width) in pixels that predict_images wants, read from the server now.

        Raises:
            CallError: the call failed.
            AnswerError: the version does not follow the contract.
        """
        metadata = self._client.metadata(
            model=self._model,
            label=self._label,
            version=self._version,
            timeout_s=self._timeout_s,
        )
        signature = metadata.signatures.get(contract.SIGNATURE_IMAGES)
        spec = signature.inputs.get(contract.INPUT_IMAGES) if signature else None
        shape = spec.shape if spec else None
        if shape is None or len(shape) != 4 or shape[3] != 3 or not shape[1] or not shape[2]:
            raise AnswerError(
                f"Expected version {metadata.version} of {metadata.model} to take "
                f"{contract.INPUT_IMAGES} [N, H, W, 3] with fixed H and W in its signature "
                f"{contract.SIGNATURE_IMAGES}. Received: shape={shape}, "
                f"signatures={sorted(metadata.signatures)}; send files instead of pixels"
            )
        size = (shape[1], shape[2])
        self._known_size = (metadata.version, size)
        return size

    def _batches(self, sources: Iterable[ImageSource]) -> Iterator[list[bytes | Any]]:
        """Groups of files (as bytes) and checked pixels, each small enough for one request."""
        batch: list[bytes | Any] = []
        size = 0
        for source in sources:
            item: bytes | Any
            if isinstance(source, np.ndarray):
                item = checked_pixels(source)
                weight = 0  # small once resized
            elif is_pillow(source):
                item, weight = source, 0
            else:
                item = read_file(source)
                weight = len(item)
            if batch and (len(batch) >= self._batch_size or size + weight > BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(item)
            size += weight
        if batch:
            yield batch

    def _ask(self, batch: Sequence[bytes | Any]) -> list[ImagePrediction]:
        """One request for the files and one for the pixels of a batch, put back in order."""
        files = [at for at, item in enumerate(batch) if isinstance(item, bytes)]
        pixels = [at for at, item in enumerate(batch) if not isinstance(item, bytes)]
        answers: dict[int, ImagePrediction] = {}
        if files:
            content = [batch[at] for at in files]
            prediction = self._send(contract.SIGNATURE_DEFAULT, contract.INPUT_IMAGE_BYTES, content)
            answers.update(zip(files, _rows(prediction, len(files)), strict=True))
        if pixels:
            prediction = self._send_pixels([batch[at] for at in pixels])
            answers.update(zip(pixels, _rows(prediction, len(pixels)), strict=True))
        return [answers[at] for at in range(len(batch))]

    def _send_pixels(self, images: Sequence[Any]) -> Prediction:
        size = self._known_size[1] if self._known_size else self.input_size()
        asked_before = self._known_size
        try:
            prediction = self._send_resized(images, size)
        except (InvalidRequestError, FailedPreconditionError):
            # The label may have moved to a version that wants another size.
            fresh = self.input_size()
            if fresh == size:
                raise
            prediction = self._send_resized(images, fresh)
        if asked_before and prediction.version != asked_before[0]:
            self._known_size = None
        return prediction

    def _send_resized(self, images: Sequence[Any], size: tuple[int, int]) -> Prediction:
        pixels = np.stack([image_to_array(image, size) for image in images])
        return self._send(contract.SIGNATURE_IMAGES, contract.INPUT_IMAGES, pixels)

    def _send(self, signature: str, name: str, value: Any) -> Prediction:
        return self._client.predict(
            {name: value},
            model=self._model,
            label=self._label,
            version=self._version,
            signature=signature,
            timeout_s=self._timeout_s,
        )


def _rows(prediction: Prediction, count: int) -> list[ImagePrediction]:
    """One typed answer an image; refuses an answer that does not follow the contract."""
    kinds = {
        contract.OUTPUT_PROBABILITY: "f",
        contract.OUTPUT_LABEL: "O",
        contract.OUTPUT_NEEDS_REVIEW: "b",
        contract.OUTPUT_VALID: "b",
    }
    for name, kind in kinds.items():
        output = prediction.outputs.get(name)
        if output is None or output.shape != (count,) or output.dtype.kind != kind:
            received = "none" if output is None else f"{output.dtype} {list(output.shape)}"
            raise AnswerError(
                f"Expected output {name!r} with one row for each of {count} images. "
                f"Received: {received}, outputs={sorted(prediction.outputs)}; "
                f"version {prediction.version} of {prediction.model} does not follow the contract"
            )
    return [
        ImagePrediction(
            label=prediction[contract.OUTPUT_LABEL][at].decode(errors="replace"),
            probability=float(prediction[contract.OUTPUT_PROBABILITY][at]),
            needs_review=bool(prediction[contract.OUTPUT_NEEDS_REVIEW][at]),
            valid=bool(prediction[contract.OUTPUT_VALID][at]),
            model_version=prediction.version,
            latency_s=prediction.latency_s,
        )
        for at in range(count)
    ]
