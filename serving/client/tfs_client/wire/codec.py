"""Predict's two messages, read and written without a copy that is not needed.

protobuf copies an array several times on its way into a message, and gives answers back value by
value. Here a request is a few bytes of header, kept from call to call, joined with the array's own
memory: one copy. An answer is searched for where its tensors lie, and arrays are laid over the
bytes that gRPC received: none. What does not look as a server usually writes it is left to
protobuf, so there is one authority on what is valid.

The formats are protobuf's encoding (https://protobuf.dev/programming-guides/encoding) of the
messages in wire/serving.proto. Knows nothing about channels or signatures.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from tfs_client.errors import AnswerError, InputNameError, RequestError
from tfs_client.wire import serving_pb2 as pb, tensors
from tfs_client.wire.inputs import STRING, as_bytes
from tfs_client.wire.tensors import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_REQUEST_BYTES: Final = 2**31 - 1
"""protobuf's limit of one message."""

_KNOWN_HEADERS: Final = 512
"""Shapes whose headers are kept for one template; a service that varies more is served all the
same."""

MAX_DIMENSIONS: Final = 32
"""numpy has had at least so many; more are left to it to refuse."""

# A tag is the number of a field times 8, plus its type: 0 a varint, 2 bytes after their length.
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


class RequestTemplate:
    """A Predict request to one servable and signature, all but its arrays.

    Args:
        spec: whom to ask.
        output_filter: the outputs wanted; empty means all.
    """

    __slots__ = ("_end", "_headers", "_start")

    def __init__(self, spec: pb.ModelSpec, output_filter: tuple[str, ...] = ()):
        self._start = pb.PredictRequest(model_spec=spec).SerializeToString()
        self._end = pb.PredictRequest(output_filter=output_filter).SerializeToString()
        self._headers: dict[tuple[str, np.dtype[Any], tuple[int, ...]], bytes] = {}

    def encode_known(self, inputs: Mapping[str, Any]) -> bytes | None:
        """The request's bytes, if all inputs have names, dtypes and shapes encoded before.

        The same as encode, for the many calls that are like the ones before them.
        """
        parts = [self._start]
        for name, array in inputs.items():
            if type(array) is not np.ndarray:  # a subclass may have a mask
                return None
            header = self._headers.get((name, array.dtype, array.shape))
            if header is None or not array.flags.c_contiguous:
                return None
            parts += (header, array)  # type: ignore[arg-type]
        parts.append(self._end)
        return b"".join(parts)

    def readdressed(self, request: bytes, spec: pb.ModelSpec) -> bytes:
        """The same request, made by this template, to another servable."""
        start = pb.PredictRequest(model_spec=spec).SerializeToString()
        return start + memoryview(request)[len(self._start) :]

    def encode(self, arrays: Mapping[str, NDArray[Any]]) -> bytes:
        """The request's bytes: each array is copied once.

        Args:
            arrays: input name to array, as inputs.as_array makes them.

        Raises:
            DtypeError: an element of an array of strings that is none; so ValueRangeError.
            InputNameError: a name that UTF-8 does not have.
            RequestError: more than protobuf's 2 GiB.
        """
        parts: list[Any] = [self._start]
        for name, array in arrays.items():
            parts += self._input(name, array)
        parts.append(self._end)
        try:
            request = b"".join(parts)
        except (OverflowError, MemoryError) as error:
            raise _too_large("more than memory holds") from error
        if len(request) > MAX_REQUEST_BYTES:
            raise _too_large(f"{len(request)} bytes")
        return request

    def _input(self, name: str, array: NDArray[Any]) -> list[Any]:
        kind = tensors.kind_of(array)
        if kind.name == STRING:
            return _string_input(name, array)
        stored = tensors.as_stored(array, kind)
        header = _input_header(name, kind, array.shape, stored.nbytes)
        # Only where the array's memory is what travels, but for its order.
        if array.dtype == stored.dtype:
            if len(self._headers) >= _KNOWN_HEADERS:
                self._headers.clear()
            self._headers[name, array.dtype, array.shape] = header
        return [header, stored]


def _input_header(name: str, kind: Kind, shape: tuple[int, ...], content_bytes: int) -> bytes:
    """What stands before the content of a numeric tensor in `PredictRequest.inputs`."""
    tensor = _tensor_start(kind, shape) + b"\x22" + _as_varint(content_bytes)
    return _entry_start(name, tensor, len(tensor) + content_bytes)


def _string_input(name: str, array: NDArray[Any]) -> list[bytes]:
    """A tensor of strings in `PredictRequest.inputs`, in parts: TensorProto.string_val."""
    parts: list[bytes] = []
    for element in array.flat:
        content = as_bytes(element, f"input {name!r}")
        parts += (b"\x42" + _as_varint(len(content)), content)
    tensor = _tensor_start(tensors.kind_of(array), array.shape)
    return [_entry_start(name, tensor, len(tensor) + sum(map(len, parts))), *parts]


def _tensor_start(kind: Kind, shape: tuple[int, ...]) -> bytes:
    """TensorProto.dtype and .tensor_shape."""
    dims = b"".join(_sized(0x12, b"\x08" + _as_varint(size)) for size in shape)
    return b"\x08" + _as_varint(kind.code) + _sized(0x12, dims)


def _entry_start(name: str, tensor_start: bytes, tensor_bytes: int) -> bytes:
    """The map entry up to and with the start of its tensor."""
    value = b"\x12" + _as_varint(tensor_bytes)
    try:
        entry = _sized(0x0A, name.encode()) + value
    except UnicodeEncodeError as error:
        raise InputNameError(
            f"Expected the names of inputs as text that UTF-8 has. Received: {error}"
        ) from error
    return b"\x12" + _as_varint(len(entry) + tensor_bytes) + entry + tensor_start


def _sized(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + _as_varint(len(content)) + content


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _too_large(received: str) -> RequestError:
    return RequestError(
        f"Expected a request of less than 2 GiB. Received: {received}; send fewer rows at once"
    )


# --- answers --------------------------------------------------------------------------------------


class _UnusualError(Exception):
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
    except (_UnusualError, AnswerError, IndexError, UnicodeDecodeError):
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

    Written out in one piece, without helpers on the usual way: it runs for every call, mostly on
    cold caches, where it cost a tenth of the call when it was not.
    """
    outputs: dict[str, NDArray[Any]] = {}
    spec: tuple[str, int, str] | None = None
    at, end = 0, len(data)
    while at < end:
        tag, length = data[at], data[at + 1]
        at += 2
        if length > 0x7F:
            length, at = _varint(data, at - 1)
        start, at = at, at + length
        if at > end:
            raise _UnusualError
        if tag == 0x12 and spec is None:  # model_spec
            spec = _SPECS.get(data[start:at]) or _spec(data, start, at)
            continue
        # outputs: a map entry, which is the key and then the value
        name_bytes = data[start + 1]
        value = start + 2 + name_bytes
        if tag != 0x0A or data[start] != 0x0A or name_bytes > 0x7F or data[value] != 0x12:
            raise _UnusualError
        name = data[start + 2 : value].decode()
        length = data[value + 1]
        value += 2
        if length > 0x7F:
            length, value = _varint(data, value - 1)
        if value + length != at or name in outputs:
            raise _UnusualError
        # The tensor: dtype and shape, then values in a form that numpy can take as they are.
        body = value + 4 + data[value + 3]
        layout = _LAYOUTS.get(data[value:body])
        array: NDArray[Any] | None = None
        if layout is not None and body < at:
            if data[body] in layout.tags:
                array = _laid_over(data, body, at, layout, max_bytes)
            elif layout.kind.name == STRING:
                array = _strings(data, body, at, layout, max_bytes)
        outputs[name] = _tensor(data, value, at, name, max_bytes) if array is None else array
        max_bytes -= outputs[name].nbytes
    model, version, signature = spec or ("", 0, "")
    return Answer(model, version, signature, {name: outputs[name] for name in sorted(outputs)})


def _laid_over(
    data: bytes, at: int, end: int, layout: _Layout, max_bytes: int
) -> NDArray[Any] | None:
    """The array over the values that begin with a tag at `at`; None if they are not as usual."""
    length = data[at + 1]
    at += 2
    if length > 0x7F:
        length, at = _varint(data, at - 1)
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
            length, at = _varint(data, at - 1)
        strings.append(data[at : at + length])
        at += length
    if at != end or len(strings) != layout.values or layout.content_bytes > max_bytes:
        return None
    return tensors.from_strings(strings, layout.shape, "")


def _varint(data: bytes, at: int, last_shift: int = 28) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends: a length, unless told otherwise."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > last_shift:  # protobuf decides whether a length may be written that long
            raise _UnusualError
    return value, at + 1


def _span(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the bytes lie whose length stands at `at`."""
    length = data[at]
    at += 1
    if length > 0x7F:
        length, at = _varint(data, at - 1)
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
    value, stop = _varint(data, at + 1, 56)  # negative numbers are longer
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
    if len(kept) >= _KNOWN_HEADERS:
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
