"""Runs cases and says which hold; what the tests and `make conformance` share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.conformance.ask import Server
from tests.conformance.case import Case, Source
from tests.conformance.compare import code_holds, holds
from tests.conformance.whole_table import DIFFERS


@dataclass(frozen=True)
class Verdict:
    """What a case's steps received, and what that is worth."""

    key: str
    case: Case
    received: list[Any]

    @property
    def steps_that_hold(self) -> list[bool]:
        return [holds(step.expected, got) for step, got in zip(self.case.steps, self.received)]

    @property
    def codes_that_hold(self) -> list[bool]:
        return [code_holds(step.expected, got) for step, got in zip(self.case.steps, self.received)]

    @property
    def holds(self) -> bool:
        return all(self.steps_that_hold)

    @property
    def fine(self) -> bool:
        """It holds, or it differs in a way that is known and has the right codes."""
        return self.holds or (self.key in DIFFERS and all(self.codes_that_hold))


def run(key: str, case: Case, server: Server) -> Verdict:
    """Runs one case against the server of its setup."""
    return Verdict(key, case, server.run(case))


@dataclass(frozen=True)
class Recorded:
    """How the recorded requests fared."""

    requests: int
    codes_equal: int
    answers_equal: int


def recorded(verdicts: Iterable[Verdict]) -> Recorded:
    """Counts the requests whose answers were recorded on a real server."""
    found = [v for v in verdicts if v.case.source is Source.RECORDED]
    return Recorded(
        requests=_total(found, lambda verdict: [True] * len(verdict.case.steps)),
        codes_equal=_total(found, lambda verdict: verdict.codes_that_hold),
        answers_equal=_total(found, lambda verdict: verdict.steps_that_hold),
    )


def _total(verdicts: list[Verdict], of: Callable[[Verdict], list[bool]]) -> int:
    return sum(sum(of(verdict)) for verdict in verdicts)
