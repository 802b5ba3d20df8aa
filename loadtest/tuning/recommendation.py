"""Which batching parameters are recommended, and why: from searched knees and a load in turns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final

from foundation.figures import machine
from loadtest.loops.searching import Found
from loadtest.plan.settings import Settings
from loadtest.tuning.candidates import OFF, Candidate
from loadtest.tuning.in_turns import InTurns
from loadtest.verdicts.objectives import Objectives

FINALISTS: Final = 2
"""How many candidates with batching are looked at again."""

SHARED_FATE: Final = (
    "Merged requests share their fate. A broken file sent to serving_default harms nobody else; a",
    "wrong dtype, image_bytes of another rank than 1, or pictures of a wrong size fail the calls",
    "of others that are merged with them. A request without a row waits until another one comes.",
    "tfs_client sends none of these; where other callers reach the port, weigh it up.",
)
"""What batching costs in safety; lines for the file and the page."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
    """A candidate, and its knee."""

    candidate: Candidate
    found: Found
    last: bool
    """Whether it is the longer, second search."""

    @property
    def order(self) -> float:
        """The higher the better; 0: no rate holds the objectives."""
        return self.found.knee.rate or self.found.knee.low


def finalists(tried: Iterable[Tried]) -> list[Candidate]:
    """Which candidates are looked at again: no batching, and the best of the others."""
    others = sorted((one for one in tried if one.candidate != OFF), key=lambda one: -one.order)
    return [OFF, *(one.candidate for one in others[:FINALISTS] if one.order > 0)]


def rivals(tried: Iterable[Tried]) -> tuple[Tried, Tried] | None:
    """Which two are to be loaded in turns: the best one with batching, and the one without.

    Returns:
        None where there is nothing to decide: one of the two holds the objectives at no rate, or
        batching does not carry more.
    """
    last = [one for one in tried if one.last]
    off = next((one for one in last if one.candidate == OFF), None)
    best = max((one for one in last if one is not off), key=lambda one: one.order, default=None)
    if off is None or best is None or not 0 < off.order < best.order:
        return None
    return best, off


def choose(tried: Sequence[Tried], turns: InTurns | None) -> Tried | None:
    """The best of the last searches, and no batching unless that is surely worse.

    Args:
        tried: all searches.
        turns: the result of loading the `rivals` in turns, if they were.

    Returns:
        None where no candidate holds the objectives.
    """
    last = [one for one in tried if one.last and one.order > 0]
    off = next((one for one in last if one.candidate == OFF), None)
    best = max(last, key=lambda one: one.order, default=None)
    if best is None or off is None:
        return best
    return best if turns is not None and turns.sure else off


def words(chosen: Tried | None, tried: Sequence[Tried], turns: InTurns | None) -> str:
    """The recommendation in one line."""
    if chosen is None:
        return "no combination holds the objectives"
    beside = "".join(f"; {line}" for line in side_by_side(tried, turns))
    if chosen.candidate == OFF:
        return (
            f"recommended: no batching, {chosen.found.knee.words}: nothing is surely better{beside}"
        )
    off = next((one for one in tried if one.last and one.candidate == OFF), None)
    if off is not None:
        beside = f"; without batching {off.found.knee.words}{beside}"
    return f"recommended: {chosen.candidate.name}: {chosen.found.knee.words}{beside}"


def side_by_side(tried: Iterable[Tried], turns: InTurns | None) -> list[str]:
    """The result of loading the `rivals` in turns, as a line; none if they were not."""
    pair = rivals(tried)
    return [] if turns is None or pair is None else [f"{pair[0].candidate.name} {turns.words}"]


def evidence(
    chosen: Tried,
    tried: Sequence[Tried],
    turns: InTurns | None,
    objectives: Objectives,
    settings: Settings,
    command: str,
) -> list[str]:
    """The lines above the parameters in the file: where they come from, and what was measured."""
    about = machine()
    limits = ", ".join(f"{name} {limit:g}" for name, limit in objectives.limits.items())
    lines = [
        f"Recommended by: {command}",
        f"on {about['cores']} cores of {about['processor']}; other machines want other values.",
        f"Objectives: {limits}. Sent: {settings.signature}, {settings.batch} images a request.",
        "Highest rates that hold them, requests/s:",
    ]
    lines += [
        f"  {one.candidate.name}: {one.found.knee.words}{' <-' if one is chosen else ''}"
        for one in tried
        if one.last
    ]
    return [
        *lines,
        *(f"Side by side: {line}." for line in side_by_side(tried, turns)),
        *SHARED_FATE,
    ]
