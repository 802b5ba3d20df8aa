"""What a sweep tries: a grid of settings, or variants by name from a file."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from foundation.command_line import InputError
from foundation.text import did_you_mean

MOST: Final = 200
"""Variants of a sweep."""

OWN: Final = ("--runs", "--seed", "--resume", "--teacher")
"""Flags of training.train that a sweep sets."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a sweep."""

    name: str
    flags: tuple[str, ...]
    """of training.train"""
    teacher: str | None = None
    """the variant whose run of the same seed teaches this one"""
    why: str = ""
    """for people"""


def of_grid(varied: Sequence[str]) -> list[Variant]:
    """All combinations of settings.

    Args:
        varied: such as ["learning_rate=0.001,0.004", "flip-horizontal=yes,no"]; yes and no are for
            settings without a value.

    Raises:
        InputError: not of this form, or more than MOST.
    """
    columns = [_column(one) for one in varied]
    names = [name for name, _ in columns]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"Expected each setting once. Received: --vary {twice[0]} twice.")
    found = []
    for values in itertools.product(*(values for _, values in columns)):
        pairs = list(zip(names, values))
        found.append(
            Variant(
                name=", ".join(f"{name}={value}" for name, value in pairs) or "as it is",
                flags=tuple(itertools.chain.from_iterable(_flags(*pair) for pair in pairs)),
            )
        )
        if len(found) > MOST:
            raise InputError(
                f"Expected at most {MOST} variants. Received: more. Vary fewer settings at once."
            )
    return found


def _column(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    name = name.strip().removeprefix("--").replace("-", "_")
    listed = [value.strip() for value in values.split(",")]
    if not equals or not name or not all(listed):
        raise InputError(
            f"Expected --vary as in learning_rate=0.001,0.004. Received: {text}. Name a setting "
            "and its values."
        )
    return name, listed


def _flags(name: str, value: str) -> tuple[str, ...]:
    flag = "--" + name.replace("_", "-")
    if value in ("yes", "no"):
        return (flag if value == "yes" else "--no-" + flag[2:],)
    return (f"{flag}={value}",)


def of_file(path: Path) -> list[Variant]:
    """Variants by name.

    Args:
        path: of a JSON list of {"name": …, "flags": "--epochs 40", "teacher": another's name,
            "why": …}; the last two may be left out.

    Raises:
        InputError: it cannot be read, or is not of this form.
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"Expected a JSON list of variants in {path}. Received: {reason}.") from (
            error
        )
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST:
        raise InputError(f"Expected a list of 1 to {MOST} variants in {path}. Received: another.")
    found = [_variant(path, one) for one in listed]
    names = [one.name for one in found]
    for place, one in enumerate(found):
        if names.index(one.name) != place:
            raise InputError(f"Expected each name once in {path}. Received: {one.name} twice.")
        if one.teacher is not None and one.teacher not in names[:place]:
            raise InputError(
                f"Expected the teacher of {one.name} before it in {path}. Received: {one.teacher}, "
                f"which is not.{did_you_mean(one.teacher, names[:place])}"
            )
    return found


def _variant(path: Path, one: Any) -> Variant:
    allowed = {"name", "flags", "teacher", "why"}
    if (
        not isinstance(one, dict)
        or not {"name", "flags"} <= set(one) <= allowed
        or not all(isinstance(value, str) for value in one.values())
        or not one["name"].strip()
    ):
        raise InputError(
            f"Expected variants with name and flags, and maybe teacher and why, in {path}. "
            f"Received: {json.dumps(one)[:80]}."
        )
    try:
        flags = tuple(shlex.split(one["flags"]))
    except ValueError as error:
        raise InputError(
            f"Expected flags of training.train in {path}. Received: {one['flags']} ({error})."
        ) from error
    return Variant(
        name=one["name"], flags=flags, teacher=one.get("teacher"), why=one.get("why", "")
    )
