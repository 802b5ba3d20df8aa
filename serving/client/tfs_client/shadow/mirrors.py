"""One mirrored call, and the way that it takes beside the caller's.

It shares the client's connection and nothing else: it runs in a thread or a task of its own, and is
sent once, without the client's circuits, retry budget, known signatures and observers.
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
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from tfs_client.call.core import Core
from tfs_client.call.predictor import Predictor
from tfs_client.call.sender import Sender
from tfs_client.errors import ClosedClientError
from tfs_client.failures.policy import Retry
from tfs_client.servable import Servable
from tfs_client.shadow.comparisons import Answer, Comparison, compared, failed, version_of
from tfs_client.shadow.under_way import UnderWay
from tfs_client.steps import Steps, Work, walk, walk_async

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

METADATA: Final = (("x-shadow", "1"),)
"""Sent along, so that servers and meshes can tell."""

Ask: TypeAlias = Callable[[Predictor, Servable, float], Steps[Sequence[Answer]]]
"""(what to ask through, whom, when the time is up) to the answers, as many as the caller's."""


class Owner(Protocol):
    """Who has calls mirrored: a Shadow."""

    @property
    def timeout_s(self) -> float:
        """Deadline of a mirrored request in seconds."""

    @property
    def mirrors(self) -> UnderWay[Mirror]:
        """The mirrors that have not ended."""

    def conclude(self, mirror: Mirror, found: Sequence[Answer] | Exception) -> None:
        """Compares the answers, or tells that there are none, and ends the mirror."""


class Mirror:
    """One mirrored call: a step that begins it and does not wait for it.

    Args:
        owner: is told what came of it.
        aside: where it is asked.
        servable: whom.
        answers: what the caller gets.
    """

    def __init__(self, owner: Owner, aside: Aside, servable: Servable, answers: Sequence[Answer]):
        self.aside = aside
        self.servable = servable
        self.answers = tuple(answers)
        self.time_s = time.time()
        self.ask: Ask | None = None
        self.task: asyncio.Task[None] | None = None
        self.ended = threading.Event()
        self._owner = owner

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
        """One comparison for each answer of the caller's, with the error in it."""
        shadow = self.servable.name
        return [failed(one, error, shadow=shadow, time_s=self.time_s) for one in self.answers]

    def end(self, outcome: str) -> bool:
        """Counts what became of it, once; returns whether it had not ended before."""
        if not self._owner.mirrors.end(self, outcome):
            return False
        self.ended.set()
        return True

    def give_up(self) -> bool:
        """Ends it without a comparison; returns whether it had not ended before."""
        self.aside.mirrors.discard(self)
        if not self.end("given_up"):
            return False
        if self.task is not None:
            with contextlib.suppress(RuntimeError):  # its loop was closed
                self.task.get_loop().call_soon_threadsafe(self.task.cancel)
        return True

    def _steps(self) -> Steps[None]:
        try:
            found = yield from self._found()
            if found is None:
                return
            # In a thread, as large arrays and slow listeners would hold up an event loop.
            with contextlib.suppress(RuntimeError):  # the loop has no threads any more
                yield Work(functools.partial(self._owner.conclude, self, found))
        finally:
            self.give_up()  # if nothing else has ended it

    def _found(self) -> Steps[Sequence[Answer] | Exception | None]:
        """The shadow's answers, or why there are none; None: the client was closed meanwhile."""
        assert self.ask is not None
        timeout_s = self._owner.timeout_s
        if self.servable.timeout_s is not None:
            timeout_s = min(timeout_s, self.servable.timeout_s)
        try:
            end = time.monotonic() + timeout_s
            return (yield from self.ask(self.aside.predictor, self.servable, end))
        except ClosedClientError:
            return None
        except Exception as error:  # whatever it is: the caller has got an answer
            return error


class Aside:
    """Where one shadow's mirrors of one client's calls are asked.

    Args:
        core: of the client that is mirrored, and that closes this.
        asked: of the client that the shadow asks through.
        most: mirrors at once.
    """

    def __init__(self, core: Core, asked: Core, most: int):
        self.target = asked.sender.settings.target
        self.is_same_server = core.sender.settings.target == self.target
        self.predictor = asked.predictor.beside(_AsideSender(asked.sender))
        self.mirrors: set[Mirror] = set()
        self._most = most
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def key(self, servable: Servable) -> tuple[str, str]:
        """What tells servables of different servers apart."""
        return self.target, servable.name

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
            return []  # the threads, and the one that held the lock, are the parent's
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
