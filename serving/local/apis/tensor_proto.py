"""TensorProto ↔ numpy, by the rules of TensorFlow's own Tensor::FromProto and AsProtoField."""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2

from serving.local.dtypes import (
    DT_BOOL,
    DT_RESOURCE,
    DT_STRING,
    DT_VARIANT,
    NUMPY_DTYPES,
    RESOURCE,
    VARIANT,
)

_MAX_BYTES: Final = 2**31
"""Larger tensors are refused, as TensorFlow refuses what it cannot allocate. No message is larger,
but a few values with a large shape can ask for more."""

_MAX_RANK: Final = 64
"""What numpy can hold; TensorFlow would take 254."""

_SHORT: Final = 64
"""Shapes of at most so many bytes are cached; half of them hold a rank of 4."""

_FIELD_BY_DTYPE: Final[dict[int, str]] = {
    1: "float_val",
    2: "double_val",
    **dict.fromkeys((3, 4, 5, 6, 11, 12, 13, 15, 16, 17, 29, 30), "int_val"),
    7: "string_val",
    8: "scomplex_val",
    9: "int64_val",
    10: "bool_val",
    **dict.fromkeys((14, 19), "half_val"),
    18: "dcomplex_val",
    22: "uint32_val",
    23: "uint64_val",
    **dict.fromkeys((24, 25, 26, 27, 28), "float8_val"),
}

_NEVER_FED: Final = {DT_RESOURCE: RESOURCE, DT_VARIANT: VARIANT}

_FIELDS: Final = tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name


class MalformedTensorError(ValueError):
    """The message is not a tensor: its dtype, shape and content do not fit together."""


def decode(proto: Any) -> NDArray[Any]:
    """Converts a TensorProto as TensorFlow does.

    `tensor_content` overrides `*_val`. Too many values: the rest is dropped; too few: the last one
    is repeated; none at all: zeros. `unknown_rank` is ignored: without dimensions it is a scalar.

    Returns:
        The array; strings as objects of type bytes. It may be read-only.

    Raises:
        MalformedTensorError: no dtype, a negative or overflowing shape, content of a wrong length.
    """
    number = proto.dtype
    dtype = NUMPY_DTYPES.get(number) or _NEVER_FED.get(number)
    if dtype is None:
        raise MalformedTensorError(f"dtype {number} has no values")
    on_wire = proto.tensor_shape.SerializeToString()
    read = _known_shape if len(on_wire) <= _SHORT else _shape
    shape, count = read(on_wire, dtype.itemsize)
    if number in _NEVER_FED:
        if number == DT_RESOURCE and count != 1:
            raise MalformedTensorError("a resource that is no scalar")  # ends TensorFlow Serving
        return np.zeros(shape, dtype)
    content = proto.tensor_content
    if content and count:
        return _from_content(content, number, dtype, count).reshape(shape)
    return _from_values(proto, number, dtype, count).reshape(shape)


def encode(array: NDArray[Any], dtype: int, proto: Any) -> None:
    """Fills an empty TensorProto with an array, in `*_val` as the server answers by default.

    Args:
        array: the values; bytes objects where the dtype is DT_STRING.
        dtype: a tensorflow.DataType.
        proto: the message to fill.
    """
    if dtype == DT_BOOL:
        array = _truth(array)
    head = _head(dtype, array.shape)
    tag = _PACKED_TAGS.get(dtype)
    if tag is not None and array.size:
        # Takes half the time of a list of Python floats for small arrays, a twentieth for large.
        packed = array.tobytes()
        proto.MergeFromString(b"".join((head, tag, varint(len(packed)), packed)))
        return
    proto.MergeFromString(head)
    flat = array.ravel()
    field = _FIELD_BY_DTYPE[dtype]
    if field == "float8_val":
        proto.float8_val = flat.tobytes()
        return
    if field == "half_val":
        flat = flat.view(np.uint16)
    getattr(proto, field).extend(flat.tolist())


def encode_content(array: NDArray[Any], dtype: int, proto: Any) -> None:
    """Like `encode`, in `tensor_content`."""
    if dtype == DT_BOOL:
        array = _truth(array)
    proto.MergeFromString(_head(dtype, array.shape))
    if dtype == DT_STRING:
        strings = array.ravel().tolist()
        proto.tensor_content = b"".join([*map(varint, map(len, strings)), *strings])
    else:
        proto.tensor_content = array.tobytes()


def _shape(on_wire: bytes, itemsize: int) -> tuple[tuple[int, ...], int]:
    """The sizes of a serialized TensorShapeProto, and their product."""
    dims = tensor_shape_pb2.TensorShapeProto.FromString(on_wire).dim
    shape = tuple([dim.size for dim in dims])
    if len(shape) > _MAX_RANK or (shape and min(shape) < 0):
        raise MalformedTensorError(f"shape {shape} is not a shape")
    count = math.prod(shape)
    if count * itemsize > _MAX_BYTES:
        raise MalformedTensorError(f"shape {shape} is too large")
    if not count and math.prod(filter(None, shape)) * itemsize >= 2**63:
        raise MalformedTensorError(f"shape {shape} is empty, and too large for numpy")
    return shape, count


# A server sees the same few shapes again and again, and Python is slow to read one.
_known_shape = functools.lru_cache(maxsize=1024)(_shape)


def _from_content(content: bytes, number: int, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    if number == DT_STRING:
        return _strings_from_content(content, count)
    if len(content) != count * dtype.itemsize:
        raise MalformedTensorError(f"{len(content)} bytes for {count} values of {dtype}")
    found = np.frombuffer(content, dtype=dtype)
    return _truth(found) if number == DT_BOOL else found


def _truth(array: NDArray[Any]) -> NDArray[np.bool_]:
    """The array with 1 for each byte that is not 0.

    numpy and TensorFlow take every such byte for true, and hand it on as it is; where only the
    lowest bit is looked at, or a byte above 127 is read as the beginning of a longer number, 2 and
    255 are not true any more.
    """
    truth: NDArray[np.bool_] = array.view(np.uint8) != 0
    return truth


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


def _from_values(proto: Any, number: int, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    field = _FIELD_BY_DTYPE[number]
    values = getattr(proto, field)
    if number == DT_STRING:
        strings = np.empty(count, dtype=object)
        held = values[:count]
        strings[: len(held)] = held
        strings[len(held) :] = held[-1] if held else b""
        return strings
    if not values:
        return np.zeros(count, dtype=dtype)
    if field == "float8_val":
        found = np.frombuffer(values, dtype=dtype)
    elif field == "half_val":
        found = np.array(values, dtype=np.uint32).astype(np.uint16).view(dtype)
    elif dtype.kind == "c":
        found = np.array(values)
        found = found[: len(found) // 2 * 2].view(dtype)
    else:
        # Values too large for the dtype are cut, as C++ casts. Quantized dtypes are cast as their
        # one field: numpy does not cast into a structure.
        found = np.array(values).astype(dtype[0] if dtype.names else dtype, copy=False).view(dtype)
    if len(found) >= count:
        return found[:count]
    filled = np.zeros(count, dtype=dtype)
    filled[: len(found)] = found
    if len(found):
        filled[len(found) :] = found[-1]
    return filled


@functools.lru_cache(maxsize=1024)
def _head(dtype: int, shape: tuple[int, ...]) -> bytes:
    """Dtype and shape on the wire; cached, for they are few and slow to put together."""
    proto = tensor_pb2.TensorProto(dtype=dtype)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return bytes(proto.SerializeToString())


def varint(value: int) -> bytes:
    """A number of protobuf's wire format."""
    if value < 0x80:
        return bytes((value,))
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


_LENGTH_DELIMITED: Final = 2

_PACKED_TAGS: Final = {
    dtype: varint(_FIELDS[_FIELD_BY_DTYPE[dtype]].number << 3 | _LENGTH_DELIMITED)
    for dtype in (1, 2, 8, 10, 18)
}
"""Dtypes whose packed values are, on the wire, the bytes of the array → how the field begins."""
