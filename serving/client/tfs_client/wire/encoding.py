"""Predict's request, written with one copy of each array.

protobuf copies an array several times on its way into a message. Here a request is a few bytes of
header, kept from call to call, joined with the array's own memory.

The format is protobuf's encoding (https://protobuf.dev/programming-guides/encoding) of the messages
in serving.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tfs_client.errors import InputNameError, RequestError
from tfs_client.wire import serving_pb2 as pb, tensors, varint
from tfs_client.wire.inputs import STRING, as_bytes
from tfs_client.wire.tensors import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_REQUEST_BYTES: Final = 2**31 - 1
"""protobuf's limit of one message."""

_MOST_HEADERS: Final = 512
"""Headers that one template keeps; a service whose shapes vary more is served all the same."""


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
        # Only where the array's memory is what travels, but for its order: never a bool's.
        if array.dtype == stored.dtype and kind.name != "bool":
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            self._headers[name, array.dtype, array.shape] = header
        return [header, stored]


def _input_header(name: str, kind: Kind, shape: tuple[int, ...], content_bytes: int) -> bytes:
    """What stands before the content of a numeric tensor in `PredictRequest.inputs`."""
    tensor = _tensor_start(kind, shape) + b"\x22" + varint.encode(content_bytes)
    return _entry_start(name, tensor, len(tensor) + content_bytes)


def _string_input(name: str, array: NDArray[Any]) -> list[bytes]:
    """A tensor of strings in `PredictRequest.inputs`, in parts: TensorProto.string_val."""
    parts: list[bytes] = []
    for element in array.flat:
        content = as_bytes(element, f"input {name!r}")
        parts += (b"\x42" + varint.encode(len(content)), content)
    tensor = _tensor_start(tensors.kind_of(array), array.shape)
    return [_entry_start(name, tensor, len(tensor) + sum(map(len, parts))), *parts]


def _tensor_start(kind: Kind, shape: tuple[int, ...]) -> bytes:
    """TensorProto.dtype and .tensor_shape."""
    dims = b"".join(_sized(0x12, b"\x08" + varint.encode(size)) for size in shape)
    return b"\x08" + varint.encode(kind.code) + _sized(0x12, dims)


def _entry_start(name: str, tensor_start: bytes, tensor_bytes: int) -> bytes:
    """The map entry up to and with the start of its tensor."""
    value = b"\x12" + varint.encode(tensor_bytes)
    try:
        entry = _sized(0x0A, name.encode()) + value
    except UnicodeEncodeError as error:
        raise InputNameError(
            f"Expected the names of inputs as text that UTF-8 has. Received: {error}"
        ) from error
    return b"\x12" + varint.encode(len(entry) + tensor_bytes) + entry + tensor_start


def _sized(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + varint.encode(len(content)) + content


def _too_large(received: str) -> RequestError:
    return RequestError(
        f"Expected a request of less than 2 GiB. Received: {received}; send fewer rows at once"
    )
