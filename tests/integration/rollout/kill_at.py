"""Rollout commands that kill themselves, as kill -9 does, at their Nth effect on the outside.

Effects: a file opened for writing, renamed, removed or flushed to the disk; a server told or asked.

Run as a program, this is a process with everything imported, which forks for each command: the
imports would cost most. It opens no connection itself, as gRPC does not survive a fork.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from serving.fleet.fleet import Fleet
from serving.rollout.__main__ import main
from tests.environments import ROOT


class Commands:
    """Runs commands in forks of a process of its own. Close it.

    Args:
        folder: receives the commands' output.
    """

    def __init__(self, folder: Path):
        self._log = folder / "commands.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.rollout.kill_at"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate(timeout=20)

    def run(self, arguments: Sequence[str], killed_at: int = 0) -> tuple[int, list[str]]:
        """Runs a command.

        Args:
            arguments: of the command line.
            killed_at: the number of the effect that is not reached any more; 0 kills never.

        Returns:
            The exit code, -SIGKILL where it was killed; and the kinds of its effects.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([killed_at, *arguments]) + "\n")
        self._process.stdin.flush()
        code, effects = json.loads(self._process.stdout.readline())
        assert code in (0, -signal.SIGKILL), self._log.read_text()
        return code, effects


class Killer:
    """Counts effects, and tells each one's kind.

    Args:
        last: the number of the effect that is not reached any more; 0 for none.
        told: file descriptor that receives the kinds.
    """

    def __init__(self, last: int, told: int):
        self._left = last
        self._told = told

    def effect(self, kind: str) -> None:
        """One more."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(self._told, f"{kind}\n".encode())

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Hears from the interpreter what happens to files."""
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            self.effect("open")
        elif event in ("os.rename", "os.remove"):
            self.effect(event.removeprefix("os."))

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with an effect before and after it."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.effect(function.__name__)
            found = function(*arguments, **named)
            self.effect(f"after {function.__name__}")
            return found

        return wrapped


def _forked(last: int, arguments: Sequence[str]) -> tuple[int, list[str]]:
    effects, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)  # stdout is the answers'
        code = 1
        try:
            code = _command(Killer(last, told), arguments)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(told)
    with os.fdopen(effects) as lines:
        kinds = lines.read().split("\n")[:-1]
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), kinds


def _command(killer: Killer, arguments: Sequence[str]) -> int:
    os.fsync = killer.around(os.fsync)
    Fleet.reload = killer.around(Fleet.reload)  # type: ignore[method-assign]
    Fleet.wait = killer.around(Fleet.wait)  # type: ignore[method-assign]
    sys.addaudithook(killer.audit)
    return main(arguments)


if __name__ == "__main__":
    for line in sys.stdin:
        last, *arguments = json.loads(line)
        print(json.dumps(_forked(last, arguments)), flush=True)
