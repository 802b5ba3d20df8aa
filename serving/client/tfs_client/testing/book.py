"""The script of a fake: entries by what is asked, taken one after the other."""

from __future__ import annotations

import collections
import dataclasses
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from tfs_client.answers import ImagePrediction
from tfs_client.testing.served.fake_model import FakeModel
from tfs_client.testing.served.requests import Request
from tfs_client.testing.served.wording import Failure, ScriptError

Value: TypeAlias = Mapping[str, Any] | Sequence[Any] | ImagePrediction
"""What answers a request: outputs by name (Predict), classes with scores for each example
(Classify), a number for each example (Regress), or ImagePredictions."""


class Step(NamedTuple):
    """One entry of a script."""

    value: Value | Callable[[Request], Value] | Failure
    delay_s: float


ASKS_A_MODEL: Final = ("Predict", "Classify", "Regress")
"""The calls that an entry is for which names none."""


class Scope(NamedTuple):
    """Which requests an entry is for; None means any (of the calls: any that asks a model)."""

    call: str | None = None
    model: str | None = None
    label: str | None = None
    version: int | None = None
    signature: str | None = None

    def fits(self, request: Request) -> bool:
        """Whether it is for this request."""
        if self.call is None and request.call not in ASKS_A_MODEL:
            return False
        return all(
            wanted is None or wanted == getattr(request, name)
            for name, wanted in self._asdict().items()
        )

    @property
    def exactness(self) -> int:
        """How many things it names."""
        return sum(wanted is not None for wanted in self)

    def __str__(self) -> str:
        """Such as "Predict of image_classifier, label 'canary'"."""
        of = f" of {self.model}" if self.model else ""
        named = {"label": self.label, "version": self.version, "signature": self.signature}
        more = "".join(f", {name} {value!r}" for name, value in named.items() if value is not None)
        return f"{self.call or 'any request'}{of}{more}"


@dataclasses.dataclass
class Chapter:
    """What is scripted for one scope."""

    scope: Scope
    first: collections.deque[Step] = dataclasses.field(default_factory=collections.deque)
    """Each for one request, in order."""
    then: Step | None = None
    """For all requests after those."""
    scripted: int = 0
    """How many there were in `first`."""


class Book:
    """The whole script of a fake, and what went wrong with it. Any thread may use it.

    Args:
        fake: the name of the fake's class, for errors.
        models: those that can be asked, by name.
    """

    def __init__(self, fake: str, models: Mapping[str, FakeModel]):
        self.fake = fake
        self.models = models
        self.closed = False
        self.problems: list[str] = []
        self._chapters: dict[Scope, Chapter] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def check_usable(self) -> None:
        """Refuses a fake that was closed, or that another process made.

        Raises:
            ScriptError: it is one of these.
        """
        if self.closed:
            raise ScriptError(
                f"Expected an open {self.fake}. Received: one that was closed; make a new one"
            )
        if os.getpid() != self._pid:
            raise ScriptError(
                f"Expected a {self.fake} in the process that made it ({self._pid}). Received: "
                f"process {os.getpid()}, which was forked from it and has only a copy of the "
                "script; make it there, or script it before the fork"
            )

    def add(self, scope: Scope, step: Step, times: int | None) -> None:
        """Adds an entry."""
        self.check_usable()
        with self._lock:
            chapter = self._chapters.setdefault(scope, Chapter(scope))
            if times is None:
                chapter.then = step
            else:
                chapter.first.extend([step] * times)
                chapter.scripted += times

    def take(self, request: Request, *, only_failures: bool) -> Step | None:
        """The entry for a request; of several that are for it, of the scope that names most.

        Args:
            request: as received.
            only_failures: take nothing else; the request is refused anyway.

        Returns:
            None where nothing is scripted for such a request.

        Raises:
            ScriptError: all that was scripted for it has been used up.
        """
        with self._lock:
            # Of scopes that name as many things, the one that was scripted last.
            newest_first = reversed([*self._chapters.values()])
            fitting = [one for one in newest_first if one.scope.fits(request)]
            fitting.sort(key=lambda one: -one.scope.exactness)
            for chapter in fitting:
                step = chapter.first[0] if chapter.first else chapter.then
                if step is None:
                    continue
                if only_failures and not isinstance(step.value, Failure):
                    return None
                if chapter.first:
                    chapter.first.popleft()
                return step
        if not fitting or only_failures:
            return None
        scopes = " and ".join(f"{one.scope} ({one.scripted})" for one in fitting)
        raise ScriptError(
            f"Expected no further {request.call} of {request.model}: the script of this "
            f"{self.fake} has run out. Scripted: {scopes}. Received: one more; script an answer "
            "without times, which holds from then on, or more of them"
        )

    def wrong(self, problem: str) -> None:
        """Keeps what went wrong for check."""
        with self._lock:
            if problem not in self.problems:
                self.problems.append(problem)

    def check(self) -> None:
        """Raises what went wrong with the script.

        Raises:
            ScriptError: something did.
        """
        with self._lock:
            problems, self.problems = self.problems, []
        if problems:
            raise ScriptError("\n".join(problems))

    @property
    def left(self) -> tuple[str, ...]:
        """Entries that were for a number of requests, and have some of them left."""
        with self._lock:
            return tuple(
                f"{one.scope}: {len(one.first)} of {one.scripted} were not asked for"
                for one in self._chapters.values()
                if one.first
            )
