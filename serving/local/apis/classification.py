"""Classify, answered by one loaded version, with TensorFlow Serving's checks in its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.local.apis import examples
from serving.local.dtypes import DT_FLOAT, DT_STRING, dtype_of
from serving.local.errors import refuse
from serving.local.inference import InferenceOptions
from serving.local.signature import CLASSIFY_METHOD, CallableModel, Signature

CLASSES: Final = "classes"
SCORES: Final = "scores"


@dataclass(frozen=True)
class Classes:
    """What `classify` answers; a part that the signature does not have is None."""

    labels: NDArray[Any] | None
    """bytes [N, C]"""
    scores: NDArray[Any] | None
    """float32 [N, C]"""

    def rows(self) -> list[list[tuple[bytes, float]]]:
        """The (label, score) pairs of each example; a part that is None is empty or 0."""
        labels: Any = self.labels
        scores: Any = self.scores
        if labels is None:
            labels = np.full(scores.shape, b"", object)
        if scores is None:
            scores = np.zeros(labels.shape)
        return [[*zip(*columns)] for columns in zip(labels.tolist(), scores.tolist())]


def classify(
    model: CallableModel,
    signature_name: str,
    sent: Sequence[bytes],
    options: InferenceOptions,
) -> Classes:
    """Runs a classification signature.

    Args:
        model: the version that answers.
        signature_name: empty for serving_default.
        sent: serialized tf.Examples.
        options: whether the signature's method name matters.

    Raises:
        ServingError: with TensorFlow Serving's code and text.
    """
    signature = examples.signature_named(model, signature_name)
    outputs = check_signature(signature, options)
    found = examples.run(model, signature, sent, outputs)
    return check_outputs(signature, found, len(sent))


def check_signature(signature: Signature, options: InferenceOptions) -> list[str]:
    """Tells whether a signature can classify.

    Returns:
        The aliases of the outputs to compute.

    Raises:
        ServingError: INVALID_ARGUMENT, it cannot.
    """
    examples.check_method_name(signature, CLASSIFY_METHOD, "classification", options)
    if len(signature.inputs) != 1:
        refuse("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        refuse(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if examples.EXAMPLES not in signature.inputs:
        refuse(f"No classification inputs found in SignatureDef: {examples.debug_text(signature)}")
    outputs = [alias for alias in (CLASSES, SCORES) if alias in signature.outputs]
    if not outputs:
        refuse(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {examples.debug_text(signature)}'
        )
    return outputs


def check_outputs(signature: Signature, found: Mapping[str, NDArray[Any]], count: int) -> Classes:
    """Tells whether what was computed is classes.

    Args:
        signature: what was called.
        found: alias → array.
        count: of the examples.

    Raises:
        ServingError: INVALID_ARGUMENT, it is not.
    """
    labels, scores = found.get(CLASSES), found.get(SCORES)
    if labels is not None:
        _check_output(CLASSES, labels, signature, DT_STRING, count)
    if scores is not None:
        _check_output(SCORES, scores, signature, DT_FLOAT, count)
    if labels is not None and scores is not None and labels.shape[1] != scores.shape[1]:
        refuse(
            "Tensors class and score should match in dim_size(1). Got "
            f"{labels.shape[1]} vs. {scores.shape[1]}"
        )
    return Classes(labels, scores)


def _check_output(
    alias: str, array: NDArray[Any], signature: Signature, dtype: int, count: int
) -> None:
    if array.ndim != 2:
        refuse(
            f"Expected Tensor shape: [batch_size num_classes] but got {examples.shape_text(array)}"
        )
    received = dtype_of(array, signature.outputs[alias].dtype)
    if received != dtype:
        refuse(
            f"Expected {alias} Tensor of {examples.enum_name(dtype)}. "
            f"Got: {examples.enum_name(received)}"
        )
    if array.shape[0] != count:
        refuse(f"Expected {alias} output batch size of {count}. Got: {array.shape[0]}")
