"""Predict, answered by one loaded version, with TensorFlow Serving's checks in its order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from grpc import StatusCode
from numpy.typing import NDArray

from serving.local.apis import tensor_proto
from serving.local.errors import ServingError, failed_precondition, invalid_argument, refuse
from serving.local.inference import InferenceOptions
from serving.local.signature import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    PREDICT_METHOD,
    REGRESS_METHOD,
    CallableModel,
    Signature,
)

Sent = TypeVar("Sent")


@dataclass(frozen=True)
class PredictCall(Generic[Sent]):
    """What Predict is asked."""

    signature_name: str
    """Empty for serving_default."""
    inputs: Mapping[str, Sent]
    """Alias → tensor as it was sent."""
    decode: Callable[[Sent], NDArray[Any]]
    """Tensor as it was sent → array; raises MalformedTensorError. Called only once the number of
    inputs is known to be right, as in TensorFlow Serving."""
    output_filter: Sequence[str] = ()
    """The aliases to compute; all if empty."""


@dataclass(frozen=True)
class Prediction:
    """What `predict` answers."""

    signature: Signature
    outputs: Mapping[str, NDArray[Any]]


def predict(model: CallableModel, call: PredictCall[Sent], options: InferenceOptions) -> Prediction:
    """Runs a signature.

    Args:
        model: the version that answers.
        call: what it is asked.
        options: whether the signature's method name matters.

    Raises:
        ServingError: with TensorFlow Serving's code and text.
    """
    name = call.signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    _check_method_name(signature, options)
    _check_input_count(signature, call.inputs)
    arrays = {alias: _input(alias, signature, call) for alias in signature.inputs}
    if signature.defaults:
        _check_names(signature, call.inputs)
    outputs = [*signature.outputs]
    if call.output_filter:
        outputs = _chosen_outputs(signature, call.output_filter)
    return Prediction(signature, model.run(signature, arrays, outputs))


def _check_method_name(signature: Signature, options: InferenceOptions) -> None:
    wanted = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)
    if not options.accepts(signature.method_name, wanted):
        raise ServingError(
            StatusCode.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(wanted)}}}. "
            f"Was: {signature.method_name}",
        )


def _input(alias: str, signature: Signature, call: PredictCall[Sent]) -> NDArray[Any]:
    try:
        if alias in call.inputs:
            return call.decode(call.inputs[alias])
        if alias in signature.defaults:
            return tensor_proto.decode(signature.defaults[alias])
    except tensor_proto.MalformedTensorError as error:
        raise invalid_argument(f"tensor parsing error: {alias}") from error
    refuse(
        f"Signature input alias: {alias}(feed name: {signature.inputs[alias].tensor_name}) not "
        "found in request and no default value provided. Inputs expected to be in the request "
        f"{{{_joined(call.inputs)}}}, or default input alias set: {_joined(signature.defaults)}"
    )


def _check_names(signature: Signature, inputs: Iterable[str]) -> None:
    """Refuses unknown names, which the count does not show where defaults replace inputs."""
    used = [alias for alias in inputs if alias in signature.inputs]
    if len(used) != len(list(inputs)):
        refuse(
            f"Inputs contains invalid name. Used request inputs: {_joined(used)}, request input: "
            f"{_joined(inputs)}"
        )


def _check_input_count(signature: Signature, inputs: Collection[str]) -> None:
    few_enough = len(inputs) <= len(signature.inputs)
    if len(inputs) == len(signature.inputs) or (few_enough and signature.defaults):
        return
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
