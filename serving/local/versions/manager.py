"""Keeps the wanted versions loaded: loads them, tries again, and unloads what is not wanted.

As in TensorFlow Serving, one thread decides and, unless it is given others, loads and unloads one
version after the other; a load that is tried again holds up all that come after it. Only the
first loads of the process run side by side. Other than there, an attempt that takes minutes, as one
does whose files lie on a mount that hangs, holds up the others no longer.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Generic

from grpc import StatusCode

from serving.local import caller
from serving.local.errors import ServingError, not_found
from serving.local.versions.states import (
    Action,
    Handle,
    Loaded,
    LoadOptions,
    Servable,
    State,
    VersionStatus,
    next_action,
)

_log = logging.getLogger(__name__)

_INITIAL_LOAD_THREADS: Final = 4 * (os.cpu_count() or 1)
"""Loads at the same time until each configured model has had its first version."""


HUNG_S: Final = 120.0
"""After so long an attempt to load no longer holds up the versions that come after it."""


class VersionManager(Generic[Loaded]):
    """Keeps the wanted versions loaded. Thread-safe; `close` ends its threads.

    Args:
        load: (model, version, path) → the loaded version; raises to say why it cannot.
        options: retries and threads.
        hung_s: see HUNG_S.
    """

    def __init__(
        self,
        load: Callable[[str, int, Path], Loaded],
        options: LoadOptions,
        hung_s: float = HUNG_S,
    ) -> None:
        self._load = load
        self._options = options
        self._hung_s = hung_s
        self._changed = threading.Condition()
        self._servables: dict[str, dict[int, Servable[Loaded]]] = {}
        self._wishes: dict[str, Mapping[int, Path]] = {}
        self._serving: Mapping[tuple[str, int | None], Servable[Loaded]] = {}
        """Never changed, only replaced: a request reads it without a lock. None: the latest."""
        self._starting = True
        self._busy = {True: 0, False: 0}
        """Threads that unload, threads that load."""
        self._waiting_is_over = False
        self._closing = False
        self._manager = threading.Thread(target=self._manage, name="version manager", daemon=True)
        self._manager.start()

    def aspire(self, model: str, versions: Mapping[int, Path]) -> None:
        """Says which versions of a model are wanted from now on; all others go.

        A version whose load has failed for good stays as it is while it is wanted; one that ended
        because it was not wanted is loaded anew.
        """
        with self._changed:
            if not self._closing:
                self._wishes[model] = versions
                self._changed.notify_all()

    def handle(self, model: str, version: int | None = None) -> Handle[Loaded]:
        """Takes hold of an AVAILABLE version, the highest if none is named.

        Raises:
            ServingError: NOT_FOUND.
        """
        while True:
            servable = self._serving.get((model, version))
            if servable is None:
                request = f"Latest({model})" if version is None else f"Specific({model}, {version})"
                raise not_found(f"Servable not found for request: {request}")
            # A version is taken off the map before it is retired: on failure there is a new map.
            if servable.take():
                assert servable.loaded is not None
                return Handle(servable, servable.loaded)

    def is_available(self, model: str, version: int) -> bool:
        """Whether this version can serve now."""
        return (model, version) in self._serving

    def statuses(self, model: str, version: int | None = None) -> list[VersionStatus]:
        """Every version that this process has ever wanted, highest first.

        Raises:
            ServingError: NOT_FOUND, where there is none.
        """
        with self._changed:
            servables = self._servables.get(model, {})
            if version is not None:
                if version not in servables:
                    raise not_found(f"Could not find version {version} of model {model}")
                return [servables[version].status()]
            if not servables:
                raise not_found(f"Could not find any versions of model {model}")
            return [servables[number].status() for number in sorted(servables, reverse=True)]

    def wait_until_available(
        self, models: Iterable[str], timeout_s: float | None = None
    ) -> dict[str, VersionStatus]:
        """Waits until, for each model, any one wanted version is AVAILABLE or has ended.

        Returns:
            The status that settled each model; models that are not settled when the time is up,
            after `stop_waiting`, or when the caller has gone, are missing.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        names = list(models)
        with self._changed:
            while True:
                settled = {n: s for n in names if (s := self._settled(n)) is not None}
                if len(settled) == len(names):
                    self._starting = False
                    return settled
                left = caller.LOOK_S if deadline is None else deadline - time.monotonic()
                if self._waiting_is_over or left <= 0 or not caller.waits():
                    return settled
                self._changed.wait(min(left, caller.LOOK_S))

    def stop_waiting(self) -> None:
        """Ends `wait_until_available`, from now on."""
        with self._changed:
            self._waiting_is_over = True
            self._changed.notify_all()

    def close(self, timeout_s: float = 5.0) -> None:
        """Unloads everything; requests in flight keep their version until they are answered."""
        with self._changed:
            self._closing = True
            self._waiting_is_over = True
            self._wishes = {model: {} for model in self._servables}
            self._changed.notify_all()
        self._manager.join(timeout_s)

    def _settled(self, model: str) -> VersionStatus | None:
        wanted = [s for s in self._servables.get(model, {}).values() if s.aspired]
        for state in (State.AVAILABLE, State.END):
            for servable in wanted:
                if servable.state is state:
                    return servable.status()
        return None

    def _manage(self) -> None:
        while (due := self._wait_for_action()) is not None:
            if due.unload:
                self._unload(due.servable)
            else:
                self._load_in_turn(due.servable)

    def _wait_for_action(self) -> Action[Loaded] | None:
        """The next action for the manager's own thread; hands others to new threads.

        Returns:
            None once everything is unloaded after `close`.
        """
        with self._changed:
            while True:
                self._take_wishes()
                due = self._choose()
                if due is None:
                    if self._closing and not any(self._busy.values()):
                        return None
                    self._changed.wait()
                    continue
                due.servable.scheduled = True
                if self._threads(due) == 0:
                    return due
                self._busy[due.unload] += 1
                name = f"{'unload' if due.unload else 'load'} {due.servable}"
                threading.Thread(
                    target=self._perform_aside, args=(due,), name=name, daemon=True
                ).start()

    def _take_wishes(self) -> None:
        """Notes what is wanted; the lock is held.

        A wish for a version that is being unloaded waits until that has ended.
        """
        for model, wish in list(self._wishes.items()):
            servables = self._servables.setdefault(model, {})
            if any(version in servables and servables[version].is_leaving for version in wish):
                continue
            del self._wishes[model]
            self._grant(model, servables, wish)
            self._changed.notify_all()

    def _grant(
        self, model: str, servables: dict[int, Servable[Loaded]], wish: Mapping[int, Path]
    ) -> None:
        """Makes a wish the aim for all versions of a model; the lock is held."""
        for servable in servables.values():
            if servable.version in wish:
                if servable.state is not State.END:
                    servable.aspired = True
            elif servable.aspired:
                servable.aspired = False
                if servable.state is State.START and not servable.scheduled:
                    self._move(servable, State.END)
        for version, path in wish.items():
            if version not in servables or not servables[version].aspired:
                servables[version] = Servable(model, version, path)

    def _choose(self) -> Action[Loaded] | None:
        """The next action that a thread is free for, unloads first; the lock is held."""
        due = [
            action
            for servables in self._servables.values()
            if (action := next_action(servables.values())) is not None
            and (self._threads(action) == 0 or self._busy[action.unload] < self._threads(action))
        ]
        return max(due, key=lambda action: action.unload, default=None)

    def _threads(self, action: Action[Loaded]) -> int:
        if action.unload:
            return self._options.unload_threads
        return _INITIAL_LOAD_THREADS if self._starting else self._options.load_threads

    def _perform_aside(self, action: Action[Loaded]) -> None:
        try:
            perform = self._unload if action.unload else self._load_with_retries
            perform(action.servable)
        finally:
            with self._changed:
                self._busy[action.unload] -= 1
                self._changed.notify_all()

    def _load_in_turn(self, servable: Servable[Loaded]) -> None:
        """Loads, and holds up the manager's own thread meanwhile, unless an attempt hangs."""
        loading = threading.Thread(
            target=self._load_with_retries, args=(servable,), name=f"load {servable}", daemon=True
        )
        loading.start()
        while loading.is_alive():
            loading.join(min(1.0, self._hung_s / 4))
            began = servable.attempt_began
            if began is not None and time.monotonic() - began > self._hung_s:
                _log.error(
                    "loading %s has taken %.0f s, and holds up other versions no longer: does the "
                    "disk answer that %s lies on?",
                    servable,
                    self._hung_s,
                    servable.path,
                )
                return

    def _load_with_retries(self, servable: Servable[Loaded]) -> None:
        with self._changed:
            self._move(servable, State.LOADING)
        loaded, error = self._attempt(servable, 1)
        attempts = 1
        while loaded is None and attempts <= self._options.max_retries:
            if not self._wait_to_retry(servable):
                break
            attempts += 1
            loaded, error = self._attempt(servable, attempts)
        with self._changed:
            servable.scheduled = False
            if loaded is not None and servable.aspired:
                servable.loaded = loaded
                self._move(servable, State.AVAILABLE)
                return
            servable.error = error or ServingError(
                StatusCode.CANCELLED, "Loading of servable cancelled"
            )
            self._move(servable, State.END)
        if loaded is not None:
            _close(servable, loaded)

    def _attempt(
        self, servable: Servable[Loaded], number: int
    ) -> tuple[Loaded | None, ServingError | None]:
        started = servable.attempt_began = time.monotonic()
        try:
            loaded = self._load(servable.model, servable.version, servable.path)
        except ServingError as refusal:
            error = refusal
        except Exception as failure:  # whatever a broken version raises concerns only itself
            _log.debug("loading %s", servable, exc_info=True)
            error = ServingError(StatusCode.UNKNOWN, f"{type(failure).__name__}: {failure}")
        else:
            seconds = time.monotonic() - started
            _log.info("loaded %s in %.2f s from %s", servable, seconds, servable.path)
            return loaded, None
        finally:
            servable.attempt_began = None
        _log.error(
            "load %d of %d of %s failed: %s",
            number,
            self._options.max_retries + 1,
            servable,
            str(error).splitlines()[0],
        )
        return None, error

    def _wait_to_retry(self, servable: Servable[Loaded]) -> bool:
        """Whether the version is still wanted after the interval."""

        def dropped() -> bool:
            wish = self._wishes.get(servable.model, {servable.version: servable.path})
            return not servable.aspired or servable.version not in wish

        with self._changed:
            return not self._changed.wait_for(dropped, max(0.0, self._options.retry_interval_s))

    def _unload(self, servable: Servable[Loaded]) -> None:
        with self._changed:
            self._move(servable, State.UNLOADING)
        servable.retire()
        loaded, servable.loaded = servable.loaded, None
        assert loaded is not None
        _close(servable, loaded)
        with self._changed:
            self._move(servable, State.END)

    def _move(self, servable: Servable[Loaded], state: State) -> None:
        """Changes the state and what can be asked for; the lock is held."""
        _log.info("%s: %s → %s", servable, servable.state.name, state.name)
        servable.state = state
        if state in (State.AVAILABLE, State.UNLOADING):
            serving: dict[tuple[str, int | None], Servable[Loaded]] = {}
            for model, servables in self._servables.items():
                for version in sorted(servables):
                    if servables[version].state is State.AVAILABLE:
                        serving[model, version] = serving[model, None] = servables[version]
            self._serving = serving
        self._changed.notify_all()


def _close(servable: Servable[Loaded], loaded: Loaded) -> None:
    try:
        loaded.close()
    except Exception:  # no other version may suffer from it
        _log.exception("unloading %s", servable)
