"""What a fork breaks: the parent's other threads do not exist in the child.

A lock that one of them held is renewed in the child. gRPC renews itself, unless a thread is in a
call at that moment: then it leaves that out, and the child's calls end it (SIGABRT, SIGSEGV) or
not, by chance. gRPC's asyncio cannot be renewed: one thread polls for all asyncio channels of a
process. With grpcio up to 1.76 at least, a channel opened in the child of a process that had one
open hangs past every deadline, or ends the process.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final, Protocol

_OFF: Final = ("0", "f", "false", "n", "no")
"""Values by which gRPC's own environment variable turns its fork handlers off."""


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


class Grpc:
    """Whether gRPC works in this process, as far as forks bear on it."""

    lost = ""
    """Why it does not: what its parent was doing when it forked; empty where it works."""
    used = False
    """A channel was made here."""
    users: Final[weakref.WeakSet[MayBeOpen]] = weakref.WeakSet()
    """The clients that have an asyncio channel, or had one."""
    calls: Final[set[object]] = set()
    """What other threads wait for: one item for each call of theirs. gRPC leaves its fork handlers
    out while there is one, and then ends the child sooner or later."""


def _renew() -> None:
    for owner in list(_LOCKED):
        owner._lock = threading.RLock()
    if any(user.is_open for user in Grpc.users):
        Grpc.lost = "while an AsyncClient was open; close it before the fork"
    elif Grpc.calls:
        Grpc.lost = "while a call was under way in another thread; let it end before the fork"
    elif Grpc.used and os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower() in _OFF:
        Grpc.lost = "after a call, with GRPC_ENABLE_FORK_SUPPORT=0; leave that out"
    Grpc.calls.clear()
    Grpc.used = False


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_renew)
