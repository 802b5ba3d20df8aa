"""Which versions are wanted: model folders, policies, polling."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from serving.local import caller
from serving.local.versions import source as source_module
from serving.local.versions.source import FolderSource, mapped, versions_in
from serving.models_config import All, Latest, Model, Policy, Specific
from tests.integration.local_server_fixtures import eventually


def test_whole_numbers_are_versions_whatever_they_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("1", "0002", ".3", "four", "5.tmp", "-6", "0", "²", "99999999999999999999", "+9"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")

    found = versions_in(tmp_path, pytest.fail)

    names = {number: path.name for number, path in found.items()}
    assert names == {-6: "-6", 0: "0", 1: "1", 2: "0002", 7: "7"}


@pytest.mark.parametrize(("first_wins", "name"), [(False, "1"), (True, "001")])
def test_of_two_folders_for_one_version_one_is_ignored(
    tmp_path: Path, first_wins: bool, name: str
) -> None:
    for folder in ("001", "1"):
        (tmp_path / folder).mkdir()
    said: list[str] = []

    assert versions_in(tmp_path, said.append, first_wins) == {1: tmp_path / name}

    other = {"1": "001", "001": "1"}[name]
    assert said == [
        "Duplicate version directories detected. Version 1 will be loaded from "
        f"{name}, {other} will be ignored."
    ]


@pytest.mark.parametrize(
    ("base_path", "folder"),
    [
        ("/models/m", "/store/m"),
        ("/models", "/store"),
        ("/models2/m", "/models2/m"),
        ("file:///abs/m", "/abs/m"),
    ],
)
def test_the_prefix_map_maps_whole_parts_of_a_path(base_path: str, folder: str) -> None:
    assert mapped(base_path, ("/models/", "/store")) == Path(folder)


class Wishes:
    """What a source wants, newest last."""

    def __init__(self) -> None:
        self.all: list[tuple[str, list[int]]] = []

    def __call__(self, model: str, versions: dict[int, Path]) -> None:
        self.all.append((model, sorted(versions)))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two models: a with versions 1 to 3, b with version 1."""
    for version in ("a/1", "a/2", "a/3", "b/1"):
        (tmp_path / version).mkdir(parents=True)
    return tmp_path


def model(store: Path, name: str, policy: Policy = Latest()) -> Model:  # noqa: B008 frozen
    return Model(name=name, base_path=str(store / name), policy=policy)


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        (Latest(), [3]),
        (Latest(2), [2, 3]),
        (Latest(9), [1, 2, 3]),
        (All(), [1, 2, 3]),
        (Specific((1, 3)), [1, 3]),
        (Specific((2, 9)), [2]),
        (Specific((9,)), []),
        (Specific(()), []),
    ],
)
def test_a_policy_selects_versions(store: Path, policy: Policy, wanted: list[int]) -> None:
    wishes = Wishes()
    source = FolderSource(wishes, 60, None)

    source.configure((model(store, "a", policy),))

    assert wishes.all == [("a", wanted)]
    source.close()


def test_a_missing_specific_version_is_a_warning(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = FolderSource(Wishes(), 0.02, None)
    source.configure((model(store, "a", Specific((2, 9))),))
    time.sleep(0.2)
    source.close()

    assert [record.message for record in caplog.records] == [
        "Version 9 of servable a, which was requested to be served as a 'specific' version in the "
        "servable's version policy, was not found in the file system"
    ]


def test_a_folder_without_versions_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").mkdir()
    source = FolderSource(Wishes(), 60, None)
    source.configure((model(tmp_path, "a"),))
    source.close()

    assert caplog.messages == [
        f"No versions of servable a found under base path {tmp_path / 'a'}. Did you forget to name "
        "your leaf directory as a number (eg. '/1/')?"
    ]


def test_one_missing_base_path_stops_the_polling_of_all_models(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wishes = Wishes()
    source = FolderSource(wishes, 0.02, None)
    source.configure((model(store, "a"), model(store, "gone")))
    time.sleep(0.1)
    assert wishes.all == []
    assert "Could not find base path" in caplog.text

    (store / "gone" / "5").mkdir(parents=True)
    eventually(lambda: ("a", [3]) in wishes.all and ("gone", [5]) in wishes.all, "both are wanted")
    source.close()


def test_an_omitted_model_is_dropped_at_once(store: Path) -> None:
    wishes = Wishes()
    source = FolderSource(wishes, 60, None)
    source.configure((model(store, "a"), model(store, "b")))
    source.configure((model(store, "b"),))
    source.close()

    assert ("a", []) in wishes.all


@pytest.mark.parametrize(("wait_s", "first"), [(0, [("a", [3])]), (-1, [])])
def test_without_polling_no_folder_is_looked_at_again(
    store: Path, wait_s: float, first: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    wishes = Wishes()
    source = FolderSource(wishes, wait_s, None)
    source.configure((model(store, "a"),))
    assert wishes.all == first

    source.configure((model(store, "a"), model(store, "b")))

    assert wishes.all == first
    assert "no folder is looked at" in caplog.text
    source.close()


@pytest.fixture(autouse=True)
def _log_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def test_a_folder_that_does_not_answer_holds_up_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good" / "1").mkdir(parents=True)
    hangs, go = threading.Event(), threading.Event()
    read = source_module.versions_in

    def like_a_hung_mount(folder: Path, *more: object, **named: bool) -> dict[int, Path]:
        if folder.name == "hangs":
            hangs.set()
            go.wait(60)
        return read(folder, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(source_module, "versions_in", like_a_hung_mount)
    wishes = Wishes()
    source = FolderSource(wishes, 0.05, None)
    good, bad = model(tmp_path, "good"), model(tmp_path, "hangs")

    began = time.monotonic()
    with caller.waiting(lambda: time.monotonic() - began < 0.5):
        source.configure((good, bad))
    assert hangs.is_set()
    source.configure((good,))

    assert time.monotonic() - began < 10
    assert dict(wishes.all)["good"] == [1]
    (tmp_path / "good" / "2").mkdir()
    eventually(lambda: dict(wishes.all)["good"] == [2], "the good one is polled again")
    source.close()
    go.set()


def test_a_look_that_was_overtaken_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    go, first = threading.Event(), threading.Event()
    read = source_module.versions_in

    def slow_at_first(folder: Path, *more: object, **named: bool) -> dict[int, Path]:
        found = read(folder, *more, **named)  # type: ignore[arg-type]
        if not first.is_set():
            first.set()
            assert go.wait(20)
        return found

    monkeypatch.setattr(source_module, "versions_in", slow_at_first)
    wishes = Wishes()
    source = FolderSource(wishes, 60, None)
    with caller.waiting(lambda: False):
        source.configure((model(tmp_path, "m"),))
    assert first.is_set()
    (tmp_path / "m" / "2").mkdir()
    source.configure((model(tmp_path, "m"),))
    assert dict(wishes.all)["m"] == [2]

    go.set()
    time.sleep(0.3)

    assert dict(wishes.all)["m"] == [2]
    source.close()
