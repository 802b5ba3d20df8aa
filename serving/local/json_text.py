"""JSON as TensorFlow Serving reads and writes it (RapidJSON's texts, numbers and layout).

Knows nothing about tensors or HTTP.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from serving.local.errors import refuse

INDENT: Final = "    "

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_WORDS: Final = {"null", "true", "false", "NaN", "Infinity", "Inf", "-NaN", "-Infinity", "-Inf"}
_ESCAPES: Final = '"\\/bfnrt'


def loads(body: bytes) -> dict[str, Any]:
    """Parses a request's body; NaN and Infinity are numbers.

    Raises:
        ServingError: INVALID_ARGUMENT, not JSON or not an object.
    """
    if not body:
        refuse("JSON Parse error: The document is empty")
    text = body.decode("utf-8", "surrogateescape")
    try:
        value = json.loads(text, parse_float=_finite)
    except RecursionError:
        refuse("JSON Parse error: Terminate parsing due to Handler error. at offset: 0")
    except ValueError:
        refuse(f"JSON Parse error: {_diagnosis(text)}")
    if not isinstance(value, dict):
        refuse(f"JSON Value: {dumps(value)} Is not object")
    return value


def dumps(value: Any, single_line_arrays: bool = True, level: int = 0) -> str:
    """Writes a parsed value in RapidJSON's pretty layout, as error texts quote it."""
    if isinstance(value, dict):
        if not value:
            return "{}"
        inner = INDENT * (level + 1)
        rows = [
            f"{inner}{quoted(key)}: {dumps(item, single_line_arrays, level + 1)}"
            for key, item in value.items()
        ]
        return "{\n" + ",\n".join(rows) + "\n" + INDENT * level + "}"
    if isinstance(value, list):
        items = [dumps(item, single_line_arrays, level + 1) for item in value]
        return layout_array(items, single_line_arrays, level)
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return decimal(value, 17) if isinstance(value, float) else str(value)


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


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


class _Found(Exception):  # noqa: N818 a result, not an error
    """Where the text stops to be JSON, and why."""


def _diagnosis(text: str) -> str:
    """RapidJSON's words for the first fault, with its offset in bytes."""
    try:
        end = _skip(text, _value(text, _skip(text, 0), 0))
        if end < len(text):
            _stop(text, end, "The document root must not be followed by other values.")
    except _Found as found:
        return str(found)
    except RecursionError:
        pass
    return "Invalid value. at offset: 0"


def _stop(text: str, position: int, words: str) -> None:
    offset = len(text[:position].encode("utf-8", "surrogateescape"))
    raise _Found(f"{words} at offset: {offset}")


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _value(text: str, position: int, depth: int) -> int:
    """Returns the position after the value."""
    start = text[position : position + 1]
    if not start and depth == 0:
        _stop(text, position, "The document is empty.")
    if start == "{":
        return _members(text, position, depth)
    if start == "[":
        return _items(text, position, "]", depth, lambda at: _value(text, at, depth + 1))
    if start == '"':
        return _string(text, position)
    for word in _WORDS:
        if text.startswith(word, position):
            return position + len(word)
    if start == "-" or start.isdigit():
        return _number(text, position)
    _stop(text, position, "Invalid value.")
    return position


def _items(text: str, position: int, closing: str, depth: int, item: Callable[[int], int]) -> int:
    kind = "an array element" if closing == "]" else "an object member"
    position = _skip(text, position + 1)
    if text[position : position + 1] == closing:
        return position + 1
    while True:
        position = _skip(text, item(position))
        following = text[position : position + 1]
        if following == closing:
            return position + 1
        if following != ",":
            _stop(text, position, f"Missing a comma or {closing} after {kind}.")
        position = _skip(text, position + 1)


def _members(text: str, position: int, depth: int) -> int:
    def member(at: int) -> int:
        if text[at : at + 1] != '"':
            _stop(text, at, "Missing a name for object member.")
        at = _skip(text, _string(text, at))
        if text[at : at + 1] != ":":
            _stop(text, at, "Missing a colon after a name of object member.")
        return _value(text, _skip(text, at + 1), depth + 1)

    return _items(text, position, "}", depth, member)


def _string(text: str, start: int) -> int:
    position = start + 1
    while position < len(text):
        character = text[position]
        if character == '"':
            return position + 1
        if character == "\\":
            escaped = text[position + 1 : position + 2]
            if escaped == "u":
                if not re.match(r"[0-9a-fA-F]{4}", text[position + 2 : position + 6]):
                    _stop(text, position, "Incorrect hex digit after \\u escape in string.")
                position += 4
            elif not escaped or escaped not in _ESCAPES:
                _stop(text, position, "Invalid escape character in string.")
            position += 1
        elif character < " ":
            _stop(text, position, "Invalid encoding in string.")
        position += 1
    _stop(text, start, "Missing a closing quotation mark in string.")
    return position


def _number(text: str, start: int) -> int:
    found = _NUMBER.match(text, start)
    if found is None:
        _stop(text, start + 1, "Invalid value.")
        return start
    position = found.end()
    if text[position : position + 1] == ".":
        position += 1
        if not text[position : position + 1].isdigit():
            _stop(text, position, "Miss fraction part in number.")
        while text[position : position + 1].isdigit():
            position += 1
    if text[position : position + 1] in ("e", "E"):
        position += 1
        if text[position : position + 1] in ("+", "-"):
            position += 1
        if not text[position : position + 1].isdigit():
            _stop(text, position, "Miss exponent in number.")
        while text[position : position + 1].isdigit():
            position += 1
    if math.isinf(float(text[start:position])):
        _stop(text, start, "Number too big to be stored in double.")
    return position
