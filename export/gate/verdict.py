"""What a verdict of the gate is made of: limits, checks, and when they let a version pass."""

from __future__ import annotations

import dataclasses
from typing import Any

NOT_REACHED = "not reached"
SKIPPED = "skipped"
ALONE = "there is no other version to compare with"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a candidate is held against."""

    margin: float
    """how much worse than stable balanced accuracy, area and robustness may be; 0-1"""
    max_latency_ratio: float
    max_latency_ms: float | None
    """of the candidate's 95th percentile"""
    max_bytes_ratio: float
    max_bytes: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One question and its answer."""

    name: str
    holds: bool | None
    """None: SKIPPED or NOT_REACHED, as `received` says"""
    expected: str
    received: str
    detail: dict[str, Any]
    """the figures behind it; under "note" what a reader should know"""

    @property
    def word(self) -> str:
        """For people."""
        return {True: "holds", False: "FAILS", None: self.received}[self.holds]


def passed(checks: list[Check]) -> bool:
    """Whether every check holds, or was skipped because there is nothing to compare with."""
    return all(check.holds or check.received == SKIPPED for check in checks)


def skipped(name: str, **figures: Any) -> Check:
    """A check that compares, where there is nothing to compare with; with what was found anyway."""
    return Check(
        name=name, holds=None, expected="", received=SKIPPED, detail={"note": ALONE, **figures}
    )


def not_reached(name: str, why: str) -> Check:
    """A check that could not be made."""
    return Check(name=name, holds=None, expected="", received=NOT_REACHED, detail={"note": why})
