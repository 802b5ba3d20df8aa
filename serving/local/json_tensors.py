"""REST predict's JSON ↔ numpy: row format (`instances`) and column format (`inputs`).

The checks, their order and their texts are TensorFlow Serving's. Knows nothing about HTTP,
versions or how a prediction is computed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from grpc import StatusCode
from numpy.typing import NDArray

from serving.local import json_text
from serving.local.errors import ServingError, invalid_argument, refuse
from serving.local.json_text import INDENT
from serving.local.prediction import Prediction
from serving.local.signature import (
    DEFAULT_SIGNATURE,
    DT_STRING,
    NUMPY_DTYPES,
    Signature,
    TensorSpec,
)

_FLOAT_DIGITS: Final = {1: 9, 2: 17, 14: 9, 19: 9}
"""Floating dtypes → digits that bring every value back."""

_LARGEST_EXACT: Final = {1: 2**24 - 1, 2: 2**53 - 1}

_INTEGERS: Final = {
    3: (-(2**31), 2**31 - 1),
    4: (-(2**31), 2**31 - 1),
    5: (-(2**31), 2**31 - 1),
    6: (-(2**31), 2**31 - 1),
    9: (-(2**63), 2**63 - 1),
    22: (0, 2**32 - 1),
    23: (0, 2**64 - 1),
}
"""Integer dtypes → what JSON may hold for them (small ones are cut after an int32, as there)."""

_MAX_RANK: Final = 63
"""numpy's limit, with a row's own dimension before it. TensorFlow's is 254."""

_BYTES_SUFFIX: Final = "_bytes"
"""String outputs whose name ends so are written as base64."""


@dataclass(frozen=True)
class JsonRequest:
    """A predict request's inputs."""

    inputs: Mapping[str, NDArray[Any]]
    by_row: bool
    """Whether it came as `instances` and is answered as `predictions`."""


class _TooDeepError(Exception):
    """Lists for this input are nested deeper than a tensor can be."""


def signature_name(document: Mapping[str, Any]) -> str:
    """The request's signature_name, empty if it has none.

    Raises:
        ServingError: INVALID_ARGUMENT, it is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        refuse(
            f"JSON Value: {json_text.dumps(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def parse_inputs(document: Mapping[str, Any], signature: Signature) -> JsonRequest:
    """Converts the inputs of a predict request.

    Args:
        document: the whole body.
        signature: what it is for.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if not signature.inputs:
        name = "DEFAULT" if signature.name == DEFAULT_SIGNATURE else signature.name
        refuse(f"Failed to get input map for signature: {name}")
    by_row = "instances" in document
    if by_row and "inputs" in document:
        refuse(
            f"JSON Value: {json_text.dumps(document)} Not formatted correctly expecting only one "
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
                f"JSON Value: {json_text.dumps(document)} Expecting 'instances' to be an list/array"
            )
        if not rows:
            refuse(f"JSON Value: {json_text.dumps(document)} No values in 'instances' array")
        return JsonRequest(_from_rows(rows, signature), by_row=True)
    if "inputs" in document:
        return JsonRequest(_from_columns(document["inputs"], signature), by_row=False)
    refuse("Missing 'inputs' or 'instances' key")


def render_outputs(found: Prediction, by_row: bool) -> str:
    """Writes a prediction in TensorFlow Serving's layout.

    Raises:
        ServingError: INVALID_ARGUMENT, rows were asked for and the outputs have no common first
        size.
    """
    return _rows_text(found) if by_row else _columns_text(found)


def _from_rows(rows: list[Any], signature: Signature) -> dict[str, NDArray[Any]]:
    specs = signature.inputs
    if not isinstance(rows[0], dict) and len(specs) > 1:
        refuse(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    named = _is_named(rows[0])
    first: dict[str, NDArray[Any]] = {}
    found: dict[str, list[NDArray[Any]]] = {alias: [] for alias in specs}
    only = next(iter(specs))
    for number, row in enumerate(rows):
        if named != _is_named(row):
            kinds = "object but got list" if named else "value/list but got object"
            refuse(f"Expecting {kinds} at item {number} of input list")
        for alias, item in row.items() if named else ((only, row),):
            try:
                array = _instance(alias, item, specs, first)
            except ServingError as error:
                key = f" key: {alias}" if named else ""
                raise invalid_argument(
                    f"Failed to process element: {number}{key} of 'instances' list. Error: {error}"
                ) from error
            found[alias].append(array)
        if named and row.keys() != specs.keys():
            refuse(
                f"Failed to process element: {number} of 'instances' list. JSON object: "
                f"{json_text.dumps(row)} keys must be equal to: {','.join(sorted(specs))}"
            )
    return {alias: np.stack(arrays) for alias, arrays in found.items()}


def _instance(
    alias: str, item: Any, specs: Mapping[str, TensorSpec], first: dict[str, NDArray[Any]]
) -> NDArray[Any]:
    if alias not in specs:
        refuse(f"JSON object: does not have named input: {alias}")
    array = _tensor(alias, item, specs[alias].dtype)
    model = first.setdefault(alias, array)
    if model.size != array.size:
        refuse(f"Expecting tensor size: {model.size} but got: {array.size}")
    if model.shape != array.shape:
        refuse(f"Expecting shape {_sizes(model)} but got: {_sizes(array)}")
    return array


def _from_columns(sent: Any, signature: Signature) -> dict[str, NDArray[Any]]:
    specs = signature.inputs
    if not _is_named(sent):
        if len(specs) > 1:
            refuse(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        alias = next(iter(specs))
        return {alias: _tensor(alias, sent, specs[alias].dtype)}
    found: dict[str, NDArray[Any]] = {}
    for alias, spec in specs.items():
        if alias not in sent:
            refuse(f"Missing named input: {alias} in 'inputs' object.")
        found[alias] = _tensor(alias, sent[alias], spec.dtype)
    return found


def _is_named(value: Any) -> bool:
    """An object of named inputs, not the base64 form of a string."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: dict[str, Any]) -> bool:
    return len(value) == 1 and isinstance(value.get("b64"), str)


def _tensor(alias: str, value: Any, dtype: int) -> NDArray[Any]:
    """Converts a value or nested lists; the first item at each level gives the shape."""
    shape: list[int] = []
    probe = value
    while isinstance(probe, list):
        shape.append(len(probe))
        if not probe:
            break
        probe = probe[0]
    if len(shape) > _MAX_RANK:
        raise _TooDeepError(alias)
    values: list[Any] = []
    _fill(value, 0, shape, dtype, values)
    kind = NUMPY_DTYPES.get(dtype)
    if kind is None:
        refuse(f"Conversion of JSON Value: {json_text.dumps(probe)} to type: {_type_name(dtype)}")
    if dtype == DT_STRING:
        array: NDArray[Any] = np.empty(len(values), dtype=object)
        array[:] = values
    elif dtype in _INTEGERS:
        array = np.array(values, dtype=np.uint64 if dtype == 23 else np.int64).astype(kind)
    else:
        array = np.array(values, dtype=kind)
    return array.reshape(shape)


def _fill(value: Any, level: int, shape: list[int], dtype: int, values: list[Any]) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            refuse(
                f"JSON Value: {json_text.dumps(value)} found at incorrect level: {level + 1} in "
                f"the JSON DOM. Expected at level: {rank}"
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
    """Whether a whole row of numbers needs no look at each: the way of large arrays."""
    kinds: set[type] = set(map(type, items))
    if dtype in _INTEGERS and kinds == {int}:
        low, high = _INTEGERS[dtype]
        return bool(low <= min(items) and max(items) <= high)
    if dtype in _LARGEST_EXACT and kinds == {float}:
        return dtype == 2 or bool(np.all(np.abs(np.nan_to_num(items, posinf=0, neginf=0)) < 3e38))
    if dtype in _LARGEST_EXACT and kinds == {int}:
        return bool(max(map(abs, items)) <= _LARGEST_EXACT[dtype])
    return False


def _scalar(value: Any, dtype: int) -> Any:
    kind = type(value)
    if dtype == DT_STRING:
        return _string(value)
    if dtype in _LARGEST_EXACT and kind in (int, float):
        if not _lossless(value, dtype):
            target = "float" if dtype == 1 else "double"
            refuse(
                f"Cannot convert JSON value: {json_text.dumps(value)} to {target} "
                "without loss of precision."
            )
        return value
    if dtype in _INTEGERS and kind is int and _INTEGERS[dtype][0] <= value <= _INTEGERS[dtype][1]:
        return value
    if dtype == 10 and kind is bool:
        return value
    if dtype not in _LARGEST_EXACT and dtype not in _INTEGERS and dtype != 10:
        raise _unimplemented(value, dtype)
    raise _type_error(value, dtype)


def _lossless(value: int | float, dtype: int) -> bool:
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return abs(value) <= _LARGEST_EXACT[dtype]
    if not np.isfinite(value):
        return True
    return dtype == 2 or abs(value) <= float(np.finfo(np.float32).max)


def _string(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if not isinstance(value, dict):
        raise _type_error(value, DT_STRING)
    if not _is_base64(value):
        refuse(f"JSON Value: {json_text.dumps(value)} not formatted correctly for base64 data")
    text = value["b64"].rstrip("=")
    try:
        # Without padding is accepted as well.
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def _type_error(value: Any, dtype: int) -> ServingError:
    kinds = {bool: str(value), str: "String", list: "Array", dict: "Object", type(None): "Null"}
    return invalid_argument(
        f"JSON Value: {json_text.dumps(value)} Type: {kinds.get(type(value), 'Number')} "
        f"is not of expected type: {_type_name(dtype)}"
    )


def _unimplemented(value: Any, dtype: int) -> ServingError:
    return ServingError(
        StatusCode.UNIMPLEMENTED,
        f"Conversion of JSON Value: {json_text.dumps(value)} to type: {_type_name(dtype)}",
    )


def _type_name(dtype: int) -> str:
    return TensorSpec("", dtype, None).dtype_name


def _sizes(array: NDArray[Any]) -> str:
    return "[" + ",".join(str(size) for size in array.shape) + "]"


def _rows_text(found: Prediction) -> str:
    count = -1
    for alias, array in found.outputs.items():
        if array.ndim == 0:
            refuse(f"Tensor name: {alias} has no shape information ")
        if count not in (-1, len(array)):
            refuse(
                f"Tensor name: {alias} has inconsistent batch size: {len(array)} expecting: {count}"
            )
        count = len(array)
    if not count:
        return '{\n    "predictions": []\n}'
    columns = {
        alias: [_text(row, found.signature.outputs[alias].dtype, alias, True, 0) for row in array]
        for alias, array in found.outputs.items()
    }
    if len(columns) == 1:
        rows = ", ".join(next(iter(columns.values())))
        return f'{{\n{INDENT}"predictions": [{rows}\n{INDENT}]\n}}'
    edge, inner = INDENT * 2, INDENT * 3
    objects = [
        f"{edge}{{\n"
        + ",\n".join(
            f"{inner}{json_text.quoted(alias)}: {rows[row]}" for alias, rows in columns.items()
        )
        + f"\n{edge}}}"
        for row in range(count)
    ]
    return f'{{\n{INDENT}"predictions": [\n' + ",\n".join(objects) + f"\n{INDENT}]\n}}"


def _columns_text(found: Prediction) -> str:
    outputs = found.signature.outputs
    if len(found.outputs) == 1:
        alias, array = next(iter(found.outputs.items()))
        body = _text(array, outputs[alias].dtype, alias, False, 1)
    else:
        inner = INDENT * 2
        columns = [
            f"{inner}{json_text.quoted(alias)}: "
            + _text(array, outputs[alias].dtype, alias, False, 2)
            for alias, array in found.outputs.items()
        ]
        body = "{\n" + ",\n".join(columns) + f"\n{INDENT}}}"
    return f'{{\n{INDENT}"outputs": {body}\n}}'


def _text(value: Any, dtype: int, alias: str, single_line: bool, level: int) -> str:
    """Writes an array, or one row of it; the rank decides about the brackets."""
    if isinstance(value, np.ndarray) and value.ndim:
        items = [_text(item, dtype, alias, single_line, level + 1) for item in value]
        return json_text.layout_array(items, single_line, level)
    plain = value.item() if isinstance(value, (np.ndarray, np.generic)) else value
    if dtype == DT_STRING:
        if alias.endswith(_BYTES_SUFFIX):
            encoded = base64.b64encode(plain).decode()
            return json_text.dumps({"b64": encoded}, single_line, level)
        return json_text.quoted(plain.decode("utf-8", "surrogateescape"))
    if dtype in _FLOAT_DIGITS:
        return json_text.decimal(plain, _FLOAT_DIGITS[dtype])
    if dtype == 10:
        return "true" if plain else "false"
    if dtype in _INTEGERS:
        return str(plain)
    raise invalid_argument(f"Failed to write JSON value for tensor type: {_type_name(dtype)}")
