"""Numbers with a point or an exponent as RapidJSON computes them in its fast mode."""

from __future__ import annotations

import re
from typing import Final

_PARTS: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)0*([0-9]*))?")
_MOST_EXACT: Final = 2**53 - 1
_SIGNIFICANT_DIGITS: Final = 17
_MAX_EXPONENT: Final = 308
_POWERS: Final = [float(f"1e{power}") for power in range(_MAX_EXPONENT + 1)]


def double(text: str) -> float:
    """A number with a point or an exponent, as RapidJSON computes it in its fast mode.

    It collects at most 17 digits in a double and scales it by a power of ten, so that numbers of
    more than 15 digits may miss the nearest double by a unit or two in the last place.

    Raises:
        ValueError: no double holds it, or it is no such number.
    """
    found = _PARTS.fullmatch(text)
    if found is None:
        raise ValueError(text)
    minus, whole, fraction, down, exponent = found.groups(default="")
    if len(whole) > _MAX_EXPONENT + 1:
        raise ValueError(text)
    value, scale = _significand(whole, fraction, 2**63 if minus else 2**64 - 1)
    power = int(exponent[:9] or "0") * (-1 if down == "-" else 1)
    if power > _MAX_EXPONENT - scale:
        raise ValueError(text)
    value = _scaled(value, power + scale)
    return -value if minus else value


def _significand(whole: str, fraction: str, largest: int) -> tuple[float, int]:
    """The first digits as a double, and the power of ten that belongs to it."""
    fitting = len(whole)
    while fitting > 20 or int(whole[:fitting]) > largest:
        fitting -= 1
    if fitting < len(whole):
        value = float(int(whole[:fitting]))
        for digit in whole[fitting:]:
            value = value * 10 + int(digit)
        return value, 0
    held, significant = int(whole), len(whole) - 1
    used = 0 if held else len(fraction) - len(fraction.lstrip("0"))
    while used < len(fraction) and held <= _MOST_EXACT:
        held = held * 10 + int(fraction[used])
        used += 1
        significant += held != 0
    value = float(held)
    while used < len(fraction) and significant < _SIGNIFICANT_DIGITS:
        value = value * 10 + int(fraction[used])
        used += 1
        significant += value > 0
    return value, -used


def _scaled(value: float, power: int) -> float:
    if power < -_MAX_EXPONENT:
        value, power = value / _POWERS[_MAX_EXPONENT], power + _MAX_EXPONENT
    if power < -_MAX_EXPONENT:
        return 0.0
    return value * _POWERS[power] if power >= 0 else value / _POWERS[-power]
