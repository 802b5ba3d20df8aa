"""A caller's function that is told of something and harms nobody.

Knows nothing about what it is told.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from tfs_client.background.forks import renew_after_fork

COMPLAINT_S: Final = 1.0
"""At least so long between two log lines about one that fails."""

Value = TypeVar("Value")

_log = logging.getLogger(__name__)


class Callback(Generic[Value]):
    """Hands values on to a function; what it raises is logged, once a second, and goes no further.

    Args:
        function: told of each value; None: nobody is.
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
        """Never raises."""
        if self._function is None:
            return
        try:
            self._function(value)
        except Exception:
            self.complain()

    def complain(self) -> None:
        """Logs the exception that is being handled, unless the last line is too young."""
        with self._lock:
            if time.monotonic() < self._complained_s + COMPLAINT_S:
                self._silenced += 1
                return
            self._complained_s = time.monotonic()
            silenced, self._silenced = self._silenced, 0
        _log.exception(f"{self._name} failed (and %d times since the last line)", silenced)
