"""A benchmark as one self-contained HTML page: its bars, plots and tables, and every figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.figure

from foundation.figures import Figures
from foundation.pages import page

TEMPLATE = Path(__file__).with_name("report.html")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text; the first columns are words, the others numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 0
    """How many columns are words: they stand on the left."""


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading, a note, and what is shown."""

    title: str
    note: str
    shown: Callable[[], matplotlib.figure.Figure] | Table
    """Draws a plot, or a table."""

    @property
    def plot(self) -> str:
        """The plot; empty where a table is shown."""
        return "" if isinstance(self.shown, Table) else page.drawn(self.title, self.shown)

    @property
    def table(self) -> Table | None:
        """The table; None where a plot is shown."""
        return self.shown if isinstance(self.shown, Table) else None


@dataclasses.dataclass
class Page:
    """What there is to show, in order."""

    title: str
    about: str
    sections: list[Section] = dataclasses.field(default_factory=list)
    absent: dict[str, str] = dataclasses.field(default_factory=dict)
    """What could not be measured, and why."""

    def write(self, path: Path, figures: Figures) -> None:
        """Writes the page.

        Args:
            path: of the HTML file.
            figures: those with a bar come first; all stand at the end.
        """
        page.write(
            path,
            TEMPLATE,
            origin=page.origin(figures.command, figures.started),
            title=self.title,
            about=self.about,
            figures=figures.results,
            holds=figures.hold,
            sections=self.sections,
            absent=self.absent,
        )
