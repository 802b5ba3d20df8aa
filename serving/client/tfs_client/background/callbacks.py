"""A caller's function that is called with values, and whose exceptions are logged, not raised."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from tfs_client.background.forks import renew_after_fork

COMPLAINT_S: Final = 1.0
"""Shortest time between two log lines about one that fails, in seconds."""

Value = TypeVar("Value")

_log = logging.getLogger(__name__)


class Callback(Generic[Value]):
    """Calls a function with each value; what it raises is logged, at most once a second.

    Args:
        function: called with each value; None means that nothing is called.
        name: what the log calls it.
    """

    def __init__(self, function: Callable[[Value], None] | None, name: str):
        self._function = function
        self._name = name
        self._complained_s = -math.inf
        self._silenced = 0
        # Re-entrant, because a log handler may come back here.
        self._lock = threading.RLock()
        renew_after_fork(self)

    def __call__(self, value: Value) -> None:
        """Calls the function; never raises."""
        if self._function is None:
            return
        try:
            self._function(value)
        except Exception:
            self.complain()

    def complain(self) -> None:
        """Logs the exception that is being handled, unless the last line is too recent."""
        with self._lock:
            if time.monotonic() < self._complained_s + COMPLAINT_S:
                self._silenced += 1
                return
            self._complained_s = time.monotonic()
            silenced, self._silenced = self._silenced, 0
        _log.exception(f"{self._name} failed (and %d times since the last line)", silenced)
