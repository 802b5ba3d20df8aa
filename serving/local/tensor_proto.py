"""TensorProto ↔ numpy, by the rules of TensorFlow's own Tensor::FromProto and AsProtoField.

Knows nothing about signatures: what a tensor should be is checked elsewhere.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.local.signature import DT_STRING, NUMPY_DTYPES

_MAX_BYTES: Final = 2**31
"""Larger tensors are refused, as an allocation that fails is. A message cannot be larger either;
only a few values with a large shape could ask for more."""

_MAX_RANK: Final = 254

_FIELD_BY_DTYPE: Final[dict[int, str]] = {
    1: "float_val",
    2: "double_val",
    3: "int_val",
    4: "int_val",
    5: "int_val",
    6: "int_val",
    7: "string_val",
    8: "scomplex_val",
    9: "int64_val",
    10: "bool_val",
    14: "half_val",
    17: "int_val",
    18: "dcomplex_val",
    19: "half_val",
    22: "uint32_val",
    23: "uint64_val",
}


class MalformedTensorError(ValueError):
    """The message is not a tensor: its dtype, shape and content do not fit together."""


def decode(proto: Any) -> NDArray[Any]:
    """Converts a TensorProto as TensorFlow does.

    Content of the exact length wins over `*_val`. Of the values too many are dropped, the last one
    is repeated where there are too few, and none at all means zeros. An unknown rank is a scalar.

    Returns:
        The array; strings as objects of type bytes. It may be read-only.

    Raises:
        MalformedTensorError: no dtype, a negative or overflowing shape, content of a wrong length.
    """
    dtype = NUMPY_DTYPES.get(proto.dtype)
    if dtype is None:
        raise MalformedTensorError(f"dtype {proto.dtype} has no values")
    shape = _shape(proto.tensor_shape, dtype.itemsize)
    count = math.prod(shape)
    if count and proto.tensor_content:
        return _from_content(proto.tensor_content, proto.dtype, dtype, count).reshape(shape)
    return _from_values(proto, dtype, count).reshape(shape)


def encode(array: NDArray[Any], dtype: int, proto: Any) -> None:
    """Fills an empty TensorProto with an array, in `*_val` as the server answers by default.

    Args:
        array: the values; bytes objects where the dtype is DT_STRING.
        dtype: a tensorflow.DataType.
        proto: the message to fill.
    """
    proto.dtype = dtype
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    values = getattr(proto, _FIELD_BY_DTYPE[dtype])
    flat = array.ravel()
    if dtype in (14, 19):
        flat = flat.view(np.uint16)
    elif dtype in (8, 18):
        flat = flat.view(flat.real.dtype)
    values.extend(flat.tolist())


def _shape(proto: Any, itemsize: int) -> tuple[int, ...]:
    if proto.unknown_rank:
        return ()
    shape = tuple(dim.size for dim in proto.dim)
    if len(shape) > _MAX_RANK or any(size < 0 for size in shape):
        raise MalformedTensorError(f"shape {shape} is not a shape")
    if (
        math.prod(size for size in shape if size) >= 2**63
        or math.prod(shape) * itemsize > _MAX_BYTES
    ):
        raise MalformedTensorError(f"shape {shape} is too large")
    return shape


def _from_content(content: bytes, number: int, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    if number == DT_STRING:
        return _strings_from_content(content, count)
    if len(content) != count * dtype.itemsize:
        raise MalformedTensorError(f"{len(content)} bytes for {count} values of {dtype}")
    return np.frombuffer(content, dtype=dtype)


def _strings_from_content(content: bytes, count: int) -> NDArray[Any]:
    """Reads TensorFlow's string list: all lengths as varints, then all bytes, nothing left over."""
    lengths: list[int] = []
    position = 0
    while len(lengths) < count:
        value = shift = 0
        while True:
            if position >= len(content) or shift > 28:
                raise MalformedTensorError("the lengths of the strings are cut off")
            byte = content[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(value)
    if position + sum(lengths) != len(content):
        raise MalformedTensorError("the strings are not as long as their lengths say")
    strings = np.empty(count, dtype=object)
    for index, length in enumerate(lengths):
        strings[index] = content[position : position + length]
        position += length
    return strings


def _from_values(proto: Any, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    values = getattr(proto, _FIELD_BY_DTYPE[proto.dtype])
    if proto.dtype == DT_STRING:
        strings = np.empty(count, dtype=object)
        held = list(values[:count])
        strings[: len(held)] = held
        strings[len(held) :] = held[-1] if held else b""
        return strings
    if proto.dtype in (14, 19):
        found = np.array(values, dtype=np.uint32).astype(np.uint16).view(dtype)
    elif proto.dtype in (8, 18):
        parts = np.array(values, dtype=np.float32 if proto.dtype == 8 else np.float64)
        found = parts[: len(parts) // 2 * 2].view(dtype)
    else:
        found = np.array(values).astype(dtype) if len(values) else np.empty(0, dtype)
    if len(found) >= count:
        return found[:count]
    filled = np.zeros(count, dtype=dtype)
    filled[: len(found)] = found
    if len(found):
        filled[len(found) :] = found[-1]
    return filled
