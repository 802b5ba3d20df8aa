"""TensorFlow's dtypes: their numbers, their names and numpy's dtypes for them."""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

DT_FLOAT: Final = 1
DT_DOUBLE: Final = 2
DT_STRING: Final = 7
DT_BOOL: Final = 10
DT_RESOURCE: Final = 20
DT_VARIANT: Final = 21
DT_UINT64: Final = 23

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
"""tensorflow.DataType → numpy dtype. Strings are bytes objects, which keep trailing NULs. Quantized
integers are structured, with one field of the dtype's name: TensorFlow wants them fed so."""

RESOURCE: Final = np.dtype([("resource", np.int8)])
VARIANT: Final = np.dtype([("variant", np.int8)])
"""Of tensors that can be sent and never be fed."""

_NUMBERS: Final = {
    **{dtype: number for number, dtype in NUMPY_DTYPES.items()},
    RESOURCE: DT_RESOURCE,
    VARIANT: DT_VARIANT,
}


def dtype_of(array: NDArray[Any], declared: int = 0) -> int:
    """The tensorflow.DataType of an array, 0 if it has none.

    Args:
        array: fed or computed.
        declared: the signature's. It wins only where it can be meant: a session returns quantized
            values as plain integers. In all other cases the array's own dtype counts.
    """
    kind = NUMPY_DTYPES.get(declared)
    if kind is not None and (kind == array.dtype or (kind.names and kind[0] == array.dtype)):
        return declared
    return _NUMBERS.get(array.dtype, 0)


def dtype_name(array: NDArray[Any]) -> str:
    """TensorFlow's name for the dtype of an array."""
    return DTYPE_NAMES.get(dtype_of(array), "invalid")
