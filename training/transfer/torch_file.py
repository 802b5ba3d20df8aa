"""Reads the tensors of a PyTorch file (.pth, .pt), without PyTorch, and runs nothing of it.

Such a file is a pickle, and a pickle can call any function. Here it can name five things: an
ordered dictionary, the kinds of numbers, and the two ways in which PyTorch writes a tensor down.
Whatever else it names is refused before anything is called. Both layouts are read: one pickle after
the other (up to PyTorch 1.5), and a zip archive (since then).
"""

from __future__ import annotations

import collections
import dataclasses
import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foundation.command_line import InputError, one_line

KINDS: Final = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
"""PyTorch's names of numbers, as NumPy names them."""

_MAGIC: Final = 0x1950A86A20F9469CFC6C
"""The first pickle of a file of the older layout."""

_NESTED: Final = ("state_dict", "model")
"""Under which name a training's checkpoint keeps the weights beside other things."""


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    kind: str
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """in numbers, as is the offset"""


class _NotAllowedError(Exception):
    """The file names something else than tensors."""


def read(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a file, by name.

    Args:
        path: of a state dict, or of a checkpoint that holds one as state_dict or model.

    Returns:
        name → array, of PyTorch's shape (a convolution's kernel is [out, in, h, w]).

    Raises:
        InputError: it cannot be read, is cut, names anything but tensors, or holds none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"Expected a file of weights in {path}. Received: {error.strerror}. Correct the path."
        ) from error
    try:
        tensors, values = _archive(content) if content[:2] == b"PK" else _pickles(content)
        named = _named(tensors)
        # Tensors may share numbers, but a small file cannot hold many of the same large one.
        size = sum(
            math.prod(one.shape) * np.dtype(one.storage.kind).itemsize for one in named.values()
        )
        if size > 2 * len(content):
            raise ValueError(f"tensors of {size} bytes in {len(content)}")
        return {name: _array(one, values(one.storage)) for name, one in named.items()}
    except _NotAllowedError as error:
        raise InputError(
            f"Expected {path} to hold tensors alone. Received: {error}. It is not read: what a "
            "pickle names it can call. Save the state_dict alone."
        ) from error
    # Whatever a broken pickle makes of the reader: it is one file that cannot be read.
    except Exception as error:
        raise InputError(
            f"Expected {path} as torch.save writes a state_dict. Received: {_short(error)}. It is "
            "cut, damaged, or of another format: fetch it again."
        ) from error


def _short(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {str(error)[:120]}")


class _Reader(pickle.Unpickler):
    """Gives records of tensors in place of tensors; their numbers are read afterwards."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in KINDS:
            return KINDS[name]
        raise _NotAllowedError(f"{module}.{name}"[:120])

    def persistent_load(self, pid: Any) -> _Storage:
        what, kind, key, _, count, *view = pid
        if what != "storage" or kind not in KINDS.values() or any(one is not None for one in view):
            raise ValueError(f"a storage as {str(pid)[:80]}")
        return _Storage(str(key), kind, int(count))


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise TypeError(f"a tensor of {type(storage).__name__}")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _named(found: Any) -> dict[str, _Tensor]:
    """The tensors of what was pickled."""
    if isinstance(found, Mapping):
        for name in _NESTED:
            if isinstance(found.get(name), Mapping):
                found = found[name]
                break
        named = {str(name): one for name, one in found.items() if isinstance(one, _Tensor)}
        if named:
            return named
    raise ValueError("no tensor by name")


_Values = Callable[[_Storage], NDArray[Any]]


def _pickles(content: bytes) -> tuple[Any, _Values]:
    """The older layout: magic, version, machine, tensors, the storages' names, their numbers."""
    file = io.BytesIO(content)
    if _Reader(file).load() != _MAGIC:
        raise ValueError("another beginning")
    for _ in ("version", "machine"):
        _Reader(file).load()
    tensors = _Reader(file).load()
    keys = _Reader(file).load()
    held: dict[str, tuple[int, int]] = {}  # key → numbers, where they begin
    sizes = {one.storage.key: one.storage for one in _named(tensors).values()}
    for key in map(str, keys):
        (count,) = struct.unpack("<q", file.read(8))
        held[key] = count, file.tell()
        # a storage that no tensor uses would have a width that nobody knows
        file.seek(count * np.dtype(sizes[key].kind).itemsize, io.SEEK_CUR)

    def values(storage: _Storage) -> NDArray[Any]:
        count, start = held[storage.key]
        return np.frombuffer(content, storage.kind, count, start)

    return tensors, values


def _archive(content: bytes) -> tuple[Any, _Values]:
    """The present layout: a zip archive, uncompressed, with data.pkl and a file a storage."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    infos = {info.filename: info for info in archive.infolist()}
    (pickled,) = (name for name in infos if name.rpartition("/")[2] == "data.pkl")
    folder = pickled.rpartition("/")[0]

    def member(name: str) -> bytes:
        # torch.save does not compress; what does could be a small file of many gigabytes
        if infos[name].compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed")
        return archive.read(infos[name])

    order = f"{folder}/byteorder"
    if order in infos and member(order) != b"little":
        raise ValueError("numbers of a big-endian machine")
    tensors = _Reader(io.BytesIO(member(pickled))).load()
    return tensors, lambda storage: np.frombuffer(
        member(f"{folder}/data/{storage.key}"), storage.kind
    )


def _array(tensor: _Tensor, values: NDArray[Any]) -> NDArray[Any]:
    """The tensor's numbers, copied out of its storage."""
    count, itemsize = math.prod(tensor.shape), values.itemsize
    last = tensor.offset + sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides)
    )
    if (
        len(tensor.shape) != len(tensor.strides)
        or min((tensor.offset, *tensor.shape, *tensor.strides)) < 0
        # a stride of 0 repeats a number: a small file could be a tensor of any size
        or count > len(values)
        or (count and last >= len(values))
    ):
        raise ValueError(f"a tensor {tensor.shape} of {len(values)} numbers")
    if not count:
        return np.zeros(tensor.shape, values.dtype)
    view = np.lib.stride_tricks.as_strided(
        values[tensor.offset :], tensor.shape, [stride * itemsize for stride in tensor.strides]
    )
    return np.array(view)
