"""Reads JSON as RapidJSON 1.1.0 does for TensorFlow Serving: its grammar, its texts, its offsets.

Slow and exact. Used only for what Python's own reader refuses or reads otherwise: faults, `Inf`,
large numbers, halves of surrogate pairs.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

TOO_DEEP: Final = "Terminate parsing due to Handler error. at offset: 0"
"""Said of lists nested so deep that they would overflow TensorFlow Serving's stack."""

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')
_DIGITS: Final = re.compile(r"[0-9]*")
_LITERALS: Final = {"n": ("null", None), "t": ("true", True), "f": ("false", False)}
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_BOM: Final = "\ufeff"
_MAX_EXPONENT: Final = 308


class JsonError(ValueError):
    """The text is not JSON; str() is RapidJSON's sentence with the offset in bytes."""


def loads(text: str) -> Any:
    """Parses a text.

    Args:
        text: decoded with `surrogateescape`; bytes that are no UTF-8 stay what they are.

    Returns:
        As json.loads, but the first of two equal keys counts, and whole numbers that fit neither
        int64 nor uint64 are floats.

    Raises:
        JsonError: the first fault.
        RecursionError: lists too deep.
    """
    reader = _Reader(text)
    reader.skip()
    if not reader.peek():
        reader.stop("The document is empty.")
    value = reader.value()
    reader.skip()
    if reader.peek():
        reader.stop("The document root must not be followed by other values.")
    return value


def whole_number(text: str) -> int | float:
    """A number without point and exponent; a float where 64 bits do not hold it."""
    value = int(text)
    return value if -(2**63) <= value < 2**64 else float(value)


def first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which the first of two equal keys counts, as RapidJSON finds it."""
    found = dict(pairs)
    if len(found) < len(pairs):
        found.update(reversed(pairs))
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 1 if text.startswith(_BOM) else 0

    def stop(self, words: str, at: int | None = None) -> None:
        """Raises JsonError, at the present place or another."""
        before = self._text[: self._at if at is None else at]
        raise JsonError(f"{words} at offset: {len(before.encode('utf-8', 'surrogateescape'))}")

    def skip(self) -> None:
        """Passes over white space."""
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def peek(self) -> str:
        """The next character, empty at the end."""
        return self._text[self._at : self._at + 1]

    def value(self) -> Any:
        """Reads the value that begins here."""
        start = self.peek()
        if start == "{":
            return self._object()
        if start == "[":
            return self._array()
        if start == '"':
            return self._string()
        if start in _LITERALS:
            word, value = _LITERALS[start]
            self._word(word)
            return value
        return self._number()

    def _take(self, character: str) -> bool:
        if self.peek() != character:
            return False
        self._at += 1
        return True

    def _word(self, word: str) -> None:
        for character in word:
            if not self._take(character):
                self.stop("Invalid value.")

    def _object(self) -> dict[str, Any]:
        self._at += 1
        self.skip()
        pairs: list[tuple[str, Any]] = []
        if self._take("}"):
            return {}
        while True:
            if self.peek() != '"':
                self.stop("Missing a name for object member.")
            key = self._string()
            self.skip()
            if not self._take(":"):
                self.stop("Missing a colon after a name of object member.")
            self.skip()
            pairs.append((key, self.value()))
            self.skip()
            if self._take("}"):
                return first_of_each(pairs)
            if not self._take(","):
                self.stop("Missing a comma or } after an object member.")
            self.skip()

    def _array(self) -> list[Any]:
        self._at += 1
        self.skip()
        items: list[Any] = []
        if self._take("]"):
            return items
        while True:
            items.append(self.value())
            self.skip()
            if self._take("]"):
                return items
            if not self._take(","):
                self.stop("Missing a comma or ] after an array element.")
            self.skip()

    def _string(self) -> str:
        self._at += 1
        parts: list[str] = []
        while True:
            plain = _PLAIN.match(self._text, self._at)
            assert plain is not None
            parts.append(plain.group())
            self._at = plain.end()
            if self._take('"'):
                return "".join(parts)
            if self.peek() != "\\":
                ended = self.peek() in ("", "\0")
                self.stop(
                    "Missing a closing quotation mark in string."
                    if ended
                    else "Invalid escape character in string."
                )
            parts.append(self._escape())

    def _escape(self) -> str:
        start = self._at
        self._at += 1
        character = self.peek()
        if character in _ESCAPES or character == "/":
            self._at += 1
            return _ESCAPES.get(character, character)
        if character != "u":
            self.stop("Invalid escape character in string.", start)
        self._at += 1
        code = self._hex(start)
        if 0xD800 <= code < 0xDC00:
            if not (self._take("\\") and self._take("u")):
                self.stop("The surrogate pair in string is invalid.", start)
            low = self._hex(start)
            if not 0xDC00 <= low < 0xE000:
                self.stop("The surrogate pair in string is invalid.", start)
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        # A second half alone is written as its three bytes.
        return chr(code).encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")

    def _hex(self, start: int) -> int:
        digits = self._text[self._at : self._at + 4]
        if re.fullmatch("[0-9a-fA-F]{4}", digits) is None:
            self.stop("Incorrect hex digit after \\u escape in string.", start)
        self._at += 4
        return int(digits, 16)

    def _number(self) -> int | float:
        start = self._at
        minus = self._take("-")
        if self.peek() in ("N", "I"):
            return self._not_finite(minus)
        if not self._take("0") and not self._digits():
            self.stop("Invalid value.")
        whole = self._text[start : self._at]
        if math.isinf(float(whole)):
            self.stop("Number too big to be stored in double.", start)
        decimals = self._fraction()
        self._exponent(start, decimals)
        text = self._text[start : self._at]
        return whole_number(text) if text == whole else float(text)

    def _not_finite(self, minus: bool) -> float:
        if self.peek() == "N":
            self._word("NaN")
            return math.nan
        self._word("Inf")
        if self.peek() == "i":
            self._word("inity")
        return -math.inf if minus else math.inf

    def _fraction(self) -> int:
        """Passes over a point and its digits, if they are there; returns how many digits."""
        if not self._take("."):
            return 0
        decimals = self._digits()
        if not decimals:
            self.stop("Miss fraction part in number.")
        return decimals

    def _exponent(self, start: int, decimals: int) -> None:
        """Passes over an exponent, if there is one, of a number that began at `start`."""
        if not (self._take("e") or self._take("E")):
            return
        up = not self._take("-")
        if up:
            self._take("+")
        digits = self._at
        if not self._digits():
            self.stop("Miss exponent in number.")
        if up and int(self._text[digits : self._at][:9]) > _MAX_EXPONENT + decimals:
            self.stop("Number too big to be stored in double.", start)

    def _digits(self) -> int:
        """Passes over digits; returns how many."""
        found = _DIGITS.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return len(found.group())
