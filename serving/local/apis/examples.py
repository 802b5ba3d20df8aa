"""What Classify, Regress and MultiInference have in common: serialized tf.Examples go in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray

from serving.local.dtypes import DTYPE_NAMES
from serving.local.errors import refuse
from serving.local.inference import InferenceOptions
from serving.local.signature import DEFAULT_SIGNATURE, CallableModel, Signature

EXAMPLES: Final = "inputs"
"""The alias of the one input, serialized tf.Examples [N]."""


def signature_named(model: CallableModel, signature_name: str) -> Signature:
    """The signature that Classify or Regress is asked for.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    name = signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        refuse(f"No signature was found with the name: {name}")
    return signature


def check_method_name(
    signature: Signature, wanted: str, kind: str, options: InferenceOptions
) -> None:
    """Refuses a signature of another API, where that is asked for.

    Args:
        signature: what is to be called.
        wanted: the method name it should have.
        kind: "classification" or "regression".
        options: whether method names are checked.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if not options.accepts(signature.method_name, (wanted,)):
        refuse(
            f"Expected {kind} signature method_name to be {wanted}. Was: {signature.method_name}"
        )


def run(
    model: CallableModel, signature: Signature, examples: Sequence[bytes], outputs: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Computes outputs of a signature, each of whose inputs is fed the same examples.

    Raises:
        ServingError: INVALID_ARGUMENT, no examples or an input of another dtype; what the graph
            says.
    """
    if not examples:
        refuse("Input is empty.")
    array = np.empty(len(examples), dtype=object)
    array[:] = examples
    return model.run(signature, dict.fromkeys(signature.inputs, array), outputs)


def debug_text(signature: Signature) -> str:
    """A SignatureDef as error texts quote it."""
    return text_format.MessageToString(signature.message, as_utf8=False)


def shape_text(array: NDArray[Any]) -> str:
    """A shape as error texts quote it."""
    return f"[{','.join(str(size) for size in array.shape)}]"


def enum_name(dtype: int) -> str:
    """The name of a tensorflow.DataType in its enum."""
    return "DT_" + DTYPE_NAMES.get(dtype, "invalid").upper()
