"""What a search for the knee is asked to do, and which searches cannot be done."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from foundation.command_line import InputError
from loadtest.plan.settings import Settings
from loadtest.verdicts.knee_search import Limits
from loadtest.verdicts.objectives import Objectives

P99_MS: Final = 100.0
"""The objective where none is given."""

SECONDS_EACH: Final = 8.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """One search."""

    settings: Settings
    """Who is asked, and for what. The search chooses rate, shape and duration itself."""
    objectives: Objectives
    """What a rate has to hold."""
    limits: Limits
    """How far to go."""
    seconds_each: float = SECONDS_EACH
    """Of one measurement."""

    def check(self) -> None:
        """Refuses what no search can do.

        Raises:
            InputError: naming the first one.
        """
        self._check_settings()
        self._check_limits()
        lowest = dataclasses.replace(
            self.settings,
            rate=self.limits.lowest,
            duration_s=self.seconds_each,
            objectives=None,
        )
        lowest.check()

    def _check_settings(self) -> None:
        for flag in ("rate", "users", "shape", "trace", "duration_s"):
            value = getattr(self.settings, flag)
            if value is not None:
                raise InputError(
                    f"Expected no --{flag.replace('_', '-')}, for the search chooses the rates. "
                    f"Received: {value}"
                )
        if self.settings.at:
            raise InputError(
                "Expected no --at: a knee is that of a server left alone. Received: one"
            )

    def _check_limits(self) -> None:
        limits = self.limits
        for flag in ("lowest", "width", "most"):
            value = getattr(limits, flag)
            if not 0 < value < math.inf:
                raise InputError(f"Expected --{flag} above 0. Received: {value:g}")
        if not limits.lowest < limits.highest < math.inf:
            raise InputError(
                f"Expected --highest above --lowest, {limits.lowest:g}. "
                f"Received: {limits.highest:g}"
            )
        if not 1 <= self.seconds_each < math.inf or not limits.seconds > 0:
            raise InputError(
                "Expected --seconds-each of 1 or more, and --seconds above 0. "
                f"Received: {self.seconds_each:g} and {limits.seconds:g}"
            )


def objectives_of(p99_ms: float | None, settings: Settings) -> Objectives:
    """What a rate has to hold: the settings' file, or a p99.

    Args:
        p99_ms: --p99-ms; None where it was not given.
        settings: with or without a file of objectives.

    Raises:
        InputError: both, or a p99 that cannot be.
    """
    given = settings.gate
    if given is None:
        p99_ms = P99_MS if p99_ms is None else p99_ms
        if not 0 < p99_ms < math.inf:
            raise InputError(f"Expected --p99-ms above 0. Received: {p99_ms:g}")
        return Objectives(limits={"p99_ms": p99_ms, "error_rate": 0.001}, source="--p99-ms")
    if p99_ms is not None:
        raise InputError("Expected --p99-ms or --objectives. Received: both; leave one out")
    return given
