"""Answers Predict from one loaded version, with TensorFlow Serving's checks in its order.

Speaks numpy and ServingError; knows nothing about versions, labels, messages or transports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from grpc import StatusCode
from numpy.typing import NDArray

from serving.local.apis import tensor_proto
from serving.local.errors import ServingError, failed_precondition, invalid_argument, refuse
from serving.local.inference import (
    CLASSIFY_METHOD,
    PREDICT_METHOD,
    REGRESS_METHOD,
    InferenceOptions,
)
from serving.local.signature import (
    DEFAULT_SIGNATURE,
    DTYPE_NAMES,
    NUMPY_DTYPES,
    ServableModel,
    Signature,
    TensorSpec,
    dtype_of,
)

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
    options: InferenceOptions,
    output_filter: Sequence[str] = (),
) -> Prediction:
    """Runs a signature.

    Args:
        model: the version that answers.
        signature_name: empty for serving_default.
        inputs: alias → tensor as it was sent.
        decode: tensor as it was sent → array; raises MalformedTensorError. Called only after the
            number of inputs is known to be right, as TensorFlow Serving does.
        options: whether the signature's method name matters.
        output_filter: the aliases to compute; all if empty.

    Raises:
        ServingError: with TensorFlow Serving's code and text.
    """
    name = signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    _check_method_name(signature, options)
    specs = signature.inputs
    if len(inputs) != len(specs) and (len(inputs) > len(specs) or not signature.defaults):
        _refuse_input_count(signature, inputs)
    arrays = {
        alias: _input(alias, spec, inputs, decode, signature) for alias, spec in specs.items()
    }
    if signature.defaults:
        _check_names(signature, inputs)
    outputs = _chosen_outputs(signature, output_filter) if output_filter else [*signature.outputs]
    check_dtypes(signature, arrays)
    return Prediction(signature, model.run(signature, arrays, outputs))


def check_dtypes(signature: Signature, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuses arrays of other dtypes than the graph takes, as TensorFlow's session does.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    for alias, spec in signature.inputs.items():
        if arrays[alias].dtype != NUMPY_DTYPES.get(spec.dtype):
            # The session numbers what it is fed by the names in the graph.
            fed = sorted(signature.inputs.values(), key=lambda spec: spec.tensor_name)
            received = DTYPE_NAMES.get(dtype_of(arrays[alias]), "invalid")
            refuse(
                f"Expects arg[{fed.index(spec)}] to be {spec.dtype_name} but {received} is provided"
            )


def _check_method_name(signature: Signature, options: InferenceOptions) -> None:
    wanted = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)
    if not options.accepts(signature.method_name, wanted):
        raise ServingError(
            StatusCode.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(wanted)}}}. "
            f"Was: {signature.method_name}",
        )


def _input(
    alias: str,
    spec: TensorSpec,
    inputs: Mapping[str, Sent],
    decode: Callable[[Sent], NDArray[Any]],
    signature: Signature,
) -> NDArray[Any]:
    try:
        if alias in inputs:
            return decode(inputs[alias])
        if alias in signature.defaults:
            return tensor_proto.decode(signature.defaults[alias])
    except tensor_proto.MalformedTensorError as error:
        raise invalid_argument(f"tensor parsing error: {alias}") from error
    refuse(
        f"Signature input alias: {alias}(feed name: {spec.tensor_name}) not found in "
        "request and no default value provided. Inputs expected to be in the request "
        f"{{{_joined(inputs)}}}, or default input alias set: {_joined(signature.defaults)}"
    )


def _check_names(signature: Signature, inputs: Iterable[str]) -> None:
    """Where defaults make up for missing inputs, the right number says nothing about names."""
    used = [alias for alias in inputs if alias in signature.inputs]
    if len(used) != len(list(inputs)):
        refuse(
            f"Inputs contains invalid name. Used request inputs: {_joined(used)}, request input: "
            f"{_joined(inputs)}"
        )


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
    chosen: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            refuse(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {{{_joined(signature.outputs)}}}."
            )
        if alias in chosen:
            refuse(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return chosen


def _joined(aliases: Iterable[str]) -> str:
    return ",".join(sorted(aliases))
