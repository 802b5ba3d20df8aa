"""Which mirrors have not ended, and how the others ended."""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

from tfs_client.background.forks import renew_after_fork

Item = TypeVar("Item")


class UnderWay(Generic[Item]):
    """Admits at most so many at once, and counts each outcome. Any thread may call any method.

    In a child process it begins anew, because what its parent had under way does not end there.

    Args:
        most: how many may be under way at once; more are counted as "dropped".
    """

    def __init__(self, most: int):
        self._most = most
        # Re-entrant, because a signal's or a log's handler may come back here.
        self._lock = threading.RLock()
        renew_after_fork(self)
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._counts: collections.Counter[str] = collections.Counter()
        self._items: set[Item] = set()

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            self._begin()

    @property
    def counts(self) -> dict[str, int]:
        """Outcome → how often."""
        self._check_process()
        return dict(self._counts)

    def __iter__(self) -> Iterator[Item]:
        self._check_process()
        with self._lock:
            return iter(list(self._items))

    def __len__(self) -> int:
        self._check_process()
        return len(self._items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def admit(self, item: Item) -> bool:
        """Whether there is room for one more; it is under way then."""
        with self._lock:
            self._check_process()
            if len(self._items) >= self._most:
                self._counts["dropped"] += 1
                return False
            self._items.add(item)
            return True

    def count(self, outcome: str) -> None:
        """Counts one that was never under way."""
        with self._lock:
            self._check_process()
            self._counts[outcome] += 1

    def end(self, item: Item, outcome: str) -> bool:
        """Ends one and counts its outcome; returns whether it had not ended before."""
        with self._lock:
            if item not in self._items:
                return False
            self._items.remove(item)
            self._counts[outcome] += 1
            return True
