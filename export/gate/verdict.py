"""What a verdict of the gate is made of: limits, checks, and when they let a version pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

HOLDS, FAILS = "holds", "fails"
UNKNOWN = "unknown"
"""The figures do not tell: their interval reaches to both sides of the limit. It refuses too."""
NOT_REACHED = "not reached"
SKIPPED = "skipped"
ALONE = "there is no other version to compare with"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a candidate is held against."""

    margin: float = 0.05
    """how much worse than stable balanced accuracy, area and robustness may be; 0-1. With 650
    images, on a tenth of which the versions disagree, an equally good version passes 98 times in
    100; with a margin of 0.03, 73 times."""
    log_loss_margin: float = 0.1
    """how much worse log loss may be, of more than two classes; nats. A tenth less likelihood of
    the right class, in the geometric mean."""
    max_latency_ratio: float = 1.25
    """of the median latencies, candidate to stable"""
    max_latency_ms: float | None = None
    """of the candidate's 95th percentile"""
    max_bytes_ratio: float = 1.5
    """of the folders' sizes without assets.extra, candidate to stable"""
    max_bytes: int | None = None
    """of the candidate's folder"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One question and its answer."""

    name: str
    state: str
    """HOLDS, FAILS, UNKNOWN, SKIPPED or NOT_REACHED"""
    expected: str
    received: str
    detail: dict[str, Any]
    """the figures behind it; under "note" what a reader should know"""
    cures: tuple[str, ...] = ()
    """of UNKNOWN: what would make it known, or hold, each in half a sentence"""

    @property
    def word(self) -> str:
        """For people."""
        return "FAILS" if self.state == FAILS else self.state

    def as_json(self) -> dict[str, Any]:
        """For gate.json: as it is, and under "holds" true, false, or null for any other state."""
        return dataclasses.asdict(self) | {"holds": {HOLDS: True, FAILS: False}.get(self.state)}


def state_of(holds: bool) -> str:
    """The state of a check that can be told."""
    return HOLDS if holds else FAILS


def passed(checks: Sequence[Check]) -> bool:
    """Whether every check holds, or was skipped because there is nothing to compare with."""
    return all(check.state in (HOLDS, SKIPPED) for check in checks)


def why_refused(checks: Sequence[Check]) -> str:
    """Which checks refuse a version, in half a line; what was not reached follows from them."""
    failed = ", ".join(check.name for check in checks if check.state == FAILS)
    unknown = ", ".join(check.name for check in checks if check.state == UNKNOWN)
    if not unknown:
        return failed
    return f"{failed or 'nothing fails'}; unknown: {unknown}"


def skipped(name: str, **figures: Any) -> Check:
    """A check that compares, where there is nothing to compare with; with what was found anyway."""
    return Check(
        name=name, state=SKIPPED, expected="", received=SKIPPED, detail={"note": ALONE, **figures}
    )


def not_reached(name: str, why: str) -> Check:
    """A check that could not be made."""
    return Check(
        name=name, state=NOT_REACHED, expected="", received=NOT_REACHED, detail={"note": why}
    )
