"""What a fork breaks: the parent's other threads do not exist in the child.

A lock that one of them held is renewed in the child. gRPC's asyncio cannot be renewed: one thread
polls for all asyncio channels of a process. With grpcio up to 1.76 at least, a channel opened in
the child of a process that had one open hangs past every deadline, or ends the process.
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
    """gRPC's thread for asyncio, and whether this process lost it in a fork."""

    lost = False
    users: Final[weakref.WeakSet[MayBeOpen]] = weakref.WeakSet()
    """The clients that have an asyncio channel, or had one."""


def _renew() -> None:
    for owner in list(_LOCKED):
        owner._lock = threading.RLock()
    if any(user.is_open for user in Poller.users):
        Poller.lost = True


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_renew)
