"""REST predict's JSON → numpy: row format (`instances`) and column format (`inputs`).

The checks, their order and their texts are TensorFlow Serving's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from grpc import StatusCode
from numpy.typing import NDArray

from serving.local.dtypes import DT_BOOL, DT_STRING, DT_UINT64, NUMPY_DTYPES
from serving.local.errors import ServingError, invalid_argument, refuse
from serving.local.rest import json_text, json_values
from serving.local.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

_FLOATS: Final = frozenset({1, 2})

_INT32: Final = (-(2**31), 2**31 - 1)
_INTEGERS: Final = {
    **dict.fromkeys((3, 4, 5, 6), _INT32),
    9: json_values.INT64,
    22: (0, 2**32 - 1),
    DT_UINT64: json_values.UINT64,
}
"""Integer dtypes → the numbers that JSON may hold for them. Dtypes below 32 bits take any int32 and
cut it, as TensorFlow Serving does."""

_SPOKEN: Final = frozenset({DT_STRING, DT_BOOL, *_FLOATS, *_INTEGERS})
"""The dtypes that JSON can be converted to."""

_MAX_RANK: Final = 63
"""What numpy can hold, with a row's own dimension before it; TensorFlow would take 254."""


@dataclass(frozen=True)
class JsonRequest:
    """A predict request's inputs."""

    inputs: Mapping[str, NDArray[Any]]
    by_row: bool
    """Whether it came as `instances` and is answered as `predictions`."""


class _TooDeepError(Exception):
    """The lists for this input are nested deeper than a tensor can be."""


def signature_name(document: Mapping[str, Any]) -> str:
    """The request's signature_name, empty if it has none.

    Raises:
        ServingError: INVALID_ARGUMENT, it is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        refuse(
            f"JSON Value: {json_text.quote(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def parse_inputs(document: Mapping[str, Any], signature: Signature) -> JsonRequest:
    """Converts the inputs of a predict request.

    Args:
        document: the whole body.
        signature: what it is for.

    Raises:
        ServingError: INVALID_ARGUMENT; UNIMPLEMENTED, a dtype that JSON does not speak.
    """
    if not signature.inputs:
        name = "DEFAULT" if signature.name == DEFAULT_SIGNATURE else signature.name
        refuse(f"Failed to get input map for signature: {name}")
    by_row = "instances" in document
    if by_row and "inputs" in document:
        refuse(
            f"JSON Value: {json_text.quote(document)} Not formatted correctly expecting only one "
            "of 'inputs' or 'instances' keys to exist "
        )
    try:
        return _parse(document, signature, by_row)
    except _TooDeepError as error:
        raise invalid_argument(f"tensor parsing error: {error}") from error


def _parse(document: Mapping[str, Any], signature: Signature, by_row: bool) -> JsonRequest:
    if by_row:
        rows = document["instances"]
        if not isinstance(rows, list):
            refuse(
                f"JSON Value: {json_text.quote(document)} Expecting 'instances' to be an list/array"
            )
        if not rows:
            refuse(f"JSON Value: {json_text.quote(document)} No values in 'instances' array")
        return JsonRequest(_from_rows(rows, signature), by_row=True)
    if "inputs" in document:
        return JsonRequest(_from_columns(document["inputs"], signature), by_row=False)
    refuse("Missing 'inputs' or 'instances' key")


class _Tensor:
    """An input while its values come in, whole or row by row."""

    def __init__(self, alias: str, spec: TensorSpec) -> None:
        self._alias = alias
        self._dtype = spec.dtype
        self._values: list[Any] = []
        self._shape: list[int] = []
        self._size = -1
        self._rows = 0

    def add(self, item: Any) -> None:
        """Takes a value or nested lists: everything, or a row as large as the first."""
        before = len(self._values)
        shape = _shape(item)
        if len(shape) > _MAX_RANK:
            raise _TooDeepError(self._alias)
        _fill(item, 0, shape, self._dtype, self._values)
        size = len(self._values) - before
        if self._size == -1:
            self._shape, self._size = shape, size
        elif size != self._size:
            refuse(f"Expecting tensor size: {self._size} but got: {size}")
        elif shape != self._shape:
            refuse(f"Expecting shape {_sizes(self._shape)} but got: {_sizes(shape)}")
        self._rows += 1

    def array(self, by_row: bool) -> NDArray[Any]:
        """What has come in."""
        shape = [self._rows, *self._shape] if by_row else self._shape
        kind = NUMPY_DTYPES[self._dtype]
        if self._dtype == DT_STRING:
            array: NDArray[Any] = np.empty(len(self._values), dtype=object)
            array[:] = self._values
        elif self._dtype in _INTEGERS:
            widest = np.uint64 if self._dtype == DT_UINT64 else np.int64
            array = np.array(self._values, dtype=widest).astype(kind)
        elif self._dtype in _FLOATS:
            # By way of float64, and what is too large becomes infinite: RapidJSON's GetFloat.
            with np.errstate(over="ignore"):
                array = np.array(self._values, dtype=np.float64).astype(kind)
        else:
            array = np.array(self._values, dtype=kind)
        return array.reshape(shape)


def _from_rows(rows: list[Any], signature: Signature) -> dict[str, NDArray[Any]]:
    specs = signature.inputs
    if not isinstance(rows[0], dict) and len(specs) > 1:
        refuse(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    named = _is_named(rows[0])
    tensors = {alias: _Tensor(alias, spec) for alias, spec in specs.items()}
    only = next(iter(specs))
    for number, row in enumerate(rows):
        if named != _is_named(row):
            kinds = "object but got list" if named else "value/list but got object"
            refuse(f"Expecting {kinds} at item {number} of input list")
        for alias, item in row.items() if named else ((only, row),):
            _add_item(tensors, alias, item, f"{number} key: {alias}" if named else str(number))
        if named and row.keys() != specs.keys():
            refuse(
                f"Failed to process element: {number} of 'instances' list. JSON object: "
                f"{json_text.quote(row)} keys must be equal to: {','.join(sorted(specs))}"
            )
    return {alias: tensor.array(by_row=True) for alias, tensor in tensors.items()}


def _add_item(tensors: Mapping[str, _Tensor], alias: str, item: Any, place: str) -> None:
    try:
        if alias not in tensors:
            refuse(f"JSON object: does not have named input: {alias}")
        tensors[alias].add(item)
    except ServingError as error:
        raise invalid_argument(
            f"Failed to process element: {place} of 'instances' list. Error: {error}"
        ) from error


def _from_columns(sent: Any, signature: Signature) -> dict[str, NDArray[Any]]:
    specs = signature.inputs
    if not _is_named(sent):
        if len(specs) > 1:
            refuse(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        sent = {next(iter(specs)): sent}
    found: dict[str, NDArray[Any]] = {}
    for alias, spec in specs.items():
        if alias not in sent:
            refuse(f"Missing named input: {alias} in 'inputs' object.")
        tensor = _Tensor(alias, spec)
        tensor.add(sent[alias])
        found[alias] = tensor.array(by_row=False)
    return found


def _is_named(value: Any) -> bool:
    """An object of named inputs, not the base64 form of a string."""
    return isinstance(value, dict) and not json_values.is_base64(value)


def _shape(value: Any) -> list[int]:
    """The first item at each level gives the shape."""
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _fill(value: Any, level: int, shape: list[int], dtype: int, values: list[Any]) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            refuse(
                f"JSON Value: {json_text.value_text(value)} found at incorrect level: {level + 1} "
                f"in the JSON DOM. Expected at level: {rank}"
            )
        values.append(_scalar(value, dtype))
        return
    if level >= rank:
        refuse(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        refuse(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    if level == rank - 1 and _all_plain(value, dtype):
        values.extend(value)
        return
    for item in value:
        _fill(item, level + 1, shape, dtype, values)


def _all_plain(items: list[Any], dtype: int) -> bool:
    """Whether a row of numbers can be taken as a whole, which makes large arrays fast."""
    kinds: set[type] = set(map(type, items))
    if dtype in _INTEGERS and kinds == {int}:
        return _fits(min(items), dtype) and _fits(max(items), dtype)
    return dtype in _FLOATS and kinds <= {int, float}


def _scalar(value: Any, dtype: int) -> Any:
    kind = type(value)
    if dtype == DT_STRING and kind is str:
        return json_text.encoded(value)
    if dtype == DT_STRING and kind is dict:
        return json_values.from_base64(value)
    if dtype in _FLOATS and kind in (int, float):
        return value
    if dtype in _INTEGERS and kind is int and _fits(value, dtype):
        return value
    if dtype == DT_BOOL and kind is bool:
        return value
    name = TensorSpec("", dtype, None).dtype_name
    if kind is dict or dtype in _SPOKEN:
        raise json_values.type_error(value, name)
    raise ServingError(
        StatusCode.UNIMPLEMENTED,
        f"Conversion of JSON Value: {json_text.value_text(value)} to type: {name}",
    )


def _fits(value: int, dtype: int) -> bool:
    low, high = _INTEGERS[dtype]
    return low <= value <= high


def _sizes(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
