"""Reads JSON as RapidJSON does for TensorFlow Serving: its grammar, its texts, its offsets.

Slow and exact. Used only for what Python's own reader refuses or reads otherwise: faults, `Inf`,
large numbers, halves of surrogate pairs. As there, what follows the document is not read.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, NoReturn

from serving.local.rest.doubles import double

_MAX_DEPTH: Final = 2**17
"""Deeper lists are refused: each takes a hundred times the memory of its bracket. TensorFlow
Serving has no such limit, and its stack may end with them."""

_TOO_DEEP: Final = "Terminate parsing due to Handler error."

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')
_DIGITS: Final = re.compile(r"[0-9]*")
_LITERALS: Final = {"n": ("null", None), "t": ("true", True), "f": ("false", False)}
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_BOM: Final = "\ufeff"
_ENDS: Final = {"{": "}", "[": "]"}
_MISSING: Final = {
    "}": "Missing a comma or '}' after an object member.",
    "]": "Missing a comma or ']' after an array element.",
}


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
    """
    reader = _Reader(text)
    reader.skip()
    if not reader.peek():
        reader.stop("The document is empty.")
    return reader.value()


def whole_number(text: str) -> int | float:
    """A number without point and exponent; a float where 64 bits do not hold it."""
    value = int(text)
    return value if -(2**63) <= value < 2**64 else double(text)


def first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which the first of two equal keys counts, as RapidJSON finds it."""
    found = dict(pairs)
    if len(found) < len(pairs):
        found.update(reversed(pairs))
    return found


class _Open:
    """An object or a list whose end has not been read yet."""

    __slots__ = ("end", "items", "names")

    def __init__(self, end: str) -> None:
        self.end = end
        self.names: list[str] = []
        self.items: list[Any] = []

    def value(self) -> Any:
        return first_of_each(list(zip(self.names, self.items))) if self.end == "}" else self.items


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 1 if text.startswith(_BOM) else 0

    def stop(self, words: str, at: int | None = None) -> NoReturn:
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
        """Reads the value that begins here, with a stack of its own: nesting needs no recursion."""
        within: list[_Open] = []
        while True:
            start = self.peek()
            if start in _ENDS:
                self._at += 1
                self.skip()
                opened = _Open(_ENDS[start])
                if not self._take(opened.end):
                    if len(within) == _MAX_DEPTH:
                        self.stop(_TOO_DEEP)
                    within.append(opened)
                    self._name(opened)
                    continue
                found = opened.value()
            else:
                found = self._scalar(start)
            while within:
                opened = within[-1]
                opened.items.append(found)
                self.skip()
                if not self._take(opened.end):
                    if not self._take(","):
                        self.stop(_MISSING[opened.end])
                    self.skip()
                    self._name(opened)
                    break
                found = within.pop().value()
            else:
                return found

    def _scalar(self, start: str) -> Any:
        if start == '"':
            return self._string()
        if start in _LITERALS:
            word, value = _LITERALS[start]
            self._word(word)
            return value
        return self._number()

    def _name(self, opened: _Open) -> None:
        """Reads the name of an object's next member; a list's items have none."""
        if opened.end != "}":
            return
        if self.peek() != '"':
            self.stop("Missing a name for object member.")
        opened.names.append(self._string())
        self.skip()
        if not self._take(":"):
            self.stop("Missing a colon after a name of object member.")
        self.skip()

    def _take(self, character: str) -> bool:
        if self.peek() != character:
            return False
        self._at += 1
        return True

    def _word(self, word: str) -> None:
        for character in word:
            if not self._take(character):
                self.stop("Invalid value.")

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
        self._fraction()
        self._exponent()
        text = self._text[start : self._at]
        if text == whole:
            return whole_number(text)
        try:
            return double(text)
        except ValueError:
            return self.stop("Number too big to be stored in double.", start)

    def _not_finite(self, minus: bool) -> float:
        if self.peek() == "N":
            self._word("NaN")
            return math.nan
        self._word("Inf")
        if self.peek() == "i":
            self._word("inity")
        return -math.inf if minus else math.inf

    def _fraction(self) -> None:
        """Passes over a point and its digits, if they are there."""
        if self._take(".") and not self._digits():
            self.stop("Miss fraction part in number.")

    def _exponent(self) -> None:
        """Passes over an exponent, if there is one."""
        if not (self._take("e") or self._take("E")):
            return
        if not self._take("-"):
            self._take("+")
        if not self._digits():
            self.stop("Miss exponent in number.")

    def _digits(self) -> int:
        """Passes over digits; returns how many."""
        found = _DIGITS.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return len(found.group())
