"""One mirrored call, and the road that it takes beside the caller's.

The same connection and nothing else of the client: in a thread or a task of its own, sent once,
without the client's circuits, retry budget, knowledge of signatures and observers.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from tfs_client.call.core import Core
from tfs_client.call.policy import Retry
from tfs_client.call.sender import Sender
from tfs_client.errors import ClosedClientError
from tfs_client.servable import Servable
from tfs_client.shadow.comparisons import Answer, Comparison, compared, failed, version_of
from tfs_client.steps import Steps, Work, walk, walk_async

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from tfs_client.shadow.shadow import Shadow

METADATA: Final = (("x-shadow", "1"),)
"""Sent along, so that servers and meshes can tell."""

Ask: TypeAlias = Callable[[Core, Servable, float], Steps[Sequence[Answer]]]
"""(whom to ask through, whom, when the time is up) to the answers, as many as the caller's."""


class Mirror:
    """One mirrored call: a step that begins it and does not wait for it."""

    def __init__(self, shadow: Shadow, aside: Aside, servable: Servable, answers: Sequence[Answer]):
        self.aside = aside
        self.servable = servable
        self.answers = tuple(answers)
        self.time_s = time.time()
        self.ask: Ask | None = None
        self.task: asyncio.Task[None] | None = None
        self.ended = threading.Event()
        self._shadow = shadow

    def wait(self) -> None:
        """Begins it in a thread of the client's.

        Raises:
            ClosedClientError: it was closed at this moment.
            RuntimeError: there are no more threads, or the interpreter ends.
        """
        # A token's function, say, finds the caller's context there too.
        run = contextvars.copy_context().run
        self.aside.submit(self, lambda: run(walk, self._steps()))

    async def wait_async(self) -> None:
        """Begins it in the running event loop."""
        self.task = asyncio.ensure_future(walk_async(self._steps()))
        self.aside.mirrors.add(self)

    def compared(self, found: Sequence[Answer], tolerance: float) -> list[Comparison]:
        """The answers side by side, where they are not of one version of one server."""
        return [
            compared(
                *(one, other),
                shadow=self.servable.name,
                time_s=self.time_s,
                tolerance=tolerance,
            )
            for one, other in zip(self.answers, found, strict=True)
            if not self.aside.is_same_server
            or (one.model, version_of(one)) != (other.model, version_of(other))
        ]

    def failed(self, error: Exception) -> list[Comparison]:
        """One for each answer."""
        shadow = self.servable.name
        return [failed(one, error, shadow=shadow, time_s=self.time_s) for one in self.answers]

    def give_up(self) -> bool:
        """Ends it untold; returns whether it had not ended."""
        self.aside.mirrors.discard(self)
        if not self._shadow.ended(self, "given_up"):
            return False
        if self.task is not None:
            with contextlib.suppress(RuntimeError):  # its loop was closed
                self.task.get_loop().call_soon_threadsafe(self.task.cancel)
        return True

    def _steps(self) -> Steps[None]:
        assert self.ask is not None
        timeout_s = self._shadow.timeout_s
        if self.servable.timeout_s is not None:
            timeout_s = min(timeout_s, self.servable.timeout_s)
        found: Sequence[Answer] | Exception
        try:
            try:
                end = time.monotonic() + timeout_s
                found = yield from self.ask(self.aside.core, self.servable, end)
            except ClosedClientError:
                return
            except Exception as error:  # whatever it is: the caller has got an answer
                found = error
            # In a thread, as large arrays and slow listeners would hold up an event loop.
            with contextlib.suppress(RuntimeError):  # the loop has no threads any more
                yield Work(functools.partial(self._shadow.conclude, self, found))
        finally:
            self.give_up()  # if nothing else has ended it


class Aside:
    """One shadow's road beside one client's calls.

    Args:
        core: of the client that is mirrored, and that closes this.
        asked: of the client that the shadow asks through.
        most: mirrors at once.
    """

    def __init__(self, core: Core, asked: Core, most: int):
        ours, its = core.sender.settings, asked.sender.settings
        self.is_same_server = ours.target == its.target
        self.core = asked.beside(_AsideSender(asked.sender))
        self.mirrors: set[Mirror] = set()
        self._most = most
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def key(self, servable: Servable) -> tuple[str, str]:
        """What tells servables of different servers apart."""
        return self.core.sender.settings.target, servable.name

    def submit(self, mirror: Mirror, run: Callable[[], None]) -> None:
        """Has a thread run it.

        Raises:
            ClosedClientError: the client was closed.
            RuntimeError: no thread can.
        """
        from concurrent.futures import ThreadPoolExecutor  # here: its import takes its time

        with self._lock:
            if self._closed:
                raise ClosedClientError("Expected an open client. Received: a closed one")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="tfs-shadow")
            self.mirrors.add(mirror)
            self._pool.submit(run)

    def close(self) -> list[asyncio.Task[None]]:
        """Gives up what is under way; returns the tasks that end by that."""
        if self._pid != os.getpid():
            return []  # the threads, and whoever held the lock, are the parent's
        with self._lock:
            self._closed = True
            mirrors, pool = list(self.mirrors), self._pool
        for mirror in mirrors:
            mirror.give_up()
        if pool is not None:
            pool.shutdown(wait=False)
        return [mirror.task for mirror in mirrors if mirror.task is not None]


class _AsideSender(Sender):
    """Sends over a client's connection: once, without its circuits, budget and observers."""

    def __init__(self, of: Sender):
        settings = dataclasses.replace(
            of.settings,
            retry=Retry(attempts=1),
            breaker=None,
            hedge_after_s=None,
            wait_for_ready=False,
            observers=(),
            metadata=(*of.settings.metadata, *METADATA),
        )
        super().__init__(settings, of.stub_for)
        self._of = of

    def check_usable(self) -> None:
        """As the client's own."""
        self._of.check_usable()
