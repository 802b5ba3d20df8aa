"""Two answers to one request compared, and the log of the comparisons."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from tfs_client.answers import ImagePrediction, Prediction
from tfs_client.background.jsonl import JsonLines

if TYPE_CHECKING:
    from numpy.typing import NDArray

Answer: TypeAlias = Prediction | ImagePrediction

TOLERANCE: Final = 1e-3
"""Arrays agree if no number is further from the other than this, plus this share of it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The caller's answer, and the shadow's answer to the same request."""

    request_id: str
    """Of the caller's request; empty where it had none."""
    time_s: float
    """Unix time in seconds when the caller's answer had arrived."""
    model: str
    """The model that the caller asked."""
    primary_version: int
    shadow: str
    """The servable that the shadow asked, such as "image_classifier/labels/canary"."""
    shadow_version: int
    """0 if the shadow gave no answer."""
    agree: bool | None
    """Images: the same label. Arrays: the same outputs, within the tolerance. None: no answer."""
    primary_label: str = ""
    """Empty for arrays, and for images that are not valid; so is the other."""
    shadow_label: str = ""
    primary_probability: float | None = None
    """Of the positive class, 0-1; None for arrays and where there is none; so is the other."""
    shadow_probability: float | None = None
    max_difference: float | None = None
    """Images: between the two probabilities. Arrays: the largest between two numbers of the same
    output of floats. None where there is nothing to subtract."""
    primary_latency_s: float
    shadow_latency_s: float
    """From the shadow's request to its answer; 0 if it gave none."""
    error: str = ""
    """The class name of the error if the shadow gave no answer; else empty."""


class ShadowLog(JsonLines[Comparison]):
    """Appends comparisons to a file, one line of JSON each; to be used as on_comparison.

    Threads and processes may share the file; see JsonLines. `tfs shadow-report` reads it.
    """


def version_of(answer: Answer) -> int:
    """The version that answered."""
    return answer.version if isinstance(answer, Prediction) else answer.model_version


def compared(
    primary: Answer, found: Answer, *, shadow: str, time_s: float, tolerance: float
) -> Comparison:
    """The comparison of two answers.

    Args:
        primary: the caller's.
        found: the shadow's, of the same kind.
        shadow: the name of the servable that it asked.
        time_s: Unix time in seconds when the caller's answer had arrived.
        tolerance: as TOLERANCE.
    """
    if isinstance(primary, Prediction):
        assert isinstance(found, Prediction)
        agree, difference = _same(primary, found, tolerance)
    else:
        assert isinstance(found, ImagePrediction)
        agree = primary.label == found.label
        difference = abs(primary.probability - found.probability)
    return dataclasses.replace(
        _half(primary, shadow, time_s),
        shadow_version=version_of(found),
        agree=agree,
        shadow_label="" if isinstance(found, Prediction) else found.label,
        shadow_probability=None if isinstance(found, Prediction) else _number(found.probability),
        max_difference=_number(difference),
        shadow_latency_s=found.latency_s,
    )


def failed(primary: Answer, error: Exception, *, shadow: str, time_s: float) -> Comparison:
    """The comparison where only the caller was answered; arguments as for `compared`."""
    return dataclasses.replace(_half(primary, shadow, time_s), error=type(error).__name__)


def _half(primary: Answer, shadow: str, time_s: float) -> Comparison:
    image = primary if isinstance(primary, ImagePrediction) else None
    return Comparison(
        request_id=primary.request_id,
        time_s=time_s,
        model=primary.model,
        primary_version=version_of(primary),
        shadow=shadow,
        shadow_version=0,
        agree=None,
        primary_label=image.label if image else "",
        primary_probability=_number(image.probability) if image else None,
        primary_latency_s=primary.latency_s,
        shadow_latency_s=0.0,
    )


def _same(one: Prediction, other: Prediction, tolerance: float) -> tuple[bool, float | None]:
    """Whether all outputs agree, and the largest difference between two floats."""
    agree, largest = one.outputs.keys() == other.outputs.keys(), None
    for name in one.outputs.keys() & other.outputs.keys():
        left, right = one.outputs[name], other.outputs[name]
        if left.shape != right.shape or _is_number(left) is not _is_number(right):
            agree = False
        elif not _is_number(left):
            agree = agree and bool(np.array_equal(left, right))
        else:
            agree = agree and _close(left, right, tolerance)
            if _is_float(left) or _is_float(right):
                largest = _larger(largest, left, right)
    return agree, largest


def _close(left: NDArray[Any], right: NDArray[Any], tolerance: float) -> bool:
    with np.errstate(all="ignore"):
        close = np.isclose(
            _wide(right), _wide(left), rtol=tolerance, atol=tolerance, equal_nan=True
        )
    return bool(close.all())


def _larger(largest: float | None, left: NDArray[Any], right: NDArray[Any]) -> float | None:
    with np.errstate(all="ignore"):  # infinity minus infinity, say
        differences = np.abs(_wide(left) - _wide(right))
    finite = differences[np.isfinite(differences)]
    return max(float(finite.max()), largest or 0.0) if finite.size else largest


def _is_float(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "fc" or array.dtype.name == "bfloat16"


def _is_number(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "iu" or _is_float(array)


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    """In double precision: small types would overflow, unsigned ones wrap."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _number(value: float | None) -> float | None:
    """None for NaN and infinity, which JSON does not have."""
    return value if value is not None and math.isfinite(value) else None
