"""The life of versions: START → LOADING → AVAILABLE → UNLOADING → END.

Told which versions of a model are wanted, it loads and unloads in the order that preserves
availability, tries failed loads again and hands out handles that keep a version alive while a
request runs. Knows nothing about folders, configuration, labels or what a loaded model can do.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from grpc import StatusCode

from serving.local.errors import ServingError, not_found

_log = logging.getLogger(__name__)


class Closable(Protocol):
    """What a loader returns: something to be closed when nobody uses it any more."""

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
    """What GetModelStatus tells of one version."""

    version: int
    state: State
    error: ServingError | None


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How loads are tried, as TensorFlow Serving's flags say."""

    max_retries: int = 5
    retry_interval_s: float = 60.0
    threads: int = 1
    """Loads at the same time."""


@dataclass(eq=False)
class _Entry(Generic[Loaded]):
    model: str
    version: int
    path: Path
    state: State = State.START
    aspired: bool = True
    error: ServingError | None = None
    loaded: Loaded | None = None
    users: int = 0

    def status(self) -> VersionStatus:
        return VersionStatus(self.version, self.state, self.error)

    def __str__(self) -> str:
        return f"{self.model} version {self.version}"


@dataclass(frozen=True)
class Handle(Generic[Loaded]):
    """A version that stays loaded until the `with` block ends."""

    version: int
    loaded: Loaded
    _release: Callable[[], None] = field(repr=False)

    def __enter__(self) -> Handle[Loaded]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._release()


class VersionManager(Generic[Loaded]):
    """Keeps the wanted versions loaded. Thread-safe; `close` ends its threads."""

    def __init__(
        self, load: Callable[[str, int, Path], Loaded], options: LoadOptions = LoadOptions()
    ) -> None:
        """Args:
        load: (model, version, path) → the loaded version; raises to say why it cannot.
        options: retries and threads.
        """
        self._load = load
        self._options = options
        self._changed = threading.Condition()
        self._models: dict[str, dict[int, _Entry[Loaded]]] = {}
        self._slots = threading.Semaphore(max(1, options.threads))
        self._closing = False
        self._threads: set[threading.Thread] = set()

    def aspire(self, model: str, versions: Mapping[int, Path]) -> None:
        """Says which versions of a model are wanted from now on; all others go.

        A version whose load has failed for good stays as it is while it is wanted.
        """
        with self._changed:
            entries = self._models.setdefault(model, {})
            for version, path in versions.items():
                known = entries.get(version)
                gone = known is not None and known.state is State.END and not known.aspired
                if known is None or gone:
                    entries[version] = _Entry(model, version, path)
            for entry in entries.values():
                entry.aspired = entry.version in versions
            self._reconcile(model)
            self._changed.notify_all()

    def handle(self, model: str, version: int | None = None) -> Handle[Loaded]:
        """Takes hold of an AVAILABLE version, the highest if none is named.

        Raises:
            ServingError: NOT_FOUND.
        """
        with self._changed:
            entry = self._find(model, version)
            if entry is None or entry.loaded is None:
                request = f"Latest({model})" if version is None else f"Specific({model}, {version})"
                raise not_found(f"Servable not found for request: {request}")
            entry.users += 1
            found = entry
        return Handle(found.version, entry.loaded, lambda: self._release(found))

    def is_available(self, model: str, version: int) -> bool:
        """Whether this version can serve now."""
        with self._changed:
            return self._find(model, version) is not None

    def statuses(self, model: str, version: int | None = None) -> list[VersionStatus]:
        """Every version that this process has ever wanted, highest first.

        Raises:
            ServingError: NOT_FOUND, where there is none.
        """
        with self._changed:
            entries = self._models.get(model, {})
            if version is not None:
                if version not in entries:
                    raise not_found(f"Could not find version {version} of model {model}")
                return [entries[version].status()]
            if not entries:
                raise not_found(f"Could not find any versions of model {model}")
            return [entries[number].status() for number in sorted(entries, reverse=True)]

    def wait_until_available(
        self, models: Iterable[str], timeout_s: float | None = None
    ) -> dict[str, VersionStatus]:
        """Waits until, for each model, any one version is AVAILABLE or has ended.

        Returns:
            The status that settled each model; models that are not settled when the time is up, or
            when the manager is closed, are missing.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        names = list(models)
        with self._changed:
            while True:
                settled = {n: s for n in names if (s := self._settled(n)) is not None}
                left = None if deadline is None else deadline - time.monotonic()
                if len(settled) == len(names) or self._closing or (left is not None and left <= 0):
                    return settled
                self._changed.wait(left)

    def close(self, timeout_s: float = 5.0) -> None:
        """Unloads everything; requests in flight keep their version until they are answered."""
        with self._changed:
            self._closing = True
            for model, entries in self._models.items():
                for entry in entries.values():
                    entry.aspired = False
                self._reconcile(model)
            self._changed.notify_all()
            threads = list(self._threads)
        deadline = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _find(self, model: str, version: int | None) -> _Entry[Loaded] | None:
        entries = self._models.get(model, {})
        if version is not None:
            entry = entries.get(version)
            return entry if entry is not None and entry.state is State.AVAILABLE else None
        ready = [number for number, e in entries.items() if e.state is State.AVAILABLE]
        return entries[max(ready)] if ready else None

    def _settled(self, model: str) -> VersionStatus | None:
        entries = self._models.get(model, {}).values()
        for state in (State.AVAILABLE, State.END):
            for entry in entries:
                if entry.state is state:
                    return entry.status()
        return None

    def _release(self, entry: _Entry[Loaded]) -> None:
        with self._changed:
            entry.users -= 1
            if entry.users == 0 and entry.state is State.UNLOADING:
                self._changed.notify_all()

    def _reconcile(self, model: str) -> None:
        """Starts the loads and unloads that are due; the lock is held.

        A version that is not wanted any more goes once nothing is wanted or a wanted one serves.
        """
        entries = self._models[model].values()
        wanted = [entry for entry in entries if entry.aspired]
        serves = any(entry.state is State.AVAILABLE for entry in wanted)
        for entry in entries:
            if entry.aspired:
                continue
            if entry.state is State.START:
                self._move(entry, State.END)
            elif entry.state is State.AVAILABLE and (serves or not wanted):
                self._move(entry, State.UNLOADING)
                self._spawn(self._run_unload, entry)
        for entry in sorted(wanted, key=lambda entry: -entry.version):
            if entry.state is State.START:
                self._move(entry, State.LOADING)
                self._spawn(self._run_load, entry)

    def _spawn(self, body: Callable[[_Entry[Loaded]], None], entry: _Entry[Loaded]) -> None:
        def run() -> None:
            try:
                body(entry)
            finally:
                with self._changed:
                    self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, name=f"{body.__name__} {entry}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _run_load(self, entry: _Entry[Loaded]) -> None:
        loaded: Loaded | None = None
        for attempt in range(self._options.max_retries + 1):
            with self._slots:
                if not entry.aspired:
                    break
                loaded = self._attempt(entry, attempt)
            if loaded is not None or not self._wait_to_retry(entry, attempt):
                break
        with self._changed:
            if loaded is not None and entry.aspired:
                entry.loaded = loaded
                entry.error = None
                self._move(entry, State.AVAILABLE)
                loaded = None
            else:
                self._move(entry, State.END)
            self._reconcile(entry.model)
        if loaded is not None:
            loaded.close()

    def _attempt(self, entry: _Entry[Loaded], attempt: int) -> Loaded | None:
        started = time.monotonic()
        try:
            loaded = self._load(entry.model, entry.version, entry.path)
        except ServingError as error:
            entry.error = error
        except Exception as error:  # whatever a broken version raises concerns this version only
            _log.debug("loading %s", entry, exc_info=True)
            entry.error = ServingError(StatusCode.UNKNOWN, f"{type(error).__name__}: {error}")
        else:
            _log.info("loaded %s in %.2f s from %s", entry, time.monotonic() - started, entry.path)
            return loaded
        _log.error(
            "load %d of %d of %s failed: %s",
            attempt + 1,
            self._options.max_retries + 1,
            entry,
            str(entry.error).splitlines()[0],
        )
        return None

    def _wait_to_retry(self, entry: _Entry[Loaded], attempt: int) -> bool:
        """Whether there is another attempt to make, after the interval and if still wanted."""
        if attempt >= self._options.max_retries:
            return False
        with self._changed:
            self._changed.wait_for(
                lambda: not entry.aspired, timeout=self._options.retry_interval_s
            )
            return entry.aspired

    def _run_unload(self, entry: _Entry[Loaded]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: entry.users == 0)
            loaded, entry.loaded = entry.loaded, None
        if loaded is not None:
            loaded.close()
        with self._changed:
            self._move(entry, State.END)
            self._reconcile(entry.model)

    def _move(self, entry: _Entry[Loaded], state: State) -> None:
        _log.info("%s: %s → %s", entry, entry.state.name, state.name)
        entry.state = state
        self._changed.notify_all()
