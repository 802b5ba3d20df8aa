"""What the history says of the present state: the last change, and how long a trial has lasted."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from serving.rollout.journal import Change
from serving.rollout.states import State

_EFFECTIVE: Final = ("done", "incomplete")
"""Outcomes of changes after which models.config says what was meant."""

_STEPS: Final = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


@dataclass(frozen=True, kw_only=True)
class Past:
    """The end of one model's history. Ages are seconds; None where the history does not say."""

    last: Change | None = None
    """The last change that was tried; None where there is none."""
    last_age_s: float | None = None
    effective: Change | None = None
    """The last one that has taken effect, where that is another one."""
    effective_age_s: float | None = None
    gate: str = ""
    """What the gate said of the version that the last effective change put on trial or promoted:
    passed, or why it was passed over. Empty where it was not asked."""
    trial_age_s: float | None = None
    """How long the version on trial has been on trial."""
    edited: bool = False
    """Whether models.config says something else than the last change has left."""
    unreadable: int = 0
    """Lines of the history that cannot be read."""


def read(changes: Sequence[Change], state: State, now_s: float, *, unreadable: int = 0) -> Past:
    """Reads what is wanted of a history.

    Args:
        changes: of one model, the oldest first.
        state: what models.config says now.
        now_s: Unix time.
        unreadable: lines that are left out of `changes`.
    """
    if not changes:
        return Past(unreadable=unreadable)
    last = changes[-1]
    effective = [change for change in changes if change.outcome in _EFFECTIVE]
    took = effective[-1] if effective else None
    left = last.before_state() if took is None else took.after_state()
    began = _trial_began(effective, state)
    return Past(
        last=last,
        last_age_s=_age_s(last, now_s),
        effective=took if took is not last else None,
        effective_age_s=None if took in (None, last) else _age_s(took, now_s),
        gate="" if took is None else _gate(effective, took),
        trial_age_s=None if began is None else _age_s(began, now_s),
        edited=left != state,
        unreadable=unreadable,
    )


def _trial_began(effective: Sequence[Change], state: State) -> Change | None:
    """The change since which the version that is on trial now has been so without a break."""
    began = None
    for change in reversed(effective):
        if state.canary is None or change.after_state().canary != state.canary:
            break
        if change.before_state().canary != state.canary:
            began = change
            break
    return began


def _gate(effective: Sequence[Change], took: Change) -> str:
    """A promotion has no gate of its own: it is the one that let the version on trial."""
    if took.gate or took.verb != "promote":
        return took.gate
    trials = [one for one in effective if one.verb == "canary" and one.version == took.version]
    return trials[-1].gate if trials else ""


def _age_s(change: Change | None, now_s: float) -> float | None:
    """Seconds since a change began; never negative, for clocks differ."""
    if change is None:
        return None
    try:
        began = datetime.datetime.fromisoformat(change.time).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return max(0.0, now_s - began)


def in_words(age_s: float | None) -> str:
    """An age in two units, such as "3 h 12 min"; "an unknown time" for None."""
    if age_s is None:
        return "an unknown time"
    for large, large_name, small, small_name in _STEPS:
        if age_s >= large:
            rest = int(age_s % large // small)
            whole = f"{int(age_s // large):,} {large_name}"
            return f"{whole} {rest} {small_name}" if rest else whole
    return f"{age_s:.0f} s"
