"""Predict's response, read without copying its arrays.

protobuf gives answers back value by value. Here an answer is searched for where its tensors lie,
and arrays are laid over the bytes that gRPC received. What does not look as a server usually writes
it is left to protobuf, so there is one authority on what is valid.

The format is protobuf's encoding (https://protobuf.dev/programming-guides/encoding) of the messages
in serving.proto.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from tfs_client.errors import AnswerError
from tfs_client.wire import serving_pb2 as pb, tensors, varint
from tfs_client.wire.inputs import STRING
from tfs_client.wire.tensors import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_DIMENSIONS: Final = 32
"""numpy has had at least so many; more are left to it to refuse."""

_MOST_KEPT: Final = 512
"""Beginnings of tensors, and model_specs, that are kept of the answers so far."""

# A tag is the number of a field times 8, plus its type: 0 a varint, 2 bytes after their length.
_MODEL_SPEC: Final = 2 << 3 | 2
_OUTPUTS: Final = 1 << 3 | 2
_CONTENT: Final = {
    4 << 3 | 2: "tensor_content",
    5 << 3 | 2: "float_val",
    6 << 3 | 2: "double_val",
    9 << 3 | 2: "scomplex_val",
    11 << 3 | 2: "bool_val",
    12 << 3 | 2: "dcomplex_val",
}
"""Fields of TensorProto whose packed form is byte by byte that of tensor_content."""


class Answer(NamedTuple):
    """What a PredictResponse says."""

    model: str
    version: int
    signature: str
    outputs: dict[str, NDArray[Any]]


class _UnusualError(ValueError):
    """Not what a server usually writes: protobuf shall decide."""


def decode_answer(data: bytes, max_bytes: int = tensors.MAX_TENSOR_BYTES) -> Answer:
    """A PredictResponse; its numeric arrays lie over `data`, read-only.

    An array may start at any byte of `data`; numpy reads it all the same, at a small cost for each
    later use. Copy it where that matters.

    Args:
        data: as gRPC received it.
        max_bytes: refuse an answer whose arrays would be larger in memory, all together.

    Raises:
        AnswerError: no such message, or a tensor in it contradicts itself.
    """
    try:
        return _search(data, max_bytes)
    except (AnswerError, IndexError, ValueError):  # _UnusualError, a varint that is too long
        return _parse(data, max_bytes)


def _parse(data: bytes, max_bytes: int) -> Answer:
    """By protobuf."""
    try:
        response = pb.PredictResponse.FromString(data)
    except (DecodeError, UnicodeDecodeError) as error:  # the latter: protobuf in pure Python
        raise AnswerError(
            f"Expected a PredictResponse. Received: {len(data)} bytes that are none ({error}); "
            "is it a model server?"
        ) from error
    spec = response.model_spec
    outputs = {}
    for name in sorted(response.outputs):
        tensor = response.outputs[name]
        outputs[name] = tensors.from_proto(tensor, f"output {name!r}", max_bytes=max_bytes)
        max_bytes -= outputs[name].nbytes
    return Answer(spec.name, spec.version.value, spec.signature_name, outputs)


def _search(data: bytes, max_bytes: int) -> Answer:
    """By looking for where the tensors lie.

    Lengths of one byte are read in place, here and in what this calls: it runs for every call,
    mostly on cold caches, where a function for each number costs a tenth of the call.
    """
    outputs: dict[str, NDArray[Any]] = {}
    spec: tuple[str, int, str] | None = None
    at, end = 0, len(data)
    while at < end:
        tag, length = data[at], data[at + 1]
        at += 2
        if length > 0x7F:
            length, at = varint.read(data, at - 1)
        start, at = at, at + length
        if at > end:
            raise _UnusualError
        if tag == _OUTPUTS:
            name, array = _output(data, start, at, max_bytes)
            if name in outputs:
                raise _UnusualError
            outputs[name] = array
            max_bytes -= array.nbytes
        elif tag == _MODEL_SPEC and spec is None:
            spec = _SPECS.get(data[start:at]) or _spec(data, start, at)
        else:
            raise _UnusualError
    model, version, signature = spec or ("", 0, "")
    return Answer(model, version, signature, {name: outputs[name] for name in sorted(outputs)})


def _output(data: bytes, at: int, end: int, max_bytes: int) -> tuple[str, NDArray[Any]]:
    """An entry of the map `outputs`, data[at:end]: the name, and the tensor's array."""
    name_bytes = data[at + 1]
    value = at + 2 + name_bytes
    if data[at] != 0x0A or name_bytes > 0x7F or data[value] != 0x12:
        raise _UnusualError
    name = data[at + 2 : value].decode()
    length = data[value + 1]
    value += 2
    if length > 0x7F:
        length, value = varint.read(data, value - 1)
    if value + length != end:
        raise _UnusualError
    # The tensor: dtype and shape, then values in a form that numpy can take as they are.
    body = value + 4 + data[value + 3]
    layout = _LAYOUTS.get(data[value:body])
    array: NDArray[Any] | None = None
    if layout is not None and body < end:
        if data[body] in layout.tags:
            array = _laid_over(data, body, end, layout, max_bytes)
        elif layout.kind.name == STRING:
            array = _strings(data, body, end, layout, max_bytes)
    return name, _tensor(data, value, end, name, max_bytes) if array is None else array


def _laid_over(
    data: bytes, at: int, end: int, layout: _Layout, max_bytes: int
) -> NDArray[Any] | None:
    """The array over the values that begin with a tag at `at`; None if they are not as usual."""
    length = data[at + 1]
    at += 2
    if length > 0x7F:
        length, at = varint.read(data, at - 1)
    if at + length != end or not length == layout.content_bytes <= max_bytes:
        return None
    # Any other byte would make a bool that is neither true nor false.
    if layout.kind.name == "bool" and data[at:end].strip(b"\0\1"):
        return None
    array = np.frombuffer(data, layout.kind.stored, layout.values, at)
    return array if len(layout.shape) == 1 else array.reshape(layout.shape)


def _strings(
    data: bytes, at: int, end: int, layout: _Layout, max_bytes: int
) -> NDArray[Any] | None:
    """The array of the string_vals that begin at `at`; None if they are not as usual."""
    strings = []
    while at < end and data[at] == 0x42:
        length = data[at + 1]
        at += 2
        if length > 0x7F:
            length, at = varint.read(data, at - 1)
        strings.append(data[at : at + length])
        at += length
    if at != end or len(strings) != layout.values or layout.content_bytes > max_bytes:
        return None
    return tensors.from_strings(strings, layout.shape, "")


def _span(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the bytes lie whose length stands at `at`."""
    length = data[at]
    at += 1
    if length > 0x7F:
        length, at = varint.read(data, at - 1)
    if at + length > end:
        raise _UnusualError
    return at, at + length


_SPECS: Final[dict[bytes, tuple[str, int, str]]] = {}
"""The model_specs seen so far."""


def _spec(data: bytes, at: int, end: int) -> tuple[str, int, str]:
    """ModelSpec: name, version, signature_name."""
    start = at
    texts = {0x0A: "", 0x1A: ""}
    version: int | None = None
    while at < end:
        tag = data[at]
        value, at = _span(data, at + 1, end)
        if tag in texts:
            texts[tag] = data[value:at].decode()
        elif tag == 0x12 and version is None:  # Int64Value
            version = _wrapped(data, value, at)
        else:
            raise _UnusualError
    spec = texts[0x0A], version or 0, texts[0x1A]
    _keep(_SPECS, data[start:end], spec)
    return spec


def _wrapped(data: bytes, at: int, end: int) -> int:
    """The number in a message whose field 1 it is: Int64Value, TensorShapeProto.Dim."""
    if at == end:
        return 0
    if data[at] != 0x08:
        raise _UnusualError
    value, stop = varint.read(data, at + 1, 56)  # negative numbers are longer
    if stop != end:
        raise _UnusualError
    return value


class _Layout(NamedTuple):
    """What the beginning of a tensor says: dtype and shape."""

    kind: Kind
    shape: tuple[int, ...]
    values: int
    content_bytes: int
    tags: bytes
    """Of the fields whose bytes numpy takes as they are; none for strings and bfloat16."""


_LAYOUTS: Final[dict[bytes, _Layout]] = {}
"""The beginnings seen so far; a server's answers are alike."""


def _tensor(data: bytes, start: int, end: int, name: str, max_bytes: int) -> NDArray[Any]:
    """The tensor in data[start:end], by protobuf; the next one of this layout is found quicker."""
    head = data[start : start + 4 + data[start + 3]]
    if head not in _LAYOUTS:
        _learn(head)
    try:
        proto = pb.TensorProto.FromString(data[start:end])
    except DecodeError as error:
        raise _UnusualError from error
    return tensors.from_proto(proto, f"output {name!r}", max_bytes=max_bytes)


def _learn(head: bytes) -> None:
    """Keeps what a tensor's beginning says, if it is of the usual form: dtype, tensor_shape."""
    if len(head) < 4 or head[0] != 0x08 or head[2] != 0x12 or max(head[1], head[3]) > 0x7F:
        return
    kind = tensors.BY_CODE.get(head[1])
    if kind is None or len(head) != 4 + head[3]:
        return
    shape = _shape(head, 4, len(head))
    values = math.prod(shape)
    if values == 0 or len(shape) > MAX_DIMENSIONS or sys.byteorder == "big":
        return
    tags = bytes(tag for tag, field in _CONTENT.items() if field in (kind.field, "tensor_content"))
    size = values * kind.stored.itemsize
    as_they_are = kind.name not in (STRING, "bfloat16")
    _keep(_LAYOUTS, head, _Layout(kind, shape, values, size, tags if as_they_are else b""))


def _keep(kept: dict[bytes, Any], key: bytes, value: Any) -> None:
    if len(kept) >= _MOST_KEPT:
        kept.clear()
    kept[key] = value


def _shape(data: bytes, at: int, end: int) -> tuple[int, ...]:
    sizes: list[int] = []
    while at < end:
        if data[at] != 0x12:
            raise _UnusualError
        start, at = _span(data, at + 1, end)
        sizes.append(_wrapped(data, start, at))
    return tuple(sizes)
