"""JSON as TensorFlow Serving reads and writes it: RapidJSON's texts, numbers and layout."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

import numpy as np

from serving.local.errors import refuse
from serving.local.rest import rapidjson
from serving.local.rest.doubles import double

INDENT: Final = "    "

_LARGEST_FLOAT: Final = float(np.finfo(np.float32).max)

_QUOTED_BYTES: Final = 256
"""TensorFlow Serving cuts what it quotes after so many bytes."""

_DIGITS_ALIKE: Final = bytes.maketrans(b"123456789E", b"000000000e")
_LARGE_NUMBERS: Final = (b"0" * 19, b"e000")
"""After `_DIGITS_ALIKE`, the marks of a number that Python may read otherwise than RapidJSON.
Translating and searching costs a hundredth of parsing; a regular expression as much as parsing."""

_HALF_PAIR: Final = re.compile(
    r"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F])"
)
"""Half of a surrogate pair, which Python reads and RapidJSON does not."""


_SPACE: Final = re.compile(r"[ \t\n\r]*")


def _decoder(**numbers: Any) -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=rapidjson.first_of_each, **numbers)


def loads(body: bytes, doubles: bool = False) -> dict[str, Any]:
    """Parses a request's body; NaN and Infinity are numbers.

    Args:
        body: the whole of it; what follows the document is not looked at.
        doubles: numbers are wanted to the last bit as RapidJSON computes them, see
            `doubles.double`. Slow, and of no effect where float32 is wanted.

    Raises:
        ServingError: INVALID_ARGUMENT, not JSON or not an object.
    """
    if not body:
        refuse("JSON Parse error: The document is empty")
    text = body.decode("utf-8", "surrogateescape")
    try:
        if _HALF_PAIR.search(text):
            value = rapidjson.loads(text)
        else:
            value = _loads(text, _DOUBLES if doubles else _usual(body))
    except rapidjson.JsonError as error:
        refuse(f"JSON Parse error: {error}")
    if not isinstance(value, dict):
        refuse(f"JSON Value: {quote(value)} Is not object")
    return value


def _usual(body: bytes) -> json.JSONDecoder:
    alike = body.translate(_DIGITS_ALIKE, b"+")
    return _LARGE if any(number in alike for number in _LARGE_NUMBERS) else _PLAIN


def _loads(text: str, decoder: json.JSONDecoder) -> Any:
    """Reads with Python's own reader, which is fast; with RapidJSON's what that one refuses."""
    space = _SPACE.match(text)
    assert space is not None
    try:
        value, _ = decoder.raw_decode(text, space.end())
    except (ValueError, RecursionError):
        return rapidjson.loads(text)
    # Of a word or a number, unlike a list, Python may have read the beginning only.
    return value if isinstance(value, (dict, list)) else rapidjson.loads(text)


def value_text(value: Any) -> str:
    """Writes the one value that an error text is about: a float32 where the number fits into one.

    Numbers inside a list or an object are written as `dumps` does, by RapidJSON's rules.
    """
    if not isinstance(value, float):
        return quote(value)
    if abs(value) <= _LARGEST_FLOAT:
        return decimal(float(np.float32(value)), 9)
    return decimal(value, 17)


def quote(value: Any) -> str:
    """Writes the beginning of a value, as much of it as TensorFlow Serving's error texts quote."""
    text = ""
    for piece in _pieces(value, True, 0, lambda name: quoted(name[:_QUOTED_BYTES])):
        text += piece
        if len(text) >= _QUOTED_BYTES:
            break
    whole = encoded(text)
    end = min(len(whole), _QUOTED_BYTES)
    while end < len(whole) and 0x80 <= whole[end] < 0xC0:
        end -= 1  # in the middle of a character
    return whole[:end].decode("utf-8", "surrogateescape")


def dumps(value: Any, single_line_arrays: bool = True, level: int = 0) -> str:
    """Writes a value in RapidJSON's pretty layout."""
    return "".join(_pieces(value, single_line_arrays, level, quoted))


def _pieces(
    value: Any, single_line: bool, level: int, string: Callable[[str], str]
) -> Iterator[str]:
    """The parts of a written value, one after the other: each level begins with a piece."""
    if isinstance(value, dict) and value:
        start = "{"
        for key, item in value.items():
            yield f"{start}\n{INDENT * (level + 1)}{string(key)}: "
            yield from _pieces(item, single_line, level + 1, string)
            start = ","
        yield f"\n{INDENT * level}}}"
    elif isinstance(value, list) and value:
        inner = "" if single_line else f"\n{INDENT * (level + 1)}"
        start = "[" + inner
        for item in value:
            yield start
            yield from _pieces(item, single_line, level + 1, string)
            start = ", " if single_line else "," + inner
        yield "]" if single_line else f"\n{INDENT * level}]"
    else:
        yield _plain(value, string)


def _plain(value: Any, string: Callable[[str], str]) -> str:
    if isinstance(value, str):
        return string(value)
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
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


def encoded(text: str) -> bytes:
    """A string's bytes, which need not be UTF-8."""
    return text.encode("utf-8", "surrogateescape")


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


_PLAIN: Final = _decoder()
_LARGE: Final = _decoder(parse_float=_finite, parse_int=rapidjson.whole_number)
_DOUBLES: Final = _decoder(parse_float=double, parse_int=rapidjson.whole_number)
