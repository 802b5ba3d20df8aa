"""The life of versions without a process: what is loaded and unloaded, in which order, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.local import caller
from serving.local.errors import ServingError, invalid_argument
from serving.local.versions.manager import VersionManager
from serving.local.versions.states import LoadOptions, State
from tests.integration.local_server_fixtures import eventually

ONCE = LoadOptions(max_retries=0)


class Loaded:
    """A version that can do nothing but be closed."""

    def __init__(self, closed: Callable[[], None]) -> None:
        self._closed = closed
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True
        self._closed()


class Shelf:
    """A loader that remembers what was loaded and unloaded in which order.

    `broken` versions cannot be loaded, `slow` ones are only once their event is set.
    """

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken: set[int] = set()
        self.slow: dict[int, threading.Event] = {}

    def __call__(self, model: str, version: int, path: Path) -> Loaded:
        if version in self.slow:
            assert self.slow[version].wait(20)
        if version in self.broken:
            self.done.append(f"failed {version}")
            raise invalid_argument(f"{version} is broken")
        self.done.append(f"loaded {version}")
        return Loaded(lambda: self.done.append(f"unloaded {version}"))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def manage(shelf: Shelf) -> Iterator[Callable[..., VersionManager[Loaded]]]:
    """Makes managers over the shelf, past the first loads, which run side by side."""
    made: list[VersionManager[Loaded]] = []

    def make(options: LoadOptions = ONCE, **more: float) -> VersionManager[Loaded]:
        manager = VersionManager(shelf, options, **more)
        manager.wait_until_available([])
        made.append(manager)
        return manager

    yield make
    for manager in made:
        manager.close()


Manage = Callable[..., VersionManager[Loaded]]


def want(manager: VersionManager[Loaded], *versions: int) -> None:
    manager.aspire("m", {version: Path(str(version)) for version in versions})


def states(manager: VersionManager[Loaded]) -> dict[int, State]:
    return {row.version: row.state for row in manager.statuses("m")}


def settle(manager: VersionManager[Loaded], **expected: State) -> None:
    """Waits until the versions, written as v1=…, are in these states."""

    def reached() -> bool:
        try:
            found = states(manager)
        except ServingError:
            return False
        return found == {int(name[1:]): state for name, state in expected.items()}

    eventually(reached, str(expected))


def test_the_highest_version_is_loaded_first(shelf: Shelf, manage: Manage) -> None:
    manager = manage()

    want(manager, 2, 10, 1)

    settle(manager, v1=State.AVAILABLE, v2=State.AVAILABLE, v10=State.AVAILABLE)
    assert shelf.done == ["loaded 10", "loaded 2", "loaded 1"]
    with manager.handle("m") as handle:
        assert handle.version == 10


def test_a_new_version_serves_before_the_last_old_one_goes(shelf: Shelf, manage: Manage) -> None:
    manager = manage()
    want(manager, 1, 2)
    settle(manager, v1=State.AVAILABLE, v2=State.AVAILABLE)
    shelf.done.clear()

    want(manager, 3)

    settle(manager, v1=State.END, v2=State.END, v3=State.AVAILABLE)
    assert shelf.done == ["unloaded 1", "loaded 3", "unloaded 2"]


def test_nothing_wanted_unloads_everything_lowest_first(shelf: Shelf, manage: Manage) -> None:
    manager = manage()
    want(manager, 1, 2, 3)
    settle(manager, v1=State.AVAILABLE, v2=State.AVAILABLE, v3=State.AVAILABLE)

    want(manager)

    settle(manager, v1=State.END, v2=State.END, v3=State.END)
    assert shelf.done[3:] == ["unloaded 1", "unloaded 2", "unloaded 3"]
    with pytest.raises(ServingError, match=r"NOT_FOUND: Servable not found for request: Latest"):
        manager.handle("m")


def test_the_old_version_stays_while_the_new_one_cannot_be_loaded(
    shelf: Shelf, manage: Manage
) -> None:
    manager = manage()
    want(manager, 1)
    settle(manager, v1=State.AVAILABLE)
    shelf.broken.add(2)

    want(manager, 2)

    settle(manager, v1=State.AVAILABLE, v2=State.END)
    want(manager, 1)
    want(manager, 1, 3)
    settle(manager, v1=State.AVAILABLE, v2=State.END, v3=State.AVAILABLE)
    assert "unloaded 1" not in shelf.done


def test_a_failed_version_is_not_tried_again_while_it_is_wanted(
    shelf: Shelf, manage: Manage
) -> None:
    manager = manage()
    shelf.broken.add(1)
    want(manager, 1)
    settle(manager, v1=State.END)

    for _ in range(3):
        want(manager, 1)
    want(manager, 1, 2)
    settle(manager, v1=State.END, v2=State.AVAILABLE)
    assert shelf.done == ["failed 1", "loaded 2"]

    shelf.broken.clear()
    want(manager, 2, 3)
    settle(manager, v1=State.END, v2=State.AVAILABLE, v3=State.AVAILABLE)
    want(manager, 1, 2, 3)
    settle(manager, v1=State.AVAILABLE, v2=State.AVAILABLE, v3=State.AVAILABLE)


def test_a_version_that_is_wanted_again_is_loaded_anew(shelf: Shelf, manage: Manage) -> None:
    manager = manage()
    want(manager, 1, 2)
    settle(manager, v1=State.AVAILABLE, v2=State.AVAILABLE)
    want(manager, 1)
    settle(manager, v1=State.AVAILABLE, v2=State.END)

    want(manager, 1, 2)

    settle(manager, v1=State.AVAILABLE, v2=State.AVAILABLE)
    assert shelf.done.count("loaded 2") == 2


def test_a_version_wanted_again_while_it_is_unloaded_ends_first(
    shelf: Shelf, manage: Manage
) -> None:
    manager = manage()
    want(manager, 1, 2)
    settle(manager, v1=State.AVAILABLE, v2=State.AVAILABLE)
    with manager.handle("m", 2) as held:
        want(manager, 1)
        settle(manager, v1=State.AVAILABLE, v2=State.UNLOADING)
        want(manager, 1, 2)
        assert not held.loaded.is_closed

    settle(manager, v1=State.AVAILABLE, v2=State.AVAILABLE)
    assert shelf.done[-2:] == ["unloaded 2", "loaded 2"]


def test_a_handle_keeps_a_version_alive_until_the_request_is_answered(
    shelf: Shelf, manage: Manage
) -> None:
    manager = manage()
    want(manager, 1)
    settle(manager, v1=State.AVAILABLE)
    with manager.handle("m") as first, manager.handle("m", 1) as second:
        want(manager)
        settle(manager, v1=State.UNLOADING)
        with pytest.raises(ServingError, match=r"Servable not found for request: Specific\(m, 1\)"):
            manager.handle("m", 1)
        assert first.loaded is second.loaded
        assert not first.loaded.is_closed
    settle(manager, v1=State.END)
    assert first.loaded.is_closed


@pytest.mark.parametrize("changes", [10, pytest.param(50, marks=pytest.mark.thorough)])
def test_one_request_after_another_finds_a_version_while_versions_replace_each_other(
    shelf: Shelf, manage: Manage, changes: int
) -> None:
    manager = manage()
    want(manager, 1)
    settle(manager, v1=State.AVAILABLE)
    stop = threading.Event()
    found: list[int] = []
    faults: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                with manager.handle("m") as handle:
                    found.append(handle.version)
                    if handle.loaded.is_closed:
                        faults.append(f"{handle.version} is closed")
            except ServingError as error:  # noqa: PERF203 each request counts
                faults.append(str(error))

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for number in range(changes):
        new = number % 2 + 1
        want(manager, new)
        eventually(lambda new=new: manager.is_available("m", new), f"version {new}")
        # On a busy machine a whole change may pass between two turns of an asker.
        before = len(found)
        eventually(lambda new=new, before=before: new in found[before:], f"{new} is found")
    stop.set()
    for asker in askers:
        asker.join()
    assert faults == []
    assert set(found) == {1, 2}


@pytest.mark.parametrize("threads", [0, 2])
def test_load_threads_decide_whether_loads_wait_for_each_other(
    shelf: Shelf, manage: Manage, threads: int
) -> None:
    manager = manage(LoadOptions(max_retries=0, load_threads=threads))
    shelf.slow[2] = threading.Event()

    want(manager, 1, 2)

    if threads:
        settle(manager, v1=State.AVAILABLE, v2=State.LOADING)
    else:
        settle(manager, v1=State.START, v2=State.LOADING)
        time.sleep(0.1)
        settle(manager, v1=State.START, v2=State.LOADING)
    shelf.slow[2].set()
    settle(manager, v1=State.AVAILABLE, v2=State.AVAILABLE)


@pytest.mark.parametrize("threads", [0, 2])
def test_unload_threads_decide_whether_a_load_waits_for_requests_in_flight(
    shelf: Shelf, manage: Manage, threads: int
) -> None:
    manager = manage(LoadOptions(max_retries=0, unload_threads=threads))
    want(manager, 1, 2)
    settle(manager, v1=State.AVAILABLE, v2=State.AVAILABLE)

    with manager.handle("m", 1):
        want(manager, 2, 3)
        third = State.AVAILABLE if threads else State.START
        settle(manager, v1=State.UNLOADING, v2=State.AVAILABLE, v3=third)
    settle(manager, v1=State.END, v2=State.AVAILABLE, v3=State.AVAILABLE)


def test_the_first_loads_of_the_process_run_side_by_side(shelf: Shelf) -> None:
    manager = VersionManager(shelf, ONCE)
    shelf.slow[2] = threading.Event()

    want(manager, 1, 2)

    assert manager.wait_until_available(["m"], timeout_s=10)["m"].version == 1
    shelf.slow[2].set()
    settle(manager, v1=State.AVAILABLE, v2=State.AVAILABLE)
    manager.close()


def test_a_failed_load_is_tried_again_and_tells_its_error_only_at_the_end(
    shelf: Shelf, manage: Manage
) -> None:
    manager = manage(LoadOptions(max_retries=2, retry_interval_s=0.2))
    shelf.broken.add(1)

    want(manager, 1)

    eventually(lambda: shelf.done == ["failed 1"], "the first attempt")
    row = manager.statuses("m")[0]
    assert (row.state, row.error) == (State.LOADING, None)
    settle(manager, v1=State.END)
    assert shelf.done == ["failed 1"] * 3
    assert str(manager.statuses("m")[0].error) == "INVALID_ARGUMENT: 1 is broken"


def test_a_load_that_succeeds_at_last_leaves_no_error(shelf: Shelf, manage: Manage) -> None:
    manager = manage(LoadOptions(max_retries=5, retry_interval_s=0.05))
    shelf.broken.add(1)
    want(manager, 1)
    eventually(lambda: len(shelf.done) == 2, "the second attempt")

    shelf.broken.clear()

    settle(manager, v1=State.AVAILABLE)
    assert manager.statuses("m")[0].error is None


def test_dropping_a_version_ends_its_retries(shelf: Shelf, manage: Manage) -> None:
    manager = manage(LoadOptions(max_retries=5, retry_interval_s=60))
    shelf.broken.add(2)
    want(manager, 1, 2)
    eventually(lambda: shelf.done == ["failed 2"], "the first attempt")

    want(manager, 1)

    settle(manager, v1=State.AVAILABLE, v2=State.END)


def test_closing_ends_retries_and_unloads_everything(shelf: Shelf) -> None:
    manager = VersionManager(shelf, LoadOptions(retry_interval_s=60))
    shelf.broken.add(2)
    want(manager, 1, 2)
    settle(manager, v1=State.AVAILABLE, v2=State.LOADING)

    started = time.monotonic()
    manager.close(timeout_s=60)

    assert time.monotonic() - started < 30
    assert states(manager) == {1: State.END, 2: State.END}
    assert "unloaded 1" in shelf.done


def test_whatever_a_load_raises_is_its_own_error(tmp_path: Path) -> None:
    def load(model: str, version: int, path: Path) -> Loaded:
        raise RuntimeError("deep inside")

    manager = VersionManager(load, ONCE)
    manager.aspire("m", {1: tmp_path})
    settle(manager, v1=State.END)
    assert str(manager.statuses("m")[0].error) == "UNKNOWN: RuntimeError: deep inside"
    manager.close()


def test_a_version_that_cannot_be_closed_ends_all_the_same(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("cannot be closed")

    manager = VersionManager(lambda *_: Loaded(fail), ONCE)
    manager.aspire("m", {1: tmp_path})
    settle(manager, v1=State.AVAILABLE)
    manager.aspire("m", {2: tmp_path})
    settle(manager, v1=State.END, v2=State.AVAILABLE)
    manager.close()


def test_waiting_is_over_when_somebody_says_so(shelf: Shelf, manage: Manage) -> None:
    manager = manage()
    waited: list[object] = []
    waiter = threading.Thread(target=lambda: waited.append(manager.wait_until_available(["no"])))
    waiter.start()

    manager.stop_waiting()
    waiter.join(5)

    assert waited == [{}]


def test_a_load_that_hangs_holds_up_no_other_for_ever(
    shelf: Shelf, manage: Manage, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.slow[2] = threading.Event()
    manager = manage(hung_s=0.2)

    want(manager, 1, 2)
    settle(manager, v2=State.LOADING, v1=State.AVAILABLE)
    want(manager, 2, 3)

    settle(manager, v3=State.AVAILABLE, v2=State.LOADING, v1=State.END)
    assert "does the disk answer" in caplog.text
    shelf.slow[2].set()
    settle(manager, v3=State.AVAILABLE, v2=State.AVAILABLE, v1=State.END)


def test_a_load_that_takes_its_time_holds_up_the_others(shelf: Shelf, manage: Manage) -> None:
    shelf.slow[2] = threading.Event()
    manager = manage(hung_s=60)

    want(manager, 1, 2)
    settle(manager, v2=State.LOADING, v1=State.START)
    time.sleep(0.5)

    assert states(manager) == {2: State.LOADING, 1: State.START}
    shelf.slow[2].set()
    settle(manager, v2=State.AVAILABLE, v1=State.AVAILABLE)
    assert shelf.done == ["loaded 2", "loaded 1"]


def test_who_waits_for_a_model_waits_as_long_as_the_caller(manage: Manage) -> None:
    manager = manage()
    waits = threading.Event()
    waits.set()
    found: list[object] = []

    def wait() -> None:
        with caller.waiting(waits.is_set):
            found.append(manager.wait_until_available(["m"]))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.5)
    assert found == []
    waits.clear()
    thread.join(10)
    assert found == [{}]
