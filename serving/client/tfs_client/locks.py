"""Locks that outlive a fork: in the child, a thread that held one is not there to release it."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final, Protocol


class Locked(Protocol):
    """Something with a re-entrant lock."""

    _lock: threading.RLock


_LOCKED: Final[weakref.WeakSet[Locked]] = weakref.WeakSet()


def renew_after_fork(owner: Locked) -> None:
    """Gives the owner a new lock in the child of each fork to come."""
    _LOCKED.add(owner)


def _renew_locks() -> None:
    for owner in list(_LOCKED):
        owner._lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_renew_locks)
