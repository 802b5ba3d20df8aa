"""Figures as a machine reads them: build/<name>.json, one entry a figure, each with its bar.

figures = Figures("parity", command="python -m export.parity")
figures.add("predict_images.max_difference", 0.0004, "probability", at_most=0.005)
sys.exit(figures.write())
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from foundation import files, terminal
from foundation.command_line import one_line

BUILD_DIR = Path("build")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number and the bar it is held against."""

    name: str
    value: float | int | bool | str | None
    unit: str
    bar: str | None
    """The bar in words, such as "<= 0.005"; None where there is none."""
    holds: bool | None
    """Whether the bar holds; None where there is none, or where the value does not tell."""

    @property
    def verdict(self) -> str:
        """In a word, for people; empty where there is no bar."""
        if self.bar is None:
            return ""
        return {True: "holds", False: "FAILS", None: "unknown"}[self.holds]


class Figures:
    """Collects figures and writes them to build/<name>.json."""

    def __init__(self, name: str, command: str):
        self.name = name
        self.command = command
        self.results: list[Figure] = []
        self.started = datetime.datetime.now(datetime.timezone.utc)

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
        """Adds a figure; a NaN never holds a bar.

        Args:
            name: stable from run to run, dotted from the general to the particular.
            value: as measured.
            unit: such as "s", "images/s", "probability"; "" for a bare ratio or count.
            at_most: the bar from above.
            at_least: the bar from below.
            unknown: the value does not tell whether the bar holds, because it is known too little.
        """
        bars = []
        holds = None
        if at_most is not None:
            bars.append(f"<= {at_most:g}")
            holds = isinstance(value, (int, float)) and value <= at_most
        if at_least is not None:
            bars.append(f">= {at_least:g}")
            above = isinstance(value, (int, float)) and value >= at_least
            holds = above if holds is None else holds and above
        bar = " and ".join(bars) or None
        if unknown:
            holds = None
        self.results.append(Figure(name=name, value=value, unit=unit, bar=bar, holds=holds))

    @property
    def hold(self) -> bool:
        """Whether every bar is known to hold."""
        return all(figure.holds or figure.bar is None for figure in self.results)

    def write(self, directory: Path = BUILD_DIR, *, told: bool = True) -> int:
        """Writes the file (aside, then renamed), prints a line a figure, returns the exit code.

        Args:
            directory: receives <name>.json.
            told: print the figures to stderr and the path to stdout.

        Returns:
            0 if every bar holds, else 1.
        """
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.name}.json"
        write_json(
            path,
            {
                "name": self.name,
                "command": self.command,
                "commit": git_commit(),
                "machine": machine(),
                "started": self.started.isoformat(timespec="seconds"),
                "results": [dataclasses.asdict(figure) for figure in self.results],
            },
        )
        if told:
            self._tell(path)
        return 0 if self.hold else 1

    def _tell(self, path: Path) -> None:
        width = max((len(figure.name) for figure in self.results), default=0)
        for figure in self.results:
            value = f"{figure.value:.6g}" if isinstance(figure.value, float) else str(figure.value)
            line = one_line(f"  {figure.name:<{width}}  {value} {figure.unit}")
            if figure.bar:
                word = terminal.judged(figure.verdict, sys.stderr)
                line += f"  bar {figure.bar}: {word}"
            print(line, file=sys.stderr)
        print(path)


_NUMBER = r"(?:-?[\d.]+(?:e[-+]?\d+)?|null|true|false)"
_NUMBERS = re.compile(rf"\[\n +({_NUMBER}(?:,\n +{_NUMBER})*)\n +\]")
"""As json.dumps breaks them; within a text there is no line break."""

_BREAK = re.compile(r",\n +")


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file; a reader never sees half of it.

    NaN and infinities are written as null, which every JSON reader takes. Lists of numbers take a
    line each, so that a confusion matrix of 300 classes is no file of 180,000 lines.
    """
    text = json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False)
    text = _NUMBERS.sub(lambda found: "[" + _BREAK.sub(", ", found[1]) + "]", text)
    files.write(path, text + "\n")


def finite(content: Any) -> Any:
    """The content with null in place of NaN and infinities, which JSON does not have."""
    if isinstance(content, float):
        return content if content == content and abs(content) != float("inf") else None
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    return content


def machine() -> dict[str, Any]:
    """What a figure must be read with: processor, cores, system, Python."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def git_commit() -> str | None:
    """The commit of the working tree, with "+" where it has changes; None outside of git."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes else "")


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
