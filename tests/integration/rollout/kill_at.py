"""Runs a rollout command that kills itself, as kill -9 does, at its Nth effect on the outside.

    python -m tests.integration.rollout.kill_at N canary 2 --config …

Effects: a file opened for writing, renamed, removed or flushed to the disk; a server told or asked.
Exit code as the command's where it has fewer effects.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from serving.fleet import fleet
from serving.rollout.__main__ import main


class Killer:
    """Counts effects.

    Args:
        last: the number of the effect that is not reached any more.
    """

    def __init__(self, last: int):
        self._left = last

    def effect(self) -> None:
        """One more."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Of the interpreter: what happens to files."""
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.remove"):
            self.effect()

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with an effect before and after it."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.effect()
            found = function(*arguments, **named)
            self.effect()
            return found

        return wrapped


if __name__ == "__main__":
    killer = Killer(int(sys.argv[1]))
    os.fsync = killer.around(os.fsync)
    fleet.Fleet.reload = killer.around(fleet.Fleet.reload)  # type: ignore[method-assign]
    fleet.Fleet.wait = killer.around(fleet.Fleet.wait)  # type: ignore[method-assign]
    sys.addaudithook(killer.audit)
    sys.exit(main(sys.argv[2:]))
