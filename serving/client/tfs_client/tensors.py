"""numpy arrays to the wire's TensorProto, and back.

Every dtype that both sides know: float16/32/64, bfloat16 (with ml_dtypes installed), signed and
unsigned integers of 8 to 64 bits, bool, complex64/128, and strings. Writes `tensor_content` (and
`string_val` for strings); reads all forms a server may choose: `tensor_content`, the `*_val`
fields, and the compressed form, where fewer values than the shape says repeat the last one.

Knows nothing about models, signatures or gRPC. Trusts no tensor it reads.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfs_client.errors import AnswerError, RequestError
from tfs_client.wire import serving_pb2 as pb

MAX_TENSOR_BYTES: Final = 2**31
"""No honest tensor is larger: it would not fit into one protobuf message."""


@dataclasses.dataclass(frozen=True)
class _Kind:
    code: int
    name: str
    stored: str
    """How numpy reads the bytes of tensor_content: always little-endian."""
    field: str


_KINDS: Final = (
    _Kind(pb.DT_FLOAT, "float32", "<f4", "float_val"),
    _Kind(pb.DT_DOUBLE, "float64", "<f8", "double_val"),
    _Kind(pb.DT_HALF, "float16", "<f2", "half_val"),
    _Kind(pb.DT_BFLOAT16, "bfloat16", "<u2", "half_val"),
    _Kind(pb.DT_INT8, "int8", "<i1", "int_val"),
    _Kind(pb.DT_INT16, "int16", "<i2", "int_val"),
    _Kind(pb.DT_INT32, "int32", "<i4", "int_val"),
    _Kind(pb.DT_INT64, "int64", "<i8", "int64_val"),
    _Kind(pb.DT_UINT8, "uint8", "<u1", "int_val"),
    _Kind(pb.DT_UINT16, "uint16", "<u2", "int_val"),
    _Kind(pb.DT_UINT32, "uint32", "<u4", "uint32_val"),
    _Kind(pb.DT_UINT64, "uint64", "<u8", "uint64_val"),
    _Kind(pb.DT_BOOL, "bool", "|b1", "bool_val"),
    _Kind(pb.DT_COMPLEX64, "complex64", "<c8", "scomplex_val"),
    _Kind(pb.DT_COMPLEX128, "complex128", "<c16", "dcomplex_val"),
    _Kind(pb.DT_STRING, "string", "|O", "string_val"),
)
_BY_CODE: Final = {kind.code: kind for kind in _KINDS}
_BY_NAME: Final = {kind.name: kind for kind in _KINDS}


def dtype_name(code: int) -> str:
    """The name of a wire dtype as this package says it: numpy's, or "string".

    An unknown one gets TensorFlow's own name, such as "DT_VARIANT", or "dtype 99".
    """
    if code in _BY_CODE:
        return _BY_CODE[code].name
    return pb.DataType.Name(code) if code in pb.DataType.values() else f"dtype {code}"


def to_proto(value: Any, name: str = "tensor") -> pb.TensorProto:
    """Writes an array, or what numpy can make one of, as a tensor.

    Args:
        value: an array of any shape; nested lists; numbers; str (sent as UTF-8) or bytes, alone or
            in lists or object arrays. numpy's own fixed-width strings lose trailing zero bytes
            before they get here: give file contents as bytes, a list of bytes or an object array.
        name: how to call it in an error.

    Raises:
        RequestError: a dtype that TensorFlow Serving does not know, or ragged lists.
    """
    array = _as_array(value, name)
    kind = _BY_NAME["string" if array.dtype.kind in "OSUT" else array.dtype.name]
    proto = pb.TensorProto(dtype=pb.DataType.Name(kind.code))
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    # A tensor of rank 0 has an empty shape, not a missing one.
    proto.tensor_shape.SetInParent()
    if kind.name == "string":
        proto.string_val.extend(_as_bytes(element, name) for element in array.flat)
    else:
        if kind.name == "bfloat16":
            array = array.view(np.uint16)
        proto.tensor_content = array.astype(kind.stored, copy=False).tobytes()
    return proto


def from_proto(
    proto: pb.TensorProto, name: str = "tensor", *, max_bytes: int = MAX_TENSOR_BYTES
) -> NDArray[Any]:
    """Reads a tensor.

    Args:
        proto: as a server sent it.
        name: how to call it in an error.
        max_bytes: refuse a tensor that would be larger in memory: a few bytes can claim any shape.

    Returns:
        A read-only array of the tensor's shape; strings as an object array of bytes.

    Raises:
        AnswerError: content and shape contradict each other, or the dtype is unknown.
    """
    kind = _BY_CODE.get(proto.dtype)
    if kind is None:
        raise _lie(name, "a dtype that numpy knows", dtype_name(proto.dtype))
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise _lie(name, "a full shape", _shape_text(proto))
    count = math.prod(shape)
    dtype = np.dtype(kind.stored)
    if count * dtype.itemsize > max_bytes:
        raise _lie(name, f"at most {max_bytes} bytes", f"shape {list(shape)} of {kind.name}")
    try:
        if proto.tensor_content:
            flat = _from_content(proto.tensor_content, kind, count, name)
        else:
            flat = _from_values(proto, kind, count, name)
        array = flat.reshape(shape)
    except (ValueError, OverflowError, TypeError) as error:
        raise _lie(name, f"{kind.name} values of shape {list(shape)}", str(error)) from error
    if kind.name == "bfloat16":
        array = array.view(_bfloat16(name))
    array.flags.writeable = False
    return array


def _as_array(value: Any, name: str) -> NDArray[Any]:
    first = value
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    try:
        # Not numpy's own choice for strings: its fixed width cuts trailing zero bytes off.
        array = np.asarray(value, dtype=object if isinstance(first, (bytes, str)) else None)
    except (ValueError, OverflowError) as error:
        raise RequestError(
            f"Expected {name} as a full array. Received: {error}; give rows of equal length"
        ) from error
    if array.dtype.kind not in "OSUT" and array.dtype.name not in _BY_NAME:
        raise RequestError(
            f"Expected {name} as numbers, bool, bytes or str. Received: dtype={array.dtype}; "
            "convert it with .astype(…)"
        )
    return array


def _as_bytes(element: Any, name: str) -> bytes:
    if isinstance(element, str):
        return element.encode()
    if isinstance(element, (bytes, bytearray, memoryview)):
        return bytes(element)
    raise RequestError(
        f"Expected the elements of {name} as bytes or str. "
        f"Received: {type(element).__name__} in an object array; give it a number's dtype"
    )


def _from_content(content: bytes, kind: _Kind, count: int, name: str) -> NDArray[Any]:
    if kind.name == "string":
        return _object_array(_split_strings(content, count, name))
    if len(content) != count * np.dtype(kind.stored).itemsize:
        raise _lie(name, f"{count} values of {kind.name}", f"{len(content)} bytes of content")
    if kind.name == "bool":
        truth: NDArray[Any] = np.frombuffer(content, np.uint8) != 0
        return truth
    return _native(np.frombuffer(content, kind.stored))


def _from_values(proto: pb.TensorProto, kind: _Kind, count: int, name: str) -> NDArray[Any]:
    values: Sequence[Any] = getattr(proto, kind.field)
    array: NDArray[Any]
    if kind.name == "string":
        array = _object_array(values)
    elif kind.name in ("float16", "bfloat16"):
        array = _native(_whole_numbers(values, np.dtype("<u2"), name).view(kind.stored))
    elif kind.name.startswith("complex"):
        parts = np.array(values, np.float32 if kind.name == "complex64" else np.float64)
        array = parts.view(kind.name)
    elif kind.field == "int_val":
        array = _whole_numbers(values, np.dtype(kind.name), name)
    else:
        array = np.array(values, np.dtype(kind.name))
    if len(array) > count:
        raise _lie(name, f"at most {count} values of {kind.name}", f"{len(array)}")
    if len(array) < count:
        # TensorFlow's rule: the last value stands for the rest, and none at all means zeros.
        zero: Any = b"" if kind.name == "string" else 0
        last = array[-1] if len(array) else zero
        if len(array) <= 1:  # one value for the whole tensor takes no memory
            array = np.broadcast_to(np.array(last, array.dtype), (count,)).view()
            return array
        array = np.concatenate([array, np.full(count - len(array), last, array.dtype)])
    return array


def _whole_numbers(values: Sequence[int], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Narrow integers, which travel as int32: numpy would wrap those that do not fit."""
    wide = np.array(values, np.int64)
    narrow = wide.astype(dtype)
    if (narrow != wide).any():
        raise _lie(name, f"values of {dtype}", f"{wide.min()} to {wide.max()}")
    return narrow


def _split_strings(content: bytes, count: int, name: str) -> list[bytes]:
    """TensorFlow's EncodeStringList: all lengths as varints, then all the bytes."""
    lengths: list[int] = []
    at = 0
    while len(lengths) < count:
        length = shift = 0
        while True:
            if at >= len(content) or shift > 63:
                raise _lie(name, f"{count} strings", f"content that ends after {len(lengths)}")
            byte = content[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise _lie(name, f"{sum(lengths)} bytes of strings", f"{len(content) - at}")
    strings = []
    for length in lengths:
        strings.append(content[at : at + length])
        at += length
    return strings


def _object_array(strings: Sequence[bytes]) -> NDArray[Any]:
    array = np.empty(len(strings), object)
    array[:] = strings
    return array


def _native(array: NDArray[Any]) -> NDArray[Any]:
    return array if sys.byteorder == "little" else array.astype(array.dtype.newbyteorder("="))


def _bfloat16(name: str) -> np.dtype[Any]:
    try:
        import ml_dtypes  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise AnswerError(
            f"Expected a dtype that numpy knows for {name}. Received: bfloat16; "
            "install ml_dtypes, which teaches it to numpy"
        ) from error
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def _shape_text(proto: pb.TensorProto) -> str:
    if proto.tensor_shape.unknown_rank:
        return "a shape of unknown rank"
    return f"shape {[dim.size for dim in proto.tensor_shape.dim]}"


def _lie(name: str, expected: str, received: str) -> AnswerError:
    return AnswerError(
        f"Expected {expected} in the answer's {name}. Received: {received}; "
        "the server contradicts itself"
    )
