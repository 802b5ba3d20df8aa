"""Answers requests from one loaded version, with TensorFlow Serving's checks in its order.

Speaks numpy and ServingError; knows nothing about versions, labels, messages or transports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray

from serving.local.errors import failed_precondition, invalid_argument, refuse
from serving.local.signature import (
    DEFAULT_SIGNATURE,
    DT_STRING,
    DTYPE_NAMES,
    NUMPY_DTYPES,
    ServableModel,
    Signature,
)
from serving.local.tensor_proto import MalformedTensorError

CLASSIFY_INPUTS: Final = "inputs"
CLASSIFY_CLASSES: Final = "classes"
CLASSIFY_SCORES: Final = "scores"

_DT_FLOAT: Final = 1

_DTYPE_NUMBERS: Final = {dtype: number for number, dtype in NUMPY_DTYPES.items()}

Sent = TypeVar("Sent")


@dataclass(frozen=True)
class Prediction:
    """What `predict` answers."""

    signature: Signature
    outputs: Mapping[str, NDArray[Any]]


def predict(
    model: ServableModel,
    signature_name: str,
    inputs: Mapping[str, Sent],
    decode: Callable[[Sent], NDArray[Any]],
    output_filter: Sequence[str] = (),
) -> Prediction:
    """Runs a signature.

    Args:
        model: the version that answers.
        signature_name: empty for serving_default.
        inputs: alias → tensor as it was sent.
        decode: tensor as it was sent → array; raises MalformedTensorError. Called only after the
        names
            are known to be right, as TensorFlow Serving does.
        output_filter: the aliases to compute; all if empty.

    Raises:
        ServingError: with TensorFlow Serving's code and text.
    """
    name = signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    if len(inputs) != len(signature.inputs):
        _refuse_input_count(signature, inputs)
    arrays: dict[str, NDArray[Any]] = {}
    for alias, spec in signature.inputs.items():
        if alias not in inputs:
            refuse(
                f"Signature input alias: {alias}(feed name: {spec.tensor_name}) not found in "
                "request and no default value provided. Inputs expected to be in the request "
                f"{{{','.join(sorted(inputs))}}}, or default input alias set: "
            )
        try:
            arrays[alias] = decode(inputs[alias])
        except MalformedTensorError as error:
            raise invalid_argument(f"tensor parsing error: {alias}") from error
    outputs = _chosen_outputs(signature, output_filter)
    _check_dtypes(signature, arrays)
    return Prediction(signature, model.run(signature, arrays, outputs))


@dataclass(frozen=True)
class Classes:
    """What `classify` answers; a part that the signature does not have is None."""

    labels: NDArray[Any] | None
    """bytes [N, C]"""
    scores: NDArray[Any] | None
    """float32 [N, C]"""


def classify(model: ServableModel, signature_name: str, examples: Sequence[bytes]) -> Classes:
    """Runs a signature of TensorFlow Serving's Classify API.

    Args:
        model: the version that answers.
        signature_name: empty for serving_default.
        examples: serialized tf.Examples.

    Raises:
        ServingError: with TensorFlow Serving's code and text.
    """
    signature = _example_signature(model, signature_name)
    if len(signature.inputs) != 1:
        refuse("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        refuse(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if CLASSIFY_INPUTS not in signature.inputs:
        refuse(f"No classification inputs found in SignatureDef: {_debug_text(signature)}")
    outputs = [name for name in (CLASSIFY_CLASSES, CLASSIFY_SCORES) if name in signature.outputs]
    if not outputs:
        refuse(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSIFY_CLASSES}" or "{CLASSIFY_SCORES}". Signature was: {_debug_text(signature)}'
        )
    found = _run_examples(model, signature, CLASSIFY_INPUTS, examples, outputs)
    labels, scores = found.get(CLASSIFY_CLASSES), found.get(CLASSIFY_SCORES)
    if labels is not None:
        _check_classes(CLASSIFY_CLASSES, labels, signature, DT_STRING, len(examples))
    if scores is not None:
        _check_classes(CLASSIFY_SCORES, scores, signature, _DT_FLOAT, len(examples))
    if labels is not None and scores is not None and labels.shape[1] != scores.shape[1]:
        refuse(
            "Tensors class and score should match in dim_size(1). Got "
            f"{labels.shape[1]} vs. {scores.shape[1]}"
        )
    return Classes(labels, scores)


def _example_signature(model: ServableModel, signature_name: str) -> Signature:
    name = signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        refuse(f"No signature was found with the name: {name}")
    return signature


def _run_examples(
    model: ServableModel,
    signature: Signature,
    alias: str,
    examples: Sequence[bytes],
    outputs: Sequence[str],
) -> dict[str, NDArray[Any]]:
    if not examples:
        refuse("Input is empty.")
    array = np.empty(len(examples), dtype=object)
    array[:] = examples
    _check_dtypes(signature, {alias: array})
    return model.run(signature, {alias: array}, outputs)


def _check_classes(
    name: str, array: NDArray[Any], signature: Signature, dtype: int, count: int
) -> None:
    if array.ndim != 2:
        sizes = ",".join(str(size) for size in array.shape)
        refuse(f"Expected Tensor shape: [batch_size num_classes] but got [{sizes}]")
    received = signature.outputs[name].dtype
    if received != dtype:
        refuse(
            f"Expected {name} Tensor of {_enum_name(dtype)}. Got: {_enum_name(received)}",
        )
    if array.shape[0] != count:
        refuse(f"Expected {name} output batch size of {count}. Got: {array.shape[0]}")


def _enum_name(dtype: int) -> str:
    return "DT_" + DTYPE_NAMES.get(dtype, "invalid").upper()


def _refuse_input_count(signature: Signature, inputs: Iterable[str]) -> None:
    sent, wanted = sorted(inputs), sorted(signature.inputs)
    extra = ",".join(alias for alias in sent if alias not in signature.inputs)
    missing = ",".join(alias for alias in wanted if alias not in sent)
    refuse(
        f"input size does not match signature: {len(sent)}!={len(wanted)} "
        f"len({{{','.join(sent)}}}) != len({{{','.join(wanted)}}}). Sent extra: {{{extra}}}. "
        f"Missing but required: {{{missing}}}."
    )


def _chosen_outputs(signature: Signature, output_filter: Sequence[str]) -> list[str]:
    if not output_filter:
        return list(signature.outputs)
    chosen: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            refuse(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {{{','.join(signature.outputs)}}}."
            )
        if alias in chosen:
            refuse(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return chosen


def _check_dtypes(signature: Signature, arrays: Mapping[str, NDArray[Any]]) -> None:
    for position, (alias, spec) in enumerate(signature.inputs.items()):
        received = _DTYPE_NUMBERS.get(arrays[alias].dtype, 0)
        if received != spec.dtype:
            refuse(
                f"Expects arg[{position}] to be {spec.dtype_name} but "
                f"{DTYPE_NAMES.get(received, 'invalid')} is provided"
            )


def _debug_text(signature: Signature) -> str:
    return text_format.MessageToString(signature.message)
