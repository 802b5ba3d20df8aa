"""Regress, answered by one loaded version, with TensorFlow Serving's checks in its order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from numpy.typing import NDArray

from serving.local.apis import examples
from serving.local.dtypes import DT_FLOAT, dtype_of
from serving.local.errors import refuse
from serving.local.inference import InferenceOptions
from serving.local.signature import REGRESS_METHOD, CallableModel, Signature

VALUES: Final = "outputs"


def regress(
    model: CallableModel,
    signature_name: str,
    sent: Sequence[bytes],
    options: InferenceOptions,
) -> NDArray[Any]:
    """Runs a regression signature.

    Args:
        model: the version that answers.
        signature_name: empty for serving_default.
        sent: serialized tf.Examples.
        options: whether the signature's method name matters.

    Returns:
        float32 [N].

    Raises:
        ServingError: with TensorFlow Serving's code and text.
    """
    signature = examples.signature_named(model, signature_name)
    outputs = check_signature(signature, options)
    found = examples.run(model, signature, sent, outputs)
    return check_output(signature, found[VALUES], len(sent))


def check_signature(signature: Signature, options: InferenceOptions) -> list[str]:
    """Tells whether a signature can regress.

    Returns:
        The aliases of the outputs to compute.

    Raises:
        ServingError: INVALID_ARGUMENT, it cannot.
    """
    examples.check_method_name(signature, REGRESS_METHOD, "regression", options)
    if len(signature.inputs) != 1:
        refuse("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        refuse("Expected one output Tensor.")
    if examples.EXAMPLES not in signature.inputs:
        refuse(f"No regression inputs found in SignatureDef: {examples.debug_text(signature)}")
    if VALUES not in signature.outputs:
        refuse(f"No regression outputs found in SignatureDef: {examples.debug_text(signature)}")
    return [VALUES]


def check_output(signature: Signature, array: NDArray[Any], count: int) -> NDArray[Any]:
    """Tells whether what was computed is one value an example.

    Args:
        signature: what was called.
        array: what came of it.
        count: of the examples.

    Returns:
        float32 [count].

    Raises:
        ServingError: INVALID_ARGUMENT, it is not.
    """
    if array.ndim != 1 and (array.ndim != 2 or array.shape[1] != 1):
        refuse(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{examples.shape_text(array)}"
        )
    if array.shape[0] != count:
        refuse(f"Input batch size did not match output batch size: {count} vs. {array.shape[0]}")
    received = dtype_of(array, signature.outputs[VALUES].dtype)
    if received != DT_FLOAT:
        refuse(f"Expected output Tensor of DT_FLOAT.  Got: {examples.enum_name(received)}")
    return array.reshape(count)
