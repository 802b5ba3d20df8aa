"""Answers → JSON, in TensorFlow Serving's layout."""

from __future__ import annotations

import base64
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.local.apis.classification import Classes
from serving.local.apis.prediction import Prediction
from serving.local.dtypes import DT_BOOL, DT_STRING, dtype_of
from serving.local.errors import invalid_argument, refuse
from serving.local.rest import json_text
from serving.local.rest.json_text import INDENT
from serving.local.signature import TensorSpec

_FLOAT_DIGITS: Final = {1: 9, 2: 17}
"""Floating dtypes → digits that bring every value back."""

_INTEGERS: Final = frozenset({3, 4, 5, 6, 9, 22, 23})

_BYTES_SUFFIX: Final = "_bytes"
"""String outputs whose name ends with this are written as base64."""


def render_outputs(found: Prediction, by_row: bool) -> str:
    """Writes what predict answers.

    Raises:
        ServingError: INVALID_ARGUMENT, rows were asked for and the outputs have no common first
            size, or a dtype that JSON does not speak.
    """
    if not found.outputs:
        refuse("Cannot convert empty tensor map to JSON")
    return _rows_text(found) if by_row else _columns_text(found)


def render_classes(found: Classes) -> str:
    """Writes what classify answers: a list of [label, score] pairs for each example."""
    rows = [
        json_text.layout_array(
            [
                f"[{json_text.quoted(label.decode('utf-8', 'surrogateescape'))}, "
                f"{json_text.decimal(score, _FLOAT_DIGITS[1])}]"
                for label, score in row
            ],
            single_line=True,
            level=2,
        )
        for row in found.rows()
    ]
    return f'{{\n{INDENT}"results": [{", ".join(rows)}\n{INDENT}]\n}}'


def render_values(found: NDArray[Any]) -> str:
    """Writes what regress answers: a value for each example."""
    values = [json_text.decimal(value, _FLOAT_DIGITS[1]) for value in found.tolist()]
    return f'{{\n{INDENT}"results": [{", ".join(values)}]\n}}'


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
        return f'{{\n{INDENT}"predictions": []\n}}'
    columns = {
        alias: [_text(row, dtype, alias, True, 0) for row in found.outputs[alias]]
        for alias, dtype in _dtypes(found).items()
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
    dtypes = _dtypes(found)
    if len(found.outputs) == 1:
        alias, array = next(iter(found.outputs.items()))
        body = _text(array, dtypes[alias], alias, False, 1)
    else:
        inner = INDENT * 2
        columns = [
            f"{inner}{json_text.quoted(alias)}: " + _text(array, dtypes[alias], alias, False, 2)
            for alias, array in found.outputs.items()
        ]
        body = "{\n" + ",\n".join(columns) + f"\n{INDENT}}}"
    return f'{{\n{INDENT}"outputs": {body}\n}}'


def _dtypes(found: Prediction) -> dict[str, int]:
    declared = found.signature.outputs
    return {alias: dtype_of(array, declared[alias].dtype) for alias, array in found.outputs.items()}


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
    if dtype == DT_BOOL:
        return "true" if plain else "false"
    if dtype in _INTEGERS:
        return str(plain)
    name = TensorSpec("", dtype, None).dtype_name
    raise invalid_argument(f"Failed to write JSON value for tensor type: {name}")
