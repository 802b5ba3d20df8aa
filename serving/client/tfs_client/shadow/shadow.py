"""Asks another version the same as the caller's, and compares the answers without using them.

    shadow = Shadow(Servable(label="canary"), share=0.1, on_comparison=ShadowLog("shadow.jsonl"))
    ImageClassifier(client, shadow=shadow).predict("cell.png")

A share of the requests is mirrored: sent to the shadow too, after the caller's own was answered,
in a thread or a task of its own. Whatever the shadow answers, the caller's answer, errors, circuit,
retry budget and observers are the same as without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from tfs_client import contract
from tfs_client.background.callbacks import Callback
from tfs_client.background.forks import renew_after_fork
from tfs_client.call.arguments import checked_timeout
from tfs_client.call.core import Core
from tfs_client.errors import ClosedClientError, RequestError
from tfs_client.failures.fallback import DEFAULT
from tfs_client.servable import Servable
from tfs_client.shadow.comparisons import TOLERANCE, Answer, Comparison, ShadowLog, version_of
from tfs_client.shadow.mirrors import Aside, Ask, Mirror
from tfs_client.shadow.under_way import UnderWay
from tfs_client.steps import Steps

__all__ = ["Comparison", "Shadow", "ShadowLog"]

SAME_S: Final = 1.0
"""How long the shadow's label is believed to point to the caller's version, in seconds: both labels
may stay on one version for weeks, and mirroring all the while would tell nothing."""


class Shadow:
    """Mirrors a share of calls to another version and compares its answers with the caller's.

    For any number of clients and classifiers, of both kinds; any thread may call any method. In a
    child process it begins anew, with counts of 0.

    Args:
        servable: what to ask; None means the label "canary" of the model that the caller asks. Its
            `client` is another server's, of the caller's kind; its `timeout_s` and `signature` (of
            arrays) are as for fallbacks.
        share: of the calls, 0 to 1: by a hash of their request_id, so that all of one id go
            together, or at random where there is none.
        on_comparison: called with each comparison, never in the caller's thread or event loop: a
            ShadowLog, say. What it raises is logged.
        max_in_flight: most mirrors at once, of all callers; more are dropped. Each keeps a copy of
            its request.
        timeout_s: deadline of a mirrored request in seconds; it is sent once.
        tolerance: arrays agree if no number is further from the other than this, plus this share
            of it.

    Raises:
        RequestError: an argument that is not allowed; its message names it.
    """

    def __init__(
        self,
        servable: Servable | None = None,
        *,
        share: float = 0.1,
        on_comparison: Callable[[Comparison], None] | None = None,
        max_in_flight: int = 32,
        timeout_s: float = 5.0,
        tolerance: float = TOLERANCE,
    ):
        if servable is not None and not isinstance(servable, Servable):
            raise RequestError(
                "Expected servable as a Servable, such as Servable(label='canary'). "
                f"Received: {servable!r}"
            )
        if on_comparison is not None and not callable(on_comparison):
            raise RequestError(
                f"Expected on_comparison as a function. Received: {type(on_comparison).__name__}"
            )
        if not isinstance(max_in_flight, int) or max_in_flight < 1:
            raise RequestError(
                f"Expected max_in_flight above 0. Received: max_in_flight={max_in_flight!r}"
            )
        self.max_in_flight = max_in_flight
        self.timeout_s = checked_timeout(timeout_s)
        self.mirrors: UnderWay[Mirror] = UnderWay(max_in_flight)
        self._servable = servable
        self._share = _fraction("share", share, most=1)
        self._tolerance = _fraction("tolerance", tolerance, most=float("inf"))
        self._on_comparison = Callback(on_comparison, "on_comparison")
        self._mirroring: Callback[object] = Callback(None, "mirroring a call")
        self._same: dict[tuple[str, str], tuple[int, float]] = {}
        """Aside.key → the version that caller and shadow were both answered by, and until when that
        is believed, on time.monotonic()'s clock."""
        # Re-entrant, because a signal's or a log's handler may come back here.
        self._lock = threading.RLock()
        renew_after_fork(self)

    @property
    def counts(self) -> dict[str, int]:
        """What became of the calls that were chosen.

        "compared": both versions answered; "failed": the caller's alone did; "same_version": the
        same version answered both, so that there was nothing to compare; "dropped": too many were
        under way; "given_up": the client was closed, or a drain's time was up.
        """
        return self.mirrors.counts

    @property
    def under_way(self) -> int:
        """Mirrors that have not ended."""
        return len(self.mirrors)

    def drain(self, timeout_s: float = 5.0) -> int:
        """Waits for the mirrors under way, and gives up those that take longer.

        Those of an AsyncClient need their event loop meanwhile: await drain_async in it.

        Args:
            timeout_s: how long to wait, in seconds.

        Returns:
            How many were given up; on_comparison is not called for them.

        Raises:
            RequestError: called in the event loop that it would wait for.
        """
        waiting = list(self.mirrors)
        with contextlib.suppress(RuntimeError):  # no loop runs here
            here = asyncio.get_running_loop()
            if any(mirror.task and mirror.task.get_loop() is here for mirror in waiting):
                raise RequestError(
                    "Expected drain outside of the event loop, whose mirrors wait for it. "
                    "Received: a call in it; await drain_async there"
                )
        end = time.monotonic() + timeout_s
        for mirror in waiting:
            mirror.ended.wait(max(0.0, end - time.monotonic()))
        return sum(mirror.give_up() for mirror in waiting)

    async def drain_async(self, timeout_s: float = 5.0) -> int:
        """The same, awaited."""
        tasks = [mirror.task for mirror in self.mirrors if mirror.task is not None]
        given_up = await asyncio.to_thread(self.drain, timeout_s)
        here = asyncio.get_running_loop()
        mine = (task for task in tasks if task.get_loop() is here)
        await asyncio.gather(*mine, return_exceptions=True)
        return given_up

    def mirror(
        self, core: Core, request_id: str, answers: Sequence[Answer], prepare: Callable[[], Ask]
    ) -> Steps[None]:
        """Mirrors a call that was answered, perhaps; never waits for that and never raises.

        Args:
            core: of the client that was asked.
            request_id: of the call; empty where it has none.
            answers: what the caller gets, all from one servable.
            prepare: as in call.core.Mirrors.
        """
        mirror, begun = None, False
        try:
            mirror = self._admitted(core, request_id, answers)
            if mirror is not None:
                mirror.ask = prepare()
                yield mirror
                begun = True
        except ClosedClientError:
            pass  # the client was closed at this moment, as its owner wanted
        except Exception:
            self._mirroring.complain()
        finally:
            if mirror is not None and not begun:
                mirror.give_up()

    def _admitted(self, core: Core, request_id: str, answers: Sequence[Answer]) -> Mirror | None:
        """The mirror of a call, if it is to have one."""
        first = answers[0]
        if first.answered_by == DEFAULT or not self._is_chosen(request_id):
            return None
        servable = self._servable or Servable(model=first.model, label=contract.LABEL_CANARY)
        aside = self._aside(core, servable)
        if aside.is_same_server and self._is_same(aside, servable, first):
            self.mirrors.count("same_version")
            return None
        mirror = Mirror(self, aside, servable, answers)
        return mirror if self.mirrors.admit(mirror) else None

    def _is_chosen(self, request_id: str) -> bool:
        if not request_id:
            import random  # here, as most callers never need it and its import takes time

            return random.random() < self._share
        # Salted, so that it is independent of the router's hash of the same id.
        digest = hashlib.sha256(b"tfs-shadow\0" + request_id.encode()).digest()
        return int.from_bytes(digest[:8], "big") < self._share * 2**64

    def _aside(self, core: Core, servable: Servable) -> Aside:
        """Where this client's calls are mirrored; made at the first one."""
        with self._lock:
            aside = core.asides.get(self)
            if not isinstance(aside, Aside):
                asked: Core = core if servable.client is None else servable.client.core
                aside = core.asides[self] = Aside(core, asked, self.max_in_flight)
            return aside

    def _is_same(self, aside: Aside, servable: Servable, answer: Answer) -> bool:
        """Whether the shadow is known to be the version that answered."""
        if answer.model != servable.model:
            return False
        if answer.answered_by == servable.name or servable.version == version_of(answer):
            return True
        version, until = self._same.get(aside.key(servable), (None, 0.0))
        return version == version_of(answer) and time.monotonic() < until

    def conclude(self, mirror: Mirror, found: Sequence[Answer] | Exception) -> None:
        """Compares a mirror's answers and ends it, unless it was given up meanwhile.

        Args:
            mirror: the one that ends.
            found: the shadow's answers, or the error in place of them.
        """
        if mirror not in self.mirrors:
            return
        lines, outcome = self._judged(mirror, found)
        for line in lines:
            self._on_comparison(line)
        mirror.end(outcome)

    def _judged(
        self, mirror: Mirror, found: Sequence[Answer] | Exception
    ) -> tuple[list[Comparison], str]:
        """The comparisons of a mirror, and how it is counted."""
        if isinstance(found, Exception):
            return mirror.failed(found), "failed"
        try:
            lines = mirror.compared(found, self._tolerance)
        except Exception as error:  # the answers may be such that they cannot be compared
            return mirror.failed(error), "failed"
        if lines:
            return lines, "compared"
        known = (version_of(found[0]), time.monotonic() + SAME_S)
        self._same[mirror.aside.key(mirror.servable)] = known
        return [], "same_version"


def _fraction(name: str, value: float, *, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise RequestError(
            f"Expected {name} as a number from 0 to {most:g}. Received: {name}={value!r:.40}"
        )
    return float(value)
