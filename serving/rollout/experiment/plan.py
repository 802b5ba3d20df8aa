"""What an experiment is meant to show, written down before it starts: a JSON file.

    {"experiment": "new-model", "weights": {"stable": 90, "canary": 10},
     "baseline": 0.85, "smallest_difference": 0.03,
     "guardrails": {"errors": 0.01, "review": 0.05, "slow": 0.02, "slow_s": 0.25}}

Every other key has the default that Plan shows.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from foundation.command_line import InputError
from tfs_client.contract import LABEL_CANARY, LABEL_STABLE

NAMES: Final = ("errors", "review", "slow")
"""The guardrails, in the order in which tables and pages show them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guardrails:
    """How much worse the treatment may be before it is a breach: differences of shares, 0-1."""

    errors: float = 0.01
    """Exposures that the assigned side did not answer: a fallback did, or nothing."""
    review: float = 0.05
    """Exposures that a person has to look at."""
    slow: float = 0.02
    """Exposures that took longer than slow_s."""
    slow_s: float = 0.25
    """Seconds."""

    def __post_init__(self) -> None:
        for name in NAMES:
            _between(f"guardrails.{name}", getattr(self, name), 0, 1, open_low=False)
        _between("guardrails.slow_s", self.slow_s, 0, math.inf)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One experiment: what is compared, what counts as a difference, and when it ends.

    Raises:
        InputError: a value is out of its range.
    """

    experiment: str
    """As in the router's split."""
    weights: Mapping[str, float]
    """Label to its weight among the units, as in the router's split; only the proportions count."""
    smallest_difference: float
    """Smallest difference of the shares of right answers that matters, 0-1."""
    baseline: float
    """The control's expected share of right answers, 0-1; only planning uses it."""
    control: str = LABEL_STABLE
    treatment: str = LABEL_CANARY
    alpha: float = 0.05
    """Chance of a wrong "better", "worse" or "no difference" in the whole experiment, however often
    one looks and whatever the true difference is."""
    power: float = 0.8
    """Chance of seeing smallest_difference, which planning aims at."""
    min_outcomes: int = 100
    """On each side, before the shares are compared."""
    max_duration_h: float = 336.0
    """From the first exposure on, in hours."""
    guardrails: Guardrails = dataclasses.field(default_factory=Guardrails)
    guardrail_alpha: float = 0.01
    """Chance of a false breach of one guardrail, however often one looks."""
    srm_alpha: float = 0.001
    """Chance of a false sample-ratio mismatch, however often one looks."""

    def __post_init__(self) -> None:
        for name in ("experiment", "control", "treatment"):
            if not getattr(self, name):
                raise _wrong(f"a name as {name}", name, getattr(self, name), "give it a text")
        if self.control == self.treatment:
            raise _wrong("two different labels", "treatment", self.treatment, "name another label")
        if self.weights.keys() != {self.control, self.treatment}:
            raise _wrong(
                f"a weight for each of {self.control!r} and {self.treatment!r}, and no other",
                *("weights", dict(self.weights)),
                "take them from the router's split",
            )
        for label, weight in self.weights.items():
            _between(f"weights.{label}", weight, 0, math.inf)
        for name in ("smallest_difference", "alpha", "power", "baseline", *_ALPHAS):
            _between(name, getattr(self, name), 0, 1)
        if self.min_outcomes < 2:
            raise _wrong("2 or more", "min_outcomes", self.min_outcomes, "100 is a good number")
        _between("max_duration_h", self.max_duration_h, 0, math.inf)
        if not 0 < self.improved < 1:
            raise _wrong(
                "a difference that the share of right answers has room for",
                *("smallest_difference", self.smallest_difference),
                f"with baseline={self.baseline} it has to be smaller",
            )

    @property
    def treatment_share(self) -> float:
        """Expected share of the units on the treatment, 0-1."""
        return self.weights[self.treatment] / sum(self.weights.values())

    @property
    def improved(self) -> float:
        """The treatment's share of right answers if it differs by smallest_difference.

        Above the baseline where there is room, else below it.
        """
        above = self.baseline + self.smallest_difference
        return above if above < 1 else self.baseline - self.smallest_difference


_ALPHAS: Final = ("guardrail_alpha", "srm_alpha")
_REQUIRED: Final = ("experiment", "weights", "smallest_difference", "baseline")
_TEXTS: Final = ("experiment", "control", "treatment")


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """Reads a plan.

    Raises:
        InputError: it is missing, no JSON (with line and column), or a key or value is wrong.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_without_repeats)
    except OSError as exc:
        raise InputError(
            f"Expected a file with a plan. Received: {path} ({exc.strerror}); write it there, or "
            "give another path"
        ) from exc
    except json.JSONDecodeError as exc:
        raise InputError(
            f"{path}:{exc.lineno}:{exc.colno}: Expected JSON. Received: {exc.msg}; correct it there"
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{path}: Expected JSON in UTF-8. Received: {exc}; correct it") from exc
    try:
        return _plan(content)
    except InputError as exc:
        raise InputError(f"{path}: {exc}") from exc


def _plan(content: object) -> Plan:
    settings = _object("the plan", content, Plan)
    missing = [key for key in _REQUIRED if key not in settings]
    if missing:
        raise InputError(
            f"Expected the keys {', '.join(_REQUIRED)}. Received: no {', '.join(missing)}; add "
            "what is missing"
        )
    for key in _TEXTS:
        if key in settings and not isinstance(settings[key], str):
            raise _wrong("a text", key, settings[key], "put it in quotes")
    if not isinstance(settings["weights"], dict):
        raise _wrong(
            "weights by label", "weights", settings["weights"], 'such as {"stable": 9, "canary": 1}'
        )
    settings["weights"] = {
        label: _number(f"weights.{label}", weight) for label, weight in settings["weights"].items()
    }
    if "guardrails" in settings:
        guardrails = _object("guardrails", settings["guardrails"], Guardrails)
        settings["guardrails"] = Guardrails(
            **{key: _number(f"guardrails.{key}", value) for key, value in guardrails.items()}
        )
    for key in settings.keys() - {*_TEXTS, "weights", "guardrails"}:
        settings[key] = _number(key, settings[key])
    if not float(settings.get("min_outcomes", 2)).is_integer():
        raise _wrong("a whole number", "min_outcomes", settings["min_outcomes"], "round it")
    if "min_outcomes" in settings:
        settings["min_outcomes"] = int(settings["min_outcomes"])
    return Plan(**settings)


def _object(what: str, content: object, kind: type[Plan] | type[Guardrails]) -> dict[str, Any]:
    known = [field.name for field in dataclasses.fields(kind)]
    if not isinstance(content, dict):
        raise InputError(
            f"Expected {what} as a JSON object. Received: {content!r:.60}; put it in {{}}"
        )
    unknown = [key for key in content if key not in known]
    if unknown:
        raise InputError(
            f"Expected {what} to have only the keys {', '.join(known)}. Received: "
            f"{', '.join(map(repr, unknown))}; correct the spelling, or leave it out"
        )
    return dict(content)


def _number(name: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            if math.isfinite(float(value)):
                return float(value)
        except OverflowError:  # an integer of hundreds of digits
            pass
    raise _wrong("a finite number", name, value, "give one without quotes")


def _between(name: str, value: float, low: float, high: float, *, open_low: bool = True) -> None:
    above = value > low if open_low else value >= low
    if not (above and value < high):
        least = f"above {low:g}" if open_low else f"{low:g} or more"
        most = "" if high == math.inf else f" and below {high:g}"
        raise _wrong(f"a number {least}{most}", name, value, "correct it")


def _wrong(expected: str, name: str, value: object, mend: str) -> InputError:
    return InputError(f"Expected {expected}. Received: {name}={value!r:.80}; {mend}")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; refuses what would silently lose one of two values."""
    kept = dict(pairs)
    if len(kept) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{max(keys, key=keys.count)!r} twice in one object")
    return kept
