"""What is asked of a decision, as one types it: recall>=0.95, miss=10,false_alarm=1, balanced.

Where there are more than two classes, accuracy>=0.98: the others go to a person.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Final

from foundation.command_line import InputError

RECALL: Final = "recall"
PRECISION: Final = "precision"
FPR: Final = "fpr"

_DIRECTIONS: Final = {RECALL: ">=", PRECISION: ">=", FPR: "<="}

FORMS: Final = (
    "recall>=0.95",
    "precision>=0.9",
    "fpr<=0.05",
    "miss=10,false_alarm=1",
    "balanced",
    "threshold=0.4",
)
"""One of each kind."""


LIKELIEST: Final = "likeliest"

FORMS_OF_MANY: Final = ("accuracy>=0.98", LIKELIEST)
"""Where there are more than two classes."""


@dataclasses.dataclass(frozen=True)
class Share:
    """A share that must be reached (or not exceeded) on images that nobody has seen yet."""

    figure: str
    """RECALL: of the positives, found; PRECISION: of what is called positive, right; FPR: of the
    negatives, called positive."""
    bound: float
    """0-1, neither of them"""

    def __str__(self) -> str:
        return f"{self.figure}{_DIRECTIONS[self.figure]}{_plain(self.bound)}"


@dataclasses.dataclass(frozen=True)
class Costs:
    """What the two mistakes cost, in any unit."""

    miss: float
    """a positive that is called negative; above 0"""
    false_alarm: float
    """a negative that is called positive; above 0"""

    def __str__(self) -> str:
        return f"miss={_plain(self.miss)},false_alarm={_plain(self.false_alarm)}"


@dataclasses.dataclass(frozen=True)
class Balanced:
    """Both classes weigh the same, however many images each has."""

    def __str__(self) -> str:
        return "balanced"


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A threshold that somebody has chosen otherwise."""

    value: float
    """0-1"""

    def __str__(self) -> str:
        return f"threshold={_plain(self.value)}"


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Of more than two classes: the answers that nobody looks at are right so often."""

    bound: float
    """0-1, neither of them"""

    def __str__(self) -> str:
        return f"accuracy>={_plain(self.bound)}"


@dataclasses.dataclass(frozen=True)
class Likeliest:
    """Of more than two classes, the likeliest; nothing is promised."""

    def __str__(self) -> str:
        return LIKELIEST


Target = Share | Costs | Balanced | Threshold
TargetOfMany = Accuracy | Likeliest


def _plain(value: float) -> str:
    """All digits, so that it is the same number when it is read again: 0.9999999 is not 1."""
    return repr(float(value)).removesuffix(".0")


def parse(text: str) -> Target:
    """Reads a target.

    Raises:
        InputError: it is none, or asks for what cannot be.
    """
    plain = re.sub(r"\s+", "", text).casefold()
    if plain == "balanced":
        return Balanced()
    if found := re.fullmatch(r"(recall|precision|fpr)(>=|<=|≥|≤|>|<|=)(.+)", plain):
        return _share(text, *found.groups())
    if found := re.fullmatch(r"threshold=(.+)", plain):
        value = _number(text, found[1])
        if not 0 <= value <= 1:
            raise _refused(text, "a threshold lies between 0 and 1")
        return Threshold(value)
    costs = re.fullmatch(r"(miss|false_alarm)=([^,]+),(miss|false_alarm)=([^,]+)", plain)
    if costs and costs[1] != costs[3]:
        named = {costs[1]: _number(text, costs[2]), costs[3]: _number(text, costs[4])}
        if not all(0 < value < math.inf for value in named.values()):
            raise _refused(text, "each mistake costs something; give numbers above 0")
        return Costs(**named)
    raise _refused(text, "not one of them")


def parse_of_many(text: str) -> TargetOfMany:
    """Reads a target of more than two classes.

    Raises:
        InputError: it is none, or asks for what cannot be.
    """
    plain = re.sub(r"\s+", "", text).casefold()
    if plain == LIKELIEST:
        return Likeliest()
    found = re.fullmatch(r"accuracy(?:>=|≥)(.+)", plain)
    if not found:
        why = "not one of them; with more than two classes there is no positive one"
        raise _refused(text, why, FORMS_OF_MANY)
    return Accuracy(_between_0_and_1(text, "accuracy", found[1], FORMS_OF_MANY))


def check(text: str) -> None:
    """Reads a target of any number of classes.

    Raises:
        InputError: it is none of two classes, nor of more.
    """
    try:
        parse_of_many(text)
    except InputError:
        parse(text)


def _share(text: str, figure: str, sign: str, number: str) -> Share:
    wanted = _DIRECTIONS[figure]
    if sign.replace("≥", ">=").replace("≤", "<=") != wanted:
        raise _refused(text, f"{figure} is asked for with {wanted}")
    return Share(figure, _between_0_and_1(text, figure, number))


def _between_0_and_1(text: str, figure: str, number: str, forms: tuple[str, ...] = FORMS) -> float:
    value = _number(text, number.removesuffix("%"), forms)
    if number.endswith("%"):
        value /= 100
    if not 0 < value < 1:
        raise _refused(text, f"{figure} lies between 0 and 1, and neither can be promised", forms)
    return value


def _number(text: str, number: str, forms: tuple[str, ...] = FORMS) -> float:
    try:
        return float(number)
    except ValueError:
        raise _refused(text, f"{number!r} is no number", forms) from None


def _refused(text: str, why: str, forms: tuple[str, ...] = FORMS) -> InputError:
    return InputError(f"Expected a target such as {', '.join(forms)}. Received: {text!r}, {why}.")
