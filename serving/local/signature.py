"""What a loaded model answers to: signatures, their tensors and TensorFlow's names for dtypes.

Knows nothing about sessions, requests or how tensors travel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

DEFAULT_SIGNATURE: Final = "serving_default"

DT_STRING: Final = 7

DTYPE_NAMES: Final[dict[int, str]] = {
    1: "float",
    2: "double",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    11: "qint8",
    12: "quint8",
    13: "qint32",
    14: "bfloat16",
    15: "qint16",
    16: "quint16",
    17: "uint16",
    18: "complex128",
    19: "half",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
    24: "float8_e5m2",
    25: "float8_e4m3fn",
    26: "float8_e4m3fnuz",
    27: "float8_e4m3b11fnuz",
    28: "float8_e5m2fnuz",
    29: "int4",
    30: "uint4",
}
"""tensorflow.DataType → the name that TensorFlow's messages use for it."""

NUMPY_DTYPES: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    4: np.dtype(np.uint8),
    5: np.dtype(np.int16),
    6: np.dtype(np.int8),
    7: np.dtype(object),
    8: np.dtype(np.complex64),
    9: np.dtype(np.int64),
    10: np.dtype(np.bool_),
    11: np.dtype([("qint8", np.int8)]),
    12: np.dtype([("quint8", np.uint8)]),
    13: np.dtype([("qint32", np.int32)]),
    14: np.dtype(ml_dtypes.bfloat16),
    15: np.dtype([("qint16", np.int16)]),
    16: np.dtype([("quint16", np.uint16)]),
    17: np.dtype(np.uint16),
    18: np.dtype(np.complex128),
    19: np.dtype(np.float16),
    22: np.dtype(np.uint32),
    23: np.dtype(np.uint64),
    24: np.dtype(ml_dtypes.float8_e5m2),
    25: np.dtype(ml_dtypes.float8_e4m3fn),
    26: np.dtype(ml_dtypes.float8_e4m3fnuz),
    27: np.dtype(ml_dtypes.float8_e4m3b11fnuz),
    28: np.dtype(ml_dtypes.float8_e5m2fnuz),
    29: np.dtype(ml_dtypes.int4),
    30: np.dtype(ml_dtypes.uint4),
}
"""tensorflow.DataType → numpy dtype; strings are bytes objects, which keep trailing NULs. A field
of the dtype's own name tells a quantized integer from a plain one, as TensorFlow wants it fed."""

_NUMBERS: Final = {dtype: number for number, dtype in NUMPY_DTYPES.items()}


def dtype_of(array: NDArray[Any], declared: int = 0) -> int:
    """The tensorflow.DataType of an array, 0 if it has none.

    Args:
        array: fed or computed.
        declared: what the signature says. It decides about the plain integers as which a session
            hands quantized values out; of the rest the array knows better than a SignatureDef.
    """
    kind = NUMPY_DTYPES.get(declared)
    if kind is not None and (kind == array.dtype or (kind.names and kind[0] == array.dtype)):
        return declared
    return _NUMBERS.get(array.dtype, 0)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a signature."""

    tensor_name: str
    """The name in the graph, `node:0`."""
    dtype: int
    """A tensorflow.DataType."""
    shape: tuple[int, ...] | None
    """-1 where a size is not fixed; None where not even the rank is."""

    @property
    def dtype_name(self) -> str:
        """TensorFlow's name for the dtype."""
        return DTYPE_NAMES.get(self.dtype, "invalid")


@dataclass(frozen=True)
class Signature:
    """One way of calling a model."""

    name: str
    inputs: Mapping[str, TensorSpec]
    """Alias → tensor, in the order of the aliases."""
    outputs: Mapping[str, TensorSpec]
    """Alias → tensor, in the order of the aliases."""
    method_name: str
    defaults: Mapping[str, Any]
    """Alias → the TensorProto that stands in for an input which is not sent; mostly empty."""
    message: Any
    """The SignatureDef itself, for metadata and for the texts that quote it."""


def from_signature_def(name: str, message: Any) -> Signature:
    """Converts a SignatureDef."""
    return Signature(
        name=name,
        inputs={alias: _spec(message.inputs[alias]) for alias in sorted(message.inputs)},
        outputs={alias: _spec(message.outputs[alias]) for alias in sorted(message.outputs)},
        method_name=message.method_name,
        defaults=dict(message.defaults),
        message=message,
    )


def _spec(info: Any) -> TensorSpec:
    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)
    return TensorSpec(tensor_name=info.name, dtype=info.dtype, shape=sizes)


class ServableModel(Protocol):
    """What the core needs of a loaded version; `saved_model.SavedModel` is the real one."""

    signatures: Mapping[str, Signature]

    def run(
        self, signature: Signature, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        """Computes outputs (aliases) from inputs (alias → array); raises ServingError."""

    def close(self) -> None:
        """Frees it."""
