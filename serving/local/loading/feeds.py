"""What a model is fed, held against what its graph takes.

The check stands here, and not with the APIs: TensorFlow Serving's session makes it, once the
requests of a batch have been merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray

from serving.local.dtypes import NUMPY_DTYPES, RESOURCE, dtype_name
from serving.local.errors import refuse
from serving.local.signature import Signature

_RESOURCE_FED: Final = (
    "Invalid resource type hash code: 0(name:  type: ). Perhaps a resource tensor was being "
    "provided as a feed? That is not currently allowed. Please file an issue at "
    "https://github.com/tensorflow/tensorflow/issues/new, ideally with a short code snippet that "
    "leads to this error message."
)


def check_dtypes(signature: Signature, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuses arrays of other dtypes than the graph takes, as TensorFlow's session does.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    for alias, spec in signature.inputs.items():
        if arrays[alias].dtype == RESOURCE:
            refuse(_RESOURCE_FED)
        if arrays[alias].dtype != NUMPY_DTYPES.get(spec.dtype):
            # The session numbers what it is fed by the names in the graph.
            fed = sorted(signature.inputs.values(), key=lambda spec: spec.tensor_name)
            refuse(
                f"Expects arg[{fed.index(spec)}] to be {spec.dtype_name} but "
                f"{dtype_name(arrays[alias])} is provided"
            )
