"""Figures and the bars that they are held against."""

from __future__ import annotations

from foundation.figures import Figures


class Verdict(Figures):
    """The figures of one run.

    A quick run is too short to judge speed and memory: only what `require` adds has its bar there.
    """

    def __init__(self, name: str, command: str, *, quick: bool = False) -> None:
        super().__init__(name, command)
        self._quick = quick

    def add(
        self,
        name: str,
        value: float | int | bool | str | None,
        unit: str,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        unknown: bool = False,
    ) -> None:
        """Adds a figure, see `Figures.add`; a quick run leaves its bar out."""
        if self._quick:
            at_most = at_least = None
        super().add(name, value, unit, at_most=at_most, at_least=at_least, unknown=unknown)

    def require(self, name: str, value: int, unit: str, *, at_most: float) -> None:
        """Adds a figure whose bar holds in every run: lost requests, wrong answers."""
        super().add(name, value, unit, at_most=at_most)
