"""One version of a model: its states, who is using it, and which is loaded or unloaded next.

START → LOADING → AVAILABLE → UNLOADING → END, in an order that keeps a model available.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from serving.local.errors import ServingError


class Closable(Protocol):
    """What a loader returns; closed when no request uses it any more."""

    def close(self) -> None:
        """Frees it."""


Loaded = TypeVar("Loaded", bound=Closable)


class State(enum.IntEnum):
    """TensorFlow Serving's states, with its numbers."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """What GetModelStatus says about one version."""

    version: int
    state: State
    error: ServingError | None


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How versions are loaded and unloaded, as TensorFlow Serving's flags say."""

    max_retries: int = 5
    retry_interval_s: float = 60.0
    """Negative: no pause."""
    load_threads: int = 0
    """0: loads run one by one in the thread that also unloads."""
    unload_threads: int = 0
    """0: unloads run one by one in the thread that also loads."""


class Servable(Generic[Loaded]):
    """A version, from the moment it is wanted until it has ended.

    `state`, `aspired`, `scheduled`, `error` and `loaded` are guarded by the manager's lock. `take`,
    `release` and `retire` have a lock of their own, so that requests do not wait for the manager.
    """

    def __init__(self, model: str, version: int, path: Path) -> None:
        self.model = model
        self.version = version
        self.path = path
        self.state = State.START
        self.aspired = True
        """Wanted by the configuration and the folder."""
        self.scheduled = False
        """A thread has been given its load or unload already."""
        self.error: ServingError | None = None
        self.loaded: Loaded | None = None
        self.attempt_began: float | None = None
        """When the attempt to load it that goes on began, on the clock of time.monotonic."""
        self._lock = threading.Lock()
        self._users = 0
        self._retired = False
        self._idle = threading.Event()

    def status(self) -> VersionStatus:
        """Its row in GetModelStatus."""
        return VersionStatus(self.version, self.state, self.error)

    @property
    def is_leaving(self) -> bool:
        """Whether its unload is due: it has to end before it can be wanted again."""
        return self.state is State.UNLOADING or (self.state is State.AVAILABLE and self.scheduled)

    def take(self) -> bool:
        """Counts one more user, unless it is retired."""
        with self._lock:
            if self._retired:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        """Counts one user less; ends a `take` that returned True."""
        with self._lock:
            self._users -= 1
            if self._retired and self._users == 0:
                self._idle.set()

    def retire(self) -> None:
        """Takes no new users and waits for those that it has."""
        with self._lock:
            self._retired = True
            if self._users == 0:
                return
        self._idle.wait()

    def __str__(self) -> str:
        return f"{self.model} version {self.version}"


class Handle(Generic[Loaded]):
    """A version that stays loaded until the `with` block ends."""

    __slots__ = ("_servable", "loaded", "version")

    def __init__(self, servable: Servable[Loaded], loaded: Loaded) -> None:
        self.version = servable.version
        self.loaded = loaded
        self._servable = servable

    def __enter__(self) -> Handle[Loaded]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._servable.release()


@dataclass(frozen=True)
class Action(Generic[Loaded]):
    """What has to be done next."""

    servable: Servable[Loaded]
    unload: bool


def next_action(servables: Iterable[Servable[Loaded]]) -> Action[Loaded] | None:
    """What to do next with the versions of one model so that it stays available.

    Of the versions that are not wanted any more the lowest goes first, and the last of them only
    once a wanted one serves, or if none is wanted at all. Of the wanted ones the highest is loaded
    first.
    """
    ready, new = [], []
    aspired = False
    for servable in servables:
        aspired = aspired or servable.aspired
        if servable.scheduled:
            continue
        if servable.state is State.AVAILABLE:
            ready.append(servable)
        elif servable.state is State.START and servable.aspired:
            new.append(servable)
    leaving = [servable for servable in ready if not servable.aspired]
    replaced = not aspired or len(leaving) < len(ready)
    if leaving and (replaced or len(leaving) > 1):
        return Action(min(leaving, key=lambda servable: servable.version), unload=True)
    if new:
        return Action(max(new, key=lambda servable: servable.version), unload=False)
    return None
