"""What comes back: the types that a caller holds.

Frozen data without behaviour; `example` makes one for a test.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfs_client import contract
from tfs_client.errors import RequestError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answer to `predict`: the outputs by name, and which version gave them."""

    outputs: Mapping[str, NDArray[Any]]
    """Read-only arrays; strings are object arrays of bytes."""
    model: str
    version: int
    """The version that answered, never the label that was asked for."""
    signature: str
    latency_s: float
    """From sending the request to holding the answer, retries included."""
    answered_by: str = ""
    """The servable that was asked and answered, such as "image_classifier/labels/stable"; "default"
    where none did and the caller's default stands in."""
    reason: str = ""
    """Why those asked before could not answer; empty where the first one did."""
    needs_review: bool = False
    """It is the default answer: no model looked at the inputs."""
    request_id: str = ""
    """For joining the answer with an outcome that becomes known later; empty where the call had
    none."""

    def __getitem__(self, output: str) -> NDArray[Any]:
        """prediction["probability"] is prediction.outputs["probability"]."""
        return self.outputs[output]

    @classmethod
    def example(cls, outputs: Mapping[str, Any], **fields: Any) -> Prediction:
        """One for a test, with defaults for what the test does not say.

        Args:
            outputs: by name; numbers, lists and texts are made into arrays.
            fields: any other field of a Prediction.

        Raises:
            TypeError: no such field.
        """
        arrays = {name: _as_answered(value) for name, value in outputs.items()}
        given = {
            "model": contract.MODEL_NAME,
            "version": 1,
            "signature": contract.SIGNATURE_DEFAULT,
            "latency_s": 0.005,
            **fields,
        }
        by = f"{given['model']}/versions/{given['version']}"
        return cls(outputs=arrays, **{"answered_by": by, **given})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class of one example, as TensorFlow Serving's Classify API answers it."""

    label: str
    score: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification:
    """One answer to `classify`."""

    results: tuple[tuple[ClassScore, ...], ...]
    """One entry an example: its classes, in the model's order."""
    model: str
    version: int
    latency_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regression:
    """One answer to `regress`."""

    values: NDArray[np.float32]
    """float32 [N], one value an example."""
    model: str
    version: int
    latency_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a signature."""

    dtype: str
    """numpy's name of it, or "string"."""
    shape: tuple[int | None, ...] | None
    """A size is None where any size fits (mostly the first: the batch); None in place of the tuple
    where any rank does."""
    optional: bool = False
    """An input that the signature has a default for, and that may be left out."""

    def __str__(self) -> str:
        """Such as "float32 [N, 64, 64, 3]"."""
        if self.shape is None:
            return f"{self.dtype} of any shape"
        sizes = ", ".join("N" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} [{sizes}]"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signature:
    """One way to call a version."""

    name: str
    method: str
    """TensorFlow Serving's method, such as "tensorflow/serving/predict"."""
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """How one version can be called."""

    model: str
    version: int
    """The version that the label (or "the latest") stood for when it was asked."""
    signatures: Mapping[str, Signature]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VersionStatus:
    """The state of one version of a model."""

    version: int
    state: str
    """START, LOADING, AVAILABLE, UNLOADING, END, or UNKNOWN."""
    code: str
    """"OK", or the gRPC code of what went wrong."""
    error: str
    """Why, in the server's words; empty for OK."""

    @property
    def available(self) -> bool:
        """Whether it answers now."""
        return self.state == "AVAILABLE"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagePrediction:
    """What the model says about one image."""

    label: str
    """The class decided on; empty where the image is not valid, and in a default answer."""
    probability: float
    """0-1; of two classes, that of the positive one; of more, that of the label. NaN where the
    image is not valid, and in a default answer."""
    needs_review: bool
    """A person should decide: too close a call, not valid, or a default answer."""
    valid: bool
    """The image could be decoded. Where it could not, `reason` says why."""
    model_version: int
    """The version that answered; 0 where none did."""
    latency_s: float
    """Of the request that carried this image (and perhaps others) and its answer."""
    model: str = ""
    answered_by: str = ""
    """The servable that was asked and answered, such as "image_classifier/labels/stable"; "default"
    where none did; empty where the image was not sent."""
    reason: str = ""
    """Why those asked before could not answer, and why the image is not valid, which the client
    finds in the file, since a server does not tell; else empty."""
    request_id: str = ""
    """For joining the answer with an outcome that becomes known later."""
    source: str = ""
    """The path, where one was given."""
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Each class with its probability, 0-1, in the version's order. Empty where the image is not
    valid, in a default answer, and from versions that answer none."""

    @classmethod
    def example(
        cls,
        label: str | None = None,
        probability: float | None = None,
        *,
        needs_review: bool | None = None,
        valid: bool = True,
        scores: Mapping[str, float] | None = None,
        **fields: Any,
    ) -> ImagePrediction:
        """One for a test, with defaults for what the test does not say.

        Args:
            label: None means the likeliest of the scores, or "sound" without any; without a picture
                (valid=False) there is none.
            probability: of the positive class of two, of the label of more; None means what the
                scores say, or 0.1 for "sound", 0.9 for any other label and NaN where the image is
                not valid.
            needs_review: None means no, but yes where the image is not valid.
            valid: the image could be decoded.
            scores: of each class, 0-1, in the version's order; None: none are answered.
            fields: any other field of an ImagePrediction.

        Raises:
            RequestError: values that the contract does not allow: a probability or a score that is
                no number; a valid image without a label or with a probability that is not within 0
                and 1; one that is not valid with either.
            TypeError: no such field.
        """
        scores = scores or {}
        if probability is not None:
            _check_number("probability", probability)
        for name, score in scores.items():
            _check_number(f"scores[{name!r}]", score)
        if label is None:
            likeliest = max(scores, key=scores.__getitem__, default="sound")
            label = likeliest if valid else ""
        if probability is None and valid and scores:
            named = list(scores)[1] if len(scores) == 2 else label
            probability = scores.get(named, math.nan)
        if probability is None:
            probability = (0.1 if label == "sound" else 0.9) if valid else math.nan
        good = bool(label) and 0 <= probability <= 1 if valid else not label
        if not good or (not valid and not math.isnan(probability)):
            raise RequestError(
                "Expected a label and a probability from 0 to 1 of a valid image, and neither of "
                f"one that is not. Received: label={label!r}, probability={probability!r}, "
                f"valid={valid}"
            )
        given = {
            "model_version": 1,
            "latency_s": 0.005,
            "model": contract.MODEL_NAME,
            "answered_by": f"{contract.MODEL_NAME}/labels/{contract.LABEL_STABLE}",
            "reason": "" if valid else "the model could not decode the image",
            **fields,
        }
        needs_review = not valid if needs_review is None else needs_review
        return cls(
            label=label,
            probability=probability,
            needs_review=needs_review,
            valid=valid,
            scores=scores,
            **given,
        )


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise RequestError(
            f"Expected {name} as a number from 0 to 1. Received: {name}={value!r:.40}"
        )


def _as_answered(value: Any) -> NDArray[Any]:
    """A value as an output holds it: strings as an object array of bytes."""
    array = np.array(value)
    if array.dtype.kind in "US":
        array = np.array(value, object)  # numpy's own strings lose zero bytes at their end
        texts = [one.encode() if isinstance(one, str) else bytes(one) for one in array.flat]
        array.flat[:] = texts
    array.flags.writeable = False
    return array
