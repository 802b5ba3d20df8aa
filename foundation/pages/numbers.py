"""Numbers for people, on every page and in every plot: 8,530 ms, 12.3 %, never 8.53e+03 or nan.

What is not known is a dash. A template's `{{ value }}` goes through `shown`, so that it needs none
of these functions to be legible; they say how many digits help. A whole number may be a name (of a
version, a port): only `number` and `amount` give it commas.
"""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

NOTHING: Final = "\N{EN DASH}"
"""Where there is no number."""

MINUS: Final = "\N{MINUS SIGN}"
TIMES: Final = "\N{MULTIPLICATION SIGN}"
NO_BREAK: Final = "\N{NO-BREAK SPACE}"

_PLAIN: Final = (1e-9, 1e15)
"""Between these all digits are written; beyond, nobody counts them."""


def number(value: float | None, digits: int = 3) -> str:
    """A measured number with so many digits that count, and all those before the point.

    Args:
        value: any; NaN and infinities are not known.
        digits: that count; 8530.4 is 8,530 and 0.01234 is 0.0123 with three.
    """
    if not _known(value):
        return NOTHING
    if isinstance(value, int) or value == 0:
        return f"{int(value):,}".replace("-", MINUS)
    size = abs(value)
    if not _PLAIN[0] <= size < _PLAIN[1]:
        return _power(value, digits)
    # Of the rounded number: 9.996 has three digits as 10.0.
    place = math.floor(math.log10(float(f"{size:.{digits - 1}e}")))
    return fixed(value, max(digits - 1 - place, 0))


def fixed(value: float | None, places: int) -> str:
    """A number with so many places after the point, as in a column where they stand in line.

    A number that would show as 0 there, though it is none, is shown by its first digit instead.
    """
    if not _known(value):
        return NOTHING
    if value and not abs(value) < _PLAIN[1]:
        return _power(value, places + 1)
    if value and float(f"{value:.{places}f}") == 0:
        return number(value, 1)
    return f"{value:,.{places}f}".replace("-", MINUS)


def signed(value: float | None, places: int) -> str:
    """A difference: with its sign, and so many places after the point."""
    if not _known(value):
        return NOTHING
    text = f"{value:+,.{places}f}"
    if float(text.replace(",", "")) == 0:
        text = text[1:]
    return text.replace("-", MINUS)


def percent(share: float | None, places: int = 1) -> str:
    """A share of a whole in percent; one that rounding or two clocks put below 0 is 0.

    Args:
        share: 0 to 1.
        places: after the point.
    """
    if not _known(share):
        return NOTHING
    return f"{max(100 * share, 0.0):,.{places}f}{NO_BREAK}%"


def part(value: float | None, digits: int = 3) -> str:
    """A part of a whole: none is below 0, and one that comes out so is told as such."""
    if _known(value) and value < 0:
        return "about 0"
    return number(value, digits)


def chance(p: float | None) -> str:
    """A p-value, to its second digit."""
    if not _known(p):
        return NOTHING
    return "< 0.0001" if p < 0.0001 else number(p, 2)


def amount(value: float | None, unit: str, digits: int = 3) -> str:
    """A measured number with its unit, in one piece; a unit of "%" counts as one."""
    text = number(value, digits)
    return text if text == NOTHING or not unit else f"{text}{NO_BREAK}{unit}"


def moment(time: str | float | None) -> str:
    """A time of the calendar, UTC, to the second.

    Args:
        time: ISO 8601, or Unix seconds; what is neither is given back as it is.
    """
    if time is None:
        return NOTHING
    try:
        if isinstance(time, str):
            then = datetime.datetime.fromisoformat(time)
        else:
            then = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
        return f"{then.astimezone(datetime.timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return str(time)


def shown(value: Any) -> Any:
    """Any value as a page shows it; texts, and what is no value of these kinds, as they are."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _exact(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown(one)}" for key, one in value.items()) or NOTHING
    if isinstance(value, (list, tuple)):
        return ", ".join(str(shown(one)) for one in value) or NOTHING
    return _exact(float(value)) if _is_numpys(value) else value


def _exact(value: float) -> str:
    """A setting: up to six digits, without zeros at the end."""
    if not _known(value):
        return NOTHING
    if value and not _PLAIN[0] <= abs(value) < _PLAIN[1]:
        return _power(value, 6)
    text = f"{decimal.Decimal(f'{value:.6g}'):,f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", MINUS)


def _power(value: float, digits: int) -> str:
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa} {TIMES} 10^{int(power)}".replace("-", MINUS)


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _is_numpys(value: Any) -> bool:
    """Whether it is a number of numpy's, which are no floats; numpy need not be there."""
    return type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()
