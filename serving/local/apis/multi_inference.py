"""MultiInference: several classifications and regressions of the same examples, in one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grpc import StatusCode
from numpy.typing import NDArray

from serving.local.apis import classification, examples, regression
from serving.local.apis.classification import Classes
from serving.local.dtypes import DT_STRING
from serving.local.errors import ServingError, refuse
from serving.local.inference import InferenceOptions
from serving.local.signature import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    REGRESS_METHOD,
    CallableModel,
    Signature,
    TensorSpec,
)


@dataclass(frozen=True)
class Task:
    """One of the things that are asked for."""

    model_name: str
    signature_name: str
    """Empty for serving_default."""
    method_name: str


def multi_inference(
    model: CallableModel,
    tasks: Sequence[Task],
    sent: Sequence[bytes],
    options: InferenceOptions,
) -> list[Classes | NDArray[Any]]:
    """Runs every task's signature over the same examples, whatever its input is called.

    Args:
        model: the version that answers.
        tasks: at least one.
        sent: serialized tf.Examples.
        options: whether the signatures' method names matter.

    Returns:
        For each task what `classify` or `regress` would answer.

    Raises:
        ServingError: with TensorFlow Serving's code and text.
    """
    checked = _checked(model, tasks, options)
    joint = _joint(checked)
    found = examples.run(model, joint, sent, [*joint.outputs])
    answers: list[Classes | NDArray[Any]] = []
    for task, (signature, aliases) in zip(tasks, checked):
        outputs = {alias: found[signature.outputs[alias].tensor_name] for alias in aliases}
        if task.method_name == CLASSIFY_METHOD:
            answers.append(classification.check_outputs(signature, outputs, len(sent)))
        else:
            values = outputs[regression.VALUES]
            answers.append(regression.check_output(signature, values, len(sent)))
    return answers


def _checked(
    model: CallableModel, tasks: Sequence[Task], options: InferenceOptions
) -> list[tuple[Signature, list[str]]]:
    """Each task's signature, and the aliases of the outputs that it needs."""
    found: dict[str, tuple[Signature, list[str]]] = {}
    for task in tasks:
        if not task.model_name:
            refuse("Found ModelSpec with an empty model name.")
        if task.model_name != tasks[0].model_name:
            refuse("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.signature_name or DEFAULT_SIGNATURE
        if name in found:
            refuse(f"Duplicate evaluation of signature: {name}")
        signature = model.signatures.get(name)
        if signature is None:
            refuse(f"Requested signature not found in model graph: {name}")
        found[name] = signature, _outputs(signature, task.method_name, options)
    return list(found.values())


def _outputs(signature: Signature, method_name: str, options: InferenceOptions) -> list[str]:
    if method_name == CLASSIFY_METHOD:
        return classification.check_signature(signature, options)
    if method_name == REGRESS_METHOD:
        return regression.check_signature(signature, options)
    raise ServingError(
        StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {method_name}"
    )


def _joint(checked: Sequence[tuple[Signature, list[str]]]) -> Signature:
    """One signature that computes what all of them need, under the tensors' own names."""
    needed = [signature.outputs[alias] for signature, aliases in checked for alias in aliases]
    # Only a warm-up record can lack tasks: TensorFlow then says that there is no such tensor.
    nothing = TensorSpec(tensor_name="", dtype=DT_STRING, shape=None)
    fed = [signature.inputs[examples.EXAMPLES] for signature, _ in checked] or [nothing]
    inputs = _by_tensor(fed)
    return Signature(
        name=f"MultiInference of {', '.join(inputs)}",
        inputs=inputs,
        outputs=_by_tensor(needed),
        method_name="",
        defaults={},
        message=None,
    )


def _by_tensor(specs: Sequence[TensorSpec]) -> dict[str, TensorSpec]:
    return {spec.tensor_name: spec for spec in sorted(specs, key=lambda spec: spec.tensor_name)}
