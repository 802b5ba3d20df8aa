"""Commands that are run in the middle of a load: a promotion, a rollback, a kill, a restart.

    --at "10:python -m serving.rollout promote" --at "30:kill -9 4711"

Any command can be given, because each deployment is changed in its own way. The loop that sends the
load calls `Commands.due` as its seconds pass.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from foundation.command_line import InputError

END_S: Final = 10.0
"""How long a command may take to end after SIGTERM; then it is killed."""

PATIENCE_S: Final = 10.0
"""How long a command may go on after the load."""

LAST_WORDS: Final = 300
"""Characters of its output that are kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class At:
    """A command that is to be run."""

    second: float
    """Since the load's begin."""
    command: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """A command that was run."""

    second: float
    """Of its start, since the load's begin, as planned."""
    started_s: float
    """Unix time."""
    ended_s: float
    """Unix time."""
    command: str
    code: int
    """Its exit code; negative: the signal that ended it."""
    words: str
    """The last line of what it said."""
    stopped: bool = False
    """Whether it still ran when the load was over, and was ended then, such as a server that was
    started again. Its exit code then says nothing."""

    @property
    def failed(self) -> bool:
        """Whether it went wrong, so that the load did not meet the change that was meant."""
        return self.code != 0 and not self.stopped


def parse_at(text: str) -> At:
    """Reads "10:command with arguments". Quotes work as in a shell; nothing else of a shell does.

    Raises:
        InputError: no second, no command, or one that this machine does not have.
    """
    head, _, rest = text.partition(":")
    try:
        second = float(head)
        command = tuple(shlex.split(rest))
    except ValueError:
        second, command = -1.0, ()
    if not 0 <= second < float("inf") or not command:
        raise InputError(
            'Expected --at "SECOND:COMMAND", such as "10:python -m serving.rollout promote". '
            f"Received: {text!r}"
        )
    if shutil.which(command[0], path=_path()) is None:
        raise InputError(
            f"Expected a command of this machine in --at. Received: {command[0]!r}; "
            "for several in a row: \"10:sh -c 'one && another'\""
        )
    return At(second=second, command=command)


def _path() -> str:
    """Where commands are looked for: beside this Python first, so that `python` is this one."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


class Commands:
    """Runs commands when they are due. For one thread; always call `end`.

    Args:
        planned: in any order.
    """

    def __init__(self, planned: Sequence[At]):
        self._waiting = sorted(planned, key=lambda one: one.second)
        self._running: list[_Running] = []
        self._events: list[Event] = []

    def due(self, second: float) -> None:
        """Starts what is due and notes what has ended. Call it about every tenth of a second."""
        while self._waiting and self._waiting[0].second <= second:
            self._running.append(_Running(self._waiting.pop(0)))
        for one in [one for one in self._running if one.process.poll() is not None]:
            self._running.remove(one)
            self._events.append(one.event())

    def end(self, patience_s: float = PATIENCE_S) -> tuple[tuple[Event, ...], tuple[At, ...]]:
        """Waits for the commands that still run, and ends those that take longer.

        Args:
            patience_s: how long to wait.

        Returns:
            The commands that were run, in order of their start; and those that never were, because
            the load ended before they were due.
        """
        deadline = time.monotonic() + patience_s
        while self._running and time.monotonic() < deadline:
            time.sleep(0.05)
            self.due(-1.0)
        for one in self._running:
            self._events.append(one.stop())
        self._running = []
        return tuple(sorted(self._events, key=lambda one: one.started_s)), tuple(self._waiting)


class _Running:
    def __init__(self, planned: At):
        self.planned = planned
        self.started_s = time.time()
        self._said: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            planned.command,
            cwd=Path.cwd(),
            env={**os.environ, "PATH": _path()},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C ends the load, which then ends this
        )

    def event(self, *, stopped: bool = False) -> Event:
        self._said.seek(0)
        lines = [line.strip() for line in self._said if line.strip()]
        self._said.close()
        return Event(
            second=self.planned.second,
            started_s=self.started_s,
            ended_s=time.time(),
            command=shlex.join(self.planned.command),
            code=self.process.returncode,
            words=lines[-1][:LAST_WORDS] if lines else "",
            stopped=stopped,
        )

    def stop(self) -> Event:
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, how)
                self.process.wait(END_S)
                break
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self.process.wait()
        return self.event(stopped=True)
