"""numpy arrays to the wire's TensorProto, and back.

Every dtype that both sides know: float16/32/64, bfloat16 (with ml_dtypes installed), signed and
unsigned integers of 8 to 64 bits, bool, complex64/128, and strings. Writes `tensor_content` (and
`string_val` for strings); reads all forms a server may choose: `tensor_content`, the `*_val`
fields, and the compressed form, where fewer values than the shape says repeat the last one.

It trusts no tensor that it reads.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tfs_client.errors import AnswerError
from tfs_client.wire import serving_pb2 as pb, varint
from tfs_client.wire.inputs import as_array, as_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_TENSOR_BYTES: Final = 2**31
"""A larger tensor does not fit into one protobuf message."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """One dtype, on the wire and in numpy."""

    code: int
    name: str
    stored: np.dtype[Any]
    """How numpy reads the bytes of tensor_content: always little-endian."""
    field: str
    """TensorProto's field for its values one by one."""


def _kind(code: int, name: str, stored: str, field: str) -> Kind:
    return Kind(code, name, np.dtype(stored), field)


KINDS: Final = (
    _kind(pb.DT_FLOAT, "float32", "<f4", "float_val"),
    _kind(pb.DT_DOUBLE, "float64", "<f8", "double_val"),
    _kind(pb.DT_HALF, "float16", "<f2", "half_val"),
    _kind(pb.DT_BFLOAT16, "bfloat16", "<u2", "half_val"),
    _kind(pb.DT_INT8, "int8", "<i1", "int_val"),
    _kind(pb.DT_INT16, "int16", "<i2", "int_val"),
    _kind(pb.DT_INT32, "int32", "<i4", "int_val"),
    _kind(pb.DT_INT64, "int64", "<i8", "int64_val"),
    _kind(pb.DT_UINT8, "uint8", "<u1", "int_val"),
    _kind(pb.DT_UINT16, "uint16", "<u2", "int_val"),
    _kind(pb.DT_UINT32, "uint32", "<u4", "uint32_val"),
    _kind(pb.DT_UINT64, "uint64", "<u8", "uint64_val"),
    _kind(pb.DT_BOOL, "bool", "|b1", "bool_val"),
    _kind(pb.DT_COMPLEX64, "complex64", "<c8", "scomplex_val"),
    _kind(pb.DT_COMPLEX128, "complex128", "<c16", "dcomplex_val"),
    _kind(pb.DT_STRING, "string", "|O", "string_val"),
)
BY_CODE: Final = {kind.code: kind for kind in KINDS}
_BY_NAME: Final = {kind.name: kind for kind in KINDS}


def dtype_name(code: int) -> str:
    """This package's name of a dtype on the wire: numpy's, or "string".

    One that is unknown here gets TensorFlow's name, such as "DT_VARIANT", or "dtype 99".
    """
    if code in BY_CODE:
        return BY_CODE[code].name
    return pb.DataType.Name(code) if code in pb.DataType.values() else f"dtype {code}"


def kind_of(array: NDArray[Any]) -> Kind:
    """The Kind of an array made by inputs.as_array."""
    return _BY_NAME["string" if array.dtype.kind in "OSUT" else array.dtype.name]


def as_stored(array: NDArray[Any], kind: Kind) -> NDArray[Any]:
    """The array as its bytes are sent: contiguous, little-endian; itself where it is so already.

    Bools are always made anew: numpy lets their bytes be anything and takes all but 0 for true,
    while a server takes 0 and 1 alone.
    """
    if kind.name == "bool":
        return as_bools(np.asarray(array, order="C").view(np.uint8))
    if kind.name == "bfloat16":
        # In this machine's byte order first: a view does not swap.
        array = array.astype(array.dtype.newbyteorder("="), copy=False).view(np.uint16)
    return np.asarray(array, kind.stored, order="C")


def as_bools(numbers: NDArray[np.uint8]) -> NDArray[Any]:
    """Bools of bytes 0 and 1, of bytes of which every one but 0 is true."""
    return np.asarray(numbers != 0)  # of a scalar too, of which numpy would make no array


def to_proto(value: Any, name: str = "tensor") -> pb.TensorProto:
    """The tensor of an array, or of a value that numpy can make an array of.

    Args:
        value: as inputs.as_array takes it.
        name: its name in an error.

    Raises:
        RequestError: a dtype that TensorFlow Serving does not know, or ragged lists.
    """
    array = as_array(value, name)
    kind = kind_of(array)
    proto = pb.TensorProto(dtype=pb.DataType.Name(kind.code))
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    # A tensor of rank 0 has an empty shape, not a missing one.
    proto.tensor_shape.SetInParent()
    if kind.name == "string":
        proto.string_val.extend(as_bytes(element, name) for element in array.flat)
    else:
        proto.tensor_content = as_stored(array, kind).tobytes()
    return proto


def from_proto(
    proto: pb.TensorProto, name: str = "tensor", *, max_bytes: int = MAX_TENSOR_BYTES
) -> NDArray[Any]:
    """The array of a tensor.

    Args:
        proto: as a server sent it.
        name: its name in an error.
        max_bytes: refuse a tensor that would be larger in memory: a few bytes can claim any shape.

    Returns:
        A read-only array of the tensor's shape; strings as an object array of bytes.

    Raises:
        AnswerError: content and shape contradict each other, or the dtype is unknown.
    """
    kind = BY_CODE.get(proto.dtype)
    if kind is None:
        raise _contradiction(name, "a dtype that numpy knows", dtype_name(proto.dtype))
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise _contradiction(name, "a full shape", _shape_text(proto))
    count = checked_count(shape, kind, name, max_bytes)
    if proto.tensor_content:
        return _from_content(proto.tensor_content, kind, shape, name)
    try:
        array = _from_values(proto, kind, count, name).reshape(shape)
    except (ValueError, OverflowError, TypeError) as error:
        raise _contradiction(
            name, f"{kind.name} values of shape {list(shape)}", str(error)
        ) from error
    if kind.name == "bfloat16":
        array = array.view(_bfloat16(name))
    array.flags.writeable = False
    return array


def checked_count(shape: Sequence[int], kind: Kind, name: str, max_bytes: int) -> int:
    """How many values a tensor of this shape has.

    Raises:
        AnswerError: more than max_bytes, or than numpy can count.
    """
    count = math.prod(shape)
    if count * kind.stored.itemsize > max_bytes:
        raise _contradiction(
            name, f"at most {max_bytes} bytes", f"shape {list(shape)} of {kind.name}"
        )
    if count == 0 and math.prod(size or 1 for size in shape) > 2**62:
        raise _contradiction(
            name, "a shape that numpy can hold", f"shape {list(shape)} of {kind.name}"
        )
    return count


def _from_content(content: bytes, kind: Kind, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """The tensor of this tensor_content, without copying it (strings are copied).

    Raises:
        AnswerError: content and shape contradict each other.
    """
    count = math.prod(shape)
    if kind.name == "string":
        return from_strings(_split_strings(content, count, name), shape, name)
    if len(content) != count * kind.stored.itemsize:
        raise _contradiction(
            name, f"{count} values of {kind.name}", f"{len(content)} bytes of content"
        )
    array: NDArray[Any] = np.frombuffer(content, kind.stored)
    if kind.name == "bool" and content.strip(b"\0\1"):
        # Any other byte would make a bool that is neither true nor false.
        array = as_bools(np.frombuffer(content, np.uint8))
    elif kind.name == "bfloat16":
        array = array.view(_bfloat16(name))
    if sys.byteorder == "big":
        array = _native(array)
    if len(shape) != 1:
        array = _reshaped(array, shape, kind, name)
    array.flags.writeable = False
    return array


def from_strings(strings: Sequence[bytes], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """A tensor of strings; their number is that of the shape."""
    array = _object_array(strings)
    if len(shape) != 1:
        array = _reshaped(array, shape, _BY_NAME["string"], name)
    array.flags.writeable = False
    return array


def _reshaped(flat: NDArray[Any], shape: tuple[int, ...], kind: Kind, name: str) -> NDArray[Any]:
    try:
        return flat.reshape(shape)
    except (ValueError, OverflowError) as error:  # more dimensions than numpy has, say
        raise _contradiction(
            name, f"{kind.name} values of shape {list(shape)}", str(error)
        ) from error


def _from_values(proto: pb.TensorProto, kind: Kind, count: int, name: str) -> NDArray[Any]:
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
        raise _contradiction(name, f"at most {count} values of {kind.name}", f"{len(array)}")
    if len(array) < count:
        # TensorFlow's rule: the last value stands for the rest, and none at all means zeros.
        zero: Any = b"" if kind.name == "string" else 0
        last = array[-1] if len(array) else zero
        if len(array) <= 1:  # one value for the whole tensor takes no memory
            array = np.broadcast_to(np.array(last, array.dtype), (count,)).view()
            return array
        # Not np.full, which cuts trailing zero bytes off a string.
        array = np.concatenate([array, array[-1:].repeat(count - len(array))])
    return array


def _whole_numbers(values: Sequence[int], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Narrow integers, which are sent as int32: numpy would wrap those that do not fit."""
    wide = np.array(values, np.int64)
    narrow = wide.astype(dtype)
    if (narrow != wide).any():
        raise _contradiction(name, f"values of {dtype}", f"{wide.min()} to {wide.max()}")
    return narrow


def _split_strings(content: bytes, count: int, name: str) -> list[bytes]:
    """TensorFlow's EncodeStringList: all lengths as varints, then all the bytes."""
    lengths: list[int] = []
    at = 0
    while len(lengths) < count:
        try:
            length, at = varint.read(content, at, varint.NUMBER_SHIFT)
        except (IndexError, ValueError) as error:
            received = f"content that ends after {len(lengths)}"
            raise _contradiction(name, f"{count} strings", received) from error
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise _contradiction(name, f"{sum(lengths)} bytes of strings", f"{len(content) - at}")
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
            "pip install 'tfs-client[dtypes]' (ml_dtypes), which teaches it to numpy"
        ) from error
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def _shape_text(proto: pb.TensorProto) -> str:
    if proto.tensor_shape.unknown_rank:
        return "a shape of unknown rank"
    return f"shape {[dim.size for dim in proto.tensor_shape.dim]}"


def _contradiction(name: str, expected: str, received: str) -> AnswerError:
    return AnswerError(
        f"Expected {expected} in the answer's {name}. Received: {received}; "
        "the server contradicts itself"
    )
