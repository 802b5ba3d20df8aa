"""What a fork takes away: threads are not there in the child, nor what they were doing.

A lock that one of them held is renewed. gRPC's asyncio cannot be: one thread polls for all of a
process's asyncio channels, and with grpcio up to 1.76 at least, whatever is opened in the child of
a process where one was open hangs past every deadline, or ends the process.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final, Protocol


class Locked(Protocol):
    """Something with a re-entrant lock."""

    _lock: threading.RLock


class MayBeOpen(Protocol):
    """Something with a channel."""

    @property
    def is_open(self) -> bool: ...  # noqa: D102


_LOCKED: Final[weakref.WeakSet[Locked]] = weakref.WeakSet()


def renew_after_fork(owner: Locked) -> None:
    """Gives the owner a new lock in the child of each fork to come."""
    _LOCKED.add(owner)


class Poller:
    """gRPC's thread for asyncio: whether this process came out of a fork that took it away."""

    lost = False
    users: Final[weakref.WeakSet[MayBeOpen]] = weakref.WeakSet()
    """Those that have an asyncio channel, or had one."""


def _renew() -> None:
    for owner in list(_LOCKED):
        owner._lock = threading.RLock()
    if any(user.is_open for user in Poller.users):
        Poller.lost = True


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_renew)
