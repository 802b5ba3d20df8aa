"""The load test's commands: run in this process, or in one of their own where that is the point."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]

PATIENCE_S = 60.0

REPEATED = ("--at", "--metrics")
"""Flags that may stand several times."""

"""For what takes a second on a machine that has nothing else to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
    """What a command returned and left."""

    code: int
    out: str
    """stdout"""
    told: str
    """stderr"""
    folder: Path
    """Where it was run."""

    @property
    def figures(self) -> dict[str, Any]:
        """Of build/loadtest.json, by name."""
        return figures(self.folder)

    @property
    def recording(self) -> dict[str, Any]:
        """build/loadtest-recording.json"""
        return recording(self.folder)

    @property
    def rows(self) -> list[dict[str, str]]:
        """build/loadtest-samples.csv"""
        return rows(self.folder)

    @property
    def page(self) -> str:
        """build/loadtest.html"""
        return (self.folder / "build" / "loadtest.html").read_text()


def figures(folder: Path, name: str = "loadtest") -> dict[str, Any]:
    """The figures of build/<name>.json, by their names."""
    content = json.loads((folder / "build" / f"{name}.json").read_text())
    return {row["name"]: row["value"] for row in content["results"]}


def recording(folder: Path) -> dict[str, Any]:
    """What a load leaves for machines."""
    found: dict[str, Any] = json.loads((folder / "build/loadtest-recording.json").read_text())
    return found


def rows(folder: Path) -> list[dict[str, str]]:
    """A load's requests."""
    with (folder / "build" / "loadtest-samples.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def run(main: Callable[[Sequence[str]], int], *arguments: str, folder: Path) -> Done:
    """Runs a command's main in this process, as if it were started in `folder`.

    What the command starts itself, such as the processes that send, is started all the same.
    """
    out, told = io.StringIO(), io.StringIO()
    before = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
            code = main(_last(arguments))
    finally:
        os.chdir(before)
    return Done(code=code, out=out.getvalue(), told=told.getvalue(), folder=folder)


def _last(arguments: Sequence[str]) -> list[str]:
    """Of a flag that stands twice only the last: a test's own flag after those of all tests."""
    kept: list[str] = []
    overruled = False
    for at, one in enumerate(arguments):
        if one.startswith("--"):
            overruled = one in arguments[at + 1 :] and one not in REPEATED
        if not overruled:
            kept.append(one)
    return kept


def start(module: str, *arguments: str, folder: Path) -> subprocess.Popen[str]:
    """Starts a command in a process of its own, for tests that interrupt or kill it."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *_last(arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Looks again and again until it holds; fails after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"no {what} within {PATIENCE_S} s"
        time.sleep(0.01)


@contextlib.contextmanager
def once(condition: Callable[[], Any], what: str, then: Callable[[], Any]) -> Iterator[None]:
    """Does something as soon as a condition holds, while the block runs a command."""
    wrong: list[BaseException] = []

    def watch() -> None:
        try:
            wait_for(condition, what)
            then()
        except BaseException as error:  # told in the test's thread
            wrong.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()
    assert not wrong, wrong
