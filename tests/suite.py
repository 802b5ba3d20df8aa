"""How the whole suite runs: in which order, and what it says at the end about skipped tests.

tests/conftest.py makes it known to pytest.
"""

from __future__ import annotations

import collections
import fcntl
import os
import re
import tempfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

SECONDS = "suite/seconds"
"""In pytest's cache: file → seconds of its tests in its last run."""

SHARED = "sample_run"
"""The fixture that takes longest; several processes share it."""

_UNKNOWN_S, _UNKNOWN_UNIT_S = 30.0, 1.0
"""Of a file that has not been run yet."""

_UNIT = ("tests/unit/", "serving/client/tests/")

_NEEDS = re.compile(r"needs (.+?): (.+)")


class Order:
    """Starts with the files that took longest, so that processes end at about the same time.

    Only one process starts with a file that needs the run of the sample set: the others would wait
    until it is made.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._cache = getattr(config, "cache", None)  # None with -p no:cacheprovider
        self._seconds: dict[str, float] = collections.defaultdict(float)

    # First, so that a plugin that shuffles has the last word.
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sorts files; tests of one file stay as they are."""
        known = self._cache.get(SECONDS, {}) if self._cache else {}
        files = {_file(item) for item in items}
        order = sorted(files, key=lambda file: (-known.get(file, _guess_s(file)), file))
        wait = {_file(item) for item in items if SHARED in getattr(item, "fixturenames", ())}
        first = [file for file in order if file in wait][:1]
        first += [file for file in order if file not in wait][: processes() - 1]
        place = {file: number for number, file in enumerate(dict.fromkeys([*first, *order]))}
        items.sort(key=lambda item: place[_file(item)])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Adds up what each file takes."""
        self._seconds[_file(report)] += report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Keeps it for the next run; only in the process that has seen all reports."""
        if self._cache and not hasattr(session.config, "workerinput"):
            self._cache.set(SECONDS, {**self._cache.get(SECONDS, {}), **self._seconds})


def _file(test: pytest.Item | pytest.TestReport) -> str:
    return test.nodeid.partition("::")[0]


def processes() -> int:
    """One more than there are cores: tests often wait for a server or a load."""
    return (os.cpu_count() or 1) + 1


def _guess_s(file: str) -> float:
    return _UNKNOWN_UNIT_S if file.startswith(_UNIT) else _UNKNOWN_S


class Turns:
    """Lets a test that is marked as `alone` run while no other test of the run does.

    Others share the machine. Processes agree by locks on two files: whoever waits for the machine
    holds the door meanwhile, so that it is not overtaken for ever.
    """

    def __init__(self, config: pytest.Config) -> None:
        number = os.environ.get("PYTEST_XDIST_TESTRUNUID")
        self._folder = Path(tempfile.gettempdir()) / f"pytest-turns-{number}" if number else None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Waits for the turn of a test; its set-up is a part of it."""
        if self._folder is None:  # one process: every test is alone
            return (yield)
        self._folder.mkdir(exist_ok=True)
        alone = item.get_closest_marker("alone") is not None
        with (self._folder / "machine").open("a") as machine:
            with (self._folder / "door").open("a") as door:
                fcntl.flock(door, fcntl.LOCK_EX)
                fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            return (yield)


class Printable:
    """Writes characters that UTF-8 cannot hold as their numbers.

    Else a test that logs a file's odd name would end the run, when its report is sent to the
    process that gathers them.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self) -> Generator[None, Any, Any]:
        """Goes over the report as it is sent."""
        return _printable((yield))


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _printable(held) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_printable(held) for held in value)
    return value


class Skipped:
    """Says in one line what was skipped, and what brings it.

    A test that lacks a tool skips itself with "needs <tool>: <command that brings it>".
    """

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Writes the line, if there is anything to say."""
        reports = terminalreporter.stats.get("skipped", [])
        if reports:
            terminalreporter.write_line(in_one_line(report.longrepr[2] for report in reports))


def in_one_line(reasons: Iterable[str]) -> str:
    """The reasons of all skipped tests, the most frequent first.

    Args:
        reasons: as pytest reports them, such as "Skipped: needs promtool: apt-get install
            prometheus".
    """
    counted = collections.Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    parts = []
    for reason, count in counted.most_common():
        needed = _NEEDS.fullmatch(reason)
        words = f"for want of {needed[1]} ({needed[2]})" if needed else f"({reason})"
        parts.append(f"{count} {words}")
    return f"skipped: {', '.join(parts)}"
