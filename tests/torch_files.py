"""Writes files as PyTorch's torch.save does, in both of its layouts, without PyTorch."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage"}

_Said = tuple[tuple[int, ...], tuple[int, ...]]
"""Shape and strides."""


class _Storage:
    def __init__(self, key: str, kind: str, count: int):
        self.pid = ("storage", getattr(sys.modules["torch"], kind), key, "cpu", count)


class _Tensor:
    def __init__(self, storage: _Storage, array: NDArray[Any], said: _Said | None):
        strides = tuple(stride // array.itemsize for stride in array.strides)
        shape = said or (array.shape, strides)
        self.given = (storage, 0, *shape, False, collections.OrderedDict())

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.given


class _Pickler(pickle.Pickler):
    view: tuple[None, ...] = ()

    def persistent_id(self, thing: Any) -> Any:
        return (*thing.pid, *self.view) if isinstance(thing, _Storage) else None


@contextmanager
def _torch() -> Iterator[None]:
    """What a pickle names must be there while it is written."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = (
        "torch._utils", "_rebuild_tensor_v2",
    )  # fmt: skip
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    for kind in _KINDS.values():
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        yield
    finally:
        del sys.modules["torch"], sys.modules["torch._utils"]


def write(
    path: Path,
    tensors: Mapping[str, NDArray[Any]],
    *,
    zipped: bool = True,
    beside: Mapping[str, Any] | None = None,
    said: _Said | None = None,
    shared: bool = False,
) -> None:
    """Writes a state dict.

    Args:
        path: of the file.
        tensors: name → array, C-contiguous.
        zipped: the layout since PyTorch 1.6; else the one before.
        beside: makes it a checkpoint, whose state_dict are the tensors, with other entries.
        said: shape and strides that every tensor gives in place of its own.
        shared: all tensors are the numbers of the first one.
    """
    with _torch():
        named: Any = collections.OrderedDict()
        for place, (name, array) in enumerate(tensors.items()):
            kind = _KINDS[array.dtype.str[1:]]
            storage = _Storage("0" if shared else str(place), kind, array.size)
            named[name] = _Tensor(storage, array, said)
        whole = {**beside, "state_dict": named} if beside else named
        arrays = list(tensors.values())[: 1 if shared else None]
        (_write_zip if zipped else _write_pickles)(path, whole, arrays)


def _write_zip(path: Path, whole: Any, arrays: list[NDArray[Any]]) -> None:
    pickled = io.BytesIO()
    _Pickler(pickled, 2).dump(whole)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", pickled.getvalue())
        for place, array in enumerate(arrays):
            archive.writestr(f"weights/data/{place}", array.tobytes())


def _write_pickles(path: Path, whole: Any, arrays: list[NDArray[Any]]) -> None:
    with path.open("wb") as file:
        for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(one, file, 2)
        pickler = _Pickler(file, 2)
        pickler.view = (None,)
        pickler.dump(whole)
        pickle.dump([str(place) for place in range(len(arrays))], file, 2)
        for array in arrays:
            file.write(struct.pack("<q", array.size) + array.tobytes())


STAGES = [(1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40)]
"""Of EfficientNet-Lite0 up to its 40 channels: repeats, kernel, stride, channels."""


def lite_tensors(random: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Weights of EfficientNet-Lite0 up to the cut, no two alike, no kernel symmetric."""
    tensors: dict[str, np.ndarray] = {}

    def add(convolution: str, shape: tuple[int, ...], normal: str) -> None:
        fan_in = float(np.prod(shape[1:]))
        tensors[f"{convolution}.weight"] = random.normal(0, fan_in**-0.5, shape)
        width = shape[0]
        for name, low, high in (
            *(("weight", 0.5, 1.5), ("bias", -1, 1)),
            *(("running_mean", -0.5, 0.5), ("running_var", 0.2, 2)),
        ):
            tensors[f"{normal}.{name}"] = random.uniform(low, high, width)

    add("_conv_stem", (32, 3, 3, 3), "_bn0")
    entering, number = 32, 0
    for repeats, kernel, _, width in STAGES:
        for _ in range(repeats):
            block = f"_blocks.{number}."
            inner = entering if number == 0 else entering * 6
            if number:
                add(f"{block}_expand_conv", (inner, entering, 1, 1), f"{block}_bn0")
            add(f"{block}_depthwise_conv", (inner, 1, kernel, kernel), f"{block}_bn1")
            add(f"{block}_project_conv", (width, inner, 1, 1), f"{block}_bn2")
            entering, number = width, number + 1
    return {name: value.astype(np.float32) for name, value in tensors.items()}
