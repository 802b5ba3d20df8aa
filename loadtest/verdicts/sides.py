"""The two sides of a comparison, A and B, and whether they were loaded alike."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

from foundation.command_line import InputError
from loadtest.results import run_file
from loadtest.results.run_file import RunFile
from loadtest.verdicts import comparison
from loadtest.verdicts.comparison import Slices

OF_THE_SIDES: Final = ("target", "label", "seed", "duration_s", "answers", "objectives", "metrics")
"""Settings that may differ without a note: they are what is compared, or change no latency."""

MUST_BE_ALIKE: Final = ("rate", "users", "shape", "trace", "batch", "signature")
"""Settings that decide how much work a server gets: where they differ, so do the latencies."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """A or B."""

    name: str
    run: RunFile
    label: str | None
    """Only the requests to this label; None: all of the run."""

    @property
    def slices(self) -> Slices:
        """Cut into seconds."""
        return comparison.slices(self.run.recording, label=self.label)


Sides = tuple[Side, Side]


def of_runs(a: Path, b: Path) -> Sides:
    """Two runs.

    Args:
        a: a recording, or the folder of one.
        b: the same.

    Raises:
        InputError: one of them is no recording.
    """
    names = [str(path.parent) if path.suffix else str(path) for path in (a, b)]
    if len(set(names)) < 2:
        names = [str(a), str(b)]
    first, second = (
        Side(name=name, run=run_file.read(path), label=None) for name, path in zip(names, (a, b))
    )
    return first, second


def of_labels(run: RunFile, labels: tuple[str, str]) -> Sides:
    """Two labels of one run.

    Raises:
        InputError: the run has no request to one of them.
    """
    known = {series.label for series, _ in run.recording.series}
    if missing := [label for label in labels if label not in known]:
        raise InputError(
            f"Expected requests to {' and '.join(labels)} in the run. "
            f"Received: none to {' and '.join(missing)}"
        )
    a, b = (Side(name=label, run=run, label=label) for label in labels)
    return a, b


def notes(sides: Sides, *, paired: bool, anyway: bool) -> list[str]:
    """What a reader has to know before the answers.

    Args:
        sides: A and B.
        paired: whether they are two labels of one load.
        anyway: whether to compare what was not loaded alike.

    Raises:
        InputError: they were not loaded alike, and are not to be compared anyway.
    """
    found = []
    for side in sides[:1] if paired else sides:
        whose = "the load" if paired else side.name
        found += [f"{whose} is partial: {words}" for words in side.run.partial]
        if side.run.generator.limited:
            found.append(f"{whose} was {side.run.generator.limited}")
        if side.run.events:
            found.append(f"the servers of {whose} were changed in the middle of it")
    return found if paired else [*found, *_differences(sides[0].run, sides[1].run, anyway)]


def _differences(a: RunFile, b: RunFile, anyway: bool) -> list[str]:
    """How two runs were loaded differently. Raises as `notes`."""
    found = []
    if a.loop != b.loop:
        _unlike(f"one is a closed loop, the other an open one ({a.loop}, {b.loop})", anyway)
    for key in sorted({*a.settings, *b.settings} - {*OF_THE_SIDES}):
        values: tuple[Any, Any] = (a.settings.get(key), b.settings.get(key))
        if values[0] == values[1] or key.startswith("version of "):
            continue
        words = f"{key} is {values[0]} in A and {values[1]} in B"
        if key in MUST_BE_ALIKE:
            _unlike(words, anyway)
        found.append(words)
    if a.machine != b.machine:
        found.append("A and B were loaded from different machines or systems")
    if a.versions == b.versions and a.settings.get("target") == b.settings.get("target"):
        found.append(f"both runs began with the same versions, {dict(a.versions)}")
    return found


def _unlike(words: str, anyway: bool) -> None:
    if not anyway:
        raise InputError(
            f"Expected runs that were loaded alike. Received: {words}; --anyway compares them"
        )
