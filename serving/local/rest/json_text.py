"""JSON as TensorFlow Serving reads and writes it: RapidJSON's texts, numbers and layout."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any, Final

import numpy as np

from serving.local.errors import refuse
from serving.local.rest import rapidjson

INDENT: Final = "    "

_LARGEST_FLOAT: Final = float(np.finfo(np.float32).max)

_DIGITS_ALIKE: Final = bytes.maketrans(b"123456789E", b"000000000e")
_LARGE_NUMBERS: Final = (b"0" * 19, b"e000")
"""After `_DIGITS_ALIKE`, the marks of a number that Python may read otherwise than RapidJSON.
Translating and searching costs a hundredth of parsing; a regular expression as much as parsing."""

_HALF_PAIR: Final = re.compile(
    r"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F])"
)
"""Half of a surrogate pair, which Python reads and RapidJSON does not."""


def loads(body: bytes) -> dict[str, Any]:
    """Parses a request's body; NaN and Infinity are numbers.

    Raises:
        ServingError: INVALID_ARGUMENT, not JSON or not an object.
    """
    if not body:
        refuse("JSON Parse error: The document is empty")
    text = body.decode("utf-8", "surrogateescape")
    try:
        value = rapidjson.loads(text) if _HALF_PAIR.search(text) else _loads(body, text)
    except rapidjson.JsonError as error:
        refuse(f"JSON Parse error: {error}")
    except RecursionError:
        refuse(f"JSON Parse error: {rapidjson.TOO_DEEP}")
    if not isinstance(value, dict):
        refuse(f"JSON Value: {dumps(value)} Is not object")
    return value


def _loads(body: bytes, text: str) -> Any:
    """Reads with Python's own reader, which is fast; with RapidJSON's what that one refuses."""
    alike = body.translate(_DIGITS_ALIKE, b"+")
    large = any(number in alike for number in _LARGE_NUMBERS)
    try:
        return json.loads(
            text,
            parse_float=_finite if large else None,
            parse_int=rapidjson.whole_number if large else None,
            object_pairs_hook=rapidjson.first_of_each,
        )
    except ValueError:
        return rapidjson.loads(text)


def value_text(value: Any) -> str:
    """Writes the one value that an error text is about: a float32 where the number fits into one.

    Numbers inside a list or an object are written as `dumps` does, by RapidJSON's rules.
    """
    if not isinstance(value, float):
        return dumps(value)
    if abs(value) <= _LARGEST_FLOAT:
        return decimal(float(np.float32(value)), 9)
    return decimal(value, 17)


def dumps(value: Any, single_line_arrays: bool = True, level: int = 0) -> str:
    """Writes a parsed value in RapidJSON's pretty layout, as error texts quote it.

    Raises:
        ServingError: INVALID_ARGUMENT, nested too deep to be written: what cannot be quoted is
            refused as what cannot be read.
    """
    try:
        return _dumps(value, single_line_arrays, level)
    except RecursionError:
        refuse(f"JSON Parse error: {rapidjson.TOO_DEEP}")


def _dumps(value: Any, single_line_arrays: bool, level: int) -> str:
    if isinstance(value, dict):
        if not value:
            return "{}"
        inner = INDENT * (level + 1)
        rows = [
            f"{inner}{quoted(key)}: {_dumps(item, single_line_arrays, level + 1)}"
            for key, item in value.items()
        ]
        return "{\n" + ",\n".join(rows) + "\n" + INDENT * level + "}"
    if isinstance(value, list):
        items = [_dumps(item, single_line_arrays, level + 1) for item in value]
        return layout_array(items, single_line_arrays, level)
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return _double(value) if isinstance(value, float) else str(value)


def layout_array(items: list[str], single_line: bool, level: int) -> str:
    """Puts written items into brackets."""
    if not items:
        return "[]"
    if single_line:
        return "[" + ", ".join(items) + "]"
    inner = INDENT * (level + 1)
    return "[\n" + ",\n".join(inner + item for item in items) + "\n" + INDENT * level + "]"


def quoted(text: str) -> str:
    """A JSON string; bytes that were not UTF-8 go out as they came."""
    return json.dumps(text, ensure_ascii=False)


def decimal(value: float, digits: int) -> str:
    """Writes a number with six digits if that is exact, else with `digits`, always as a decimal.

    Args:
        value: NaN and infinities are written as such.
        digits: 9 for float32, 17 for float64.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    same = np.float32(text) == np.float32(value) if digits == 9 else float(text) == value
    if not same:
        text = f"{value:.{digits}g}"
    return text if "." in text or "e" in text else text + ".0"


def _double(value: float) -> str:
    """Writes a number as RapidJSON does: no exponent from 1e-6 up to 1e21."""
    if not math.isfinite(value):
        return decimal(value, 17)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text = "".join(map(str, digits))
    point = len(text) + int(exponent)
    if value == 0:
        text = "0.0"
    elif len(text) <= point <= 21:
        text = text.ljust(point, "0") + ".0"
    elif 0 < point <= 21:
        text = f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        text = "0." + "0" * -point + text
    else:
        text = f"{text[0]}{'.' * (len(text) > 1)}{text[1:]}e{point - 1}"
    return "-" * sign + text


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value
