"""The file, its lock and its journal, without a server."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import socket
from pathlib import Path

import pytest

from foundation.command_line import InputError
from foundation.digests import version_digest
from foundation.figures import write_json
from serving.fleet.addresses import addresses
from serving.fleet.config_file import ConfigFile
from serving.fleet.place import EditedMeanwhileError
from serving.models_config import ConfigError
from serving.rollout import gate_verdict
from serving.rollout.__main__ import main
from serving.rollout.journal import Change, Journal
from tfs_client.contract import GATE_VERDICT

TEXT = """# ours
model_config_list {
  config { name: "m" base_path: "/models/m" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 } } version_labels { key: "stable" value: 1 } }
}
"""

CHANGE = Change(
    id="a",
    model="m",
    verb="canary",
    version=2,
    who="ann@host",
    time="2026-01-01T00:00:00+00:00",
    why="",
    by="rpc",
    servers=("h:1",),
    before={"versions": [1], "labels": {"stable": 1}},
    after={"versions": [1, 2], "labels": {"stable": 1, "canary": 2}},
)


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    (tmp_path / "models.config").write_text(TEXT)
    return ConfigFile(tmp_path / "models.config")


def test_a_write_keeps_header_and_mode_and_leaves_nothing_beside(
    file: ConfigFile, tmp_path: Path
) -> None:
    (tmp_path / "models.config").chmod(0o640)
    file.write(file.read())
    assert file.path.read_text().startswith("# ours\nmodel_config_list {")
    assert file.path.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["models.config"]


def test_a_link_to_the_file_stays_one(file: ConfigFile, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere"
    link.symlink_to(file.path)
    linked = ConfigFile(link)
    linked.write(linked.read())
    assert link.is_symlink()
    assert "version_labels" in file.path.read_text()


def test_what_somebody_else_has_written_meanwhile_is_not_overwritten(file: ConfigFile) -> None:
    config = file.read()
    edited = TEXT + "# theirs\n"
    file.path.write_text(edited)
    with pytest.raises(EditedMeanwhileError, match="Somebody edits it"):
        file.write(config)
    assert file.path.read_text() == edited


def _hold(path: Path, held: object, let_go: object) -> None:
    with ConfigFile(path).sole_operator({"who": "bob", "verb": "promote", "pid": 7, "time": "t"}):
        held.set()  # type: ignore[attr-defined]
        let_go.wait(30)  # type: ignore[attr-defined]


def test_a_second_operator_is_told_who_the_first_one_is_until_that_one_is_killed(
    file: ConfigFile,
) -> None:
    spawning = multiprocessing.get_context("spawn")
    held, let_go = spawning.Event(), spawning.Event()
    first = spawning.Process(target=_hold, args=(file.path, held, let_go))
    first.start()
    try:
        assert held.wait(30)
        assert file.operator() == "bob runs promote since t (process 7)"
        with pytest.raises(InputError, match="bob runs promote"), file.sole_operator({}):
            pass
        os.kill(first.pid or 0, signal.SIGKILL)
        first.join(30)
        with file.sole_operator({"who": "me"}):
            pass
        assert file.operator() is None
    finally:
        first.kill()
        first.join()


def test_what_is_under_way_is_known_until_it_has_ended(file: ConfigFile) -> None:
    journal = Journal(file)
    assert journal.pending() is None
    journal.begin(CHANGE)
    assert Journal(file).pending() == CHANGE
    journal.end(dataclasses.replace(CHANGE, outcome="done"))
    assert journal.pending() is None
    assert [change.outcome for change in journal.history()[0]] == ["done"]


def test_a_change_killed_after_its_line_was_written_is_not_under_way(file: ConfigFile) -> None:
    journal = Journal(file)
    journal.begin(CHANGE)
    journal.append(dataclasses.replace(CHANGE, outcome="done"))
    assert journal.pending() is None
    assert not file.beside("pending.json").exists()


def test_a_torn_line_spoils_neither_the_lines_before_nor_the_next(file: ConfigFile) -> None:
    journal = Journal(file)
    journal.end(CHANGE)
    with file.path.with_name("models.config.history.jsonl").open("a") as history:
        history.write('{"id": "torn')
    journal.end(dataclasses.replace(CHANGE, id="b"))
    changes, unreadable = journal.history()
    assert [change.id for change in changes] == ["a", "b"]
    assert unreadable == 1


def test_a_note_that_is_none_of_ours_stops_everything(file: ConfigFile) -> None:
    file.beside("pending.json").write_text("{}")
    with pytest.raises(InputError, match="as a rollout writes it"):
        Journal(file).pending()


def test_what_was_left_of_another_models_change_is_that_models_to_see_to(
    file: ConfigFile, capsys: pytest.CaptureFixture[str]
) -> None:
    Journal(file).begin(dataclasses.replace(CHANGE, model="other"))
    before = file.path.read_text()
    target = ("--target", "127.0.0.1:1")
    assert main(["rollback", "--config", str(file.path), "--model", "m", *target]) == 2
    assert "with --model other" in capsys.readouterr().err
    assert file.path.read_text() == before


def test_a_file_edited_by_hand_with_an_error_is_told_with_line_and_column(
    file: ConfigFile, capsys: pytest.CaptureFixture[str]
) -> None:
    file.path.write_text(TEXT.replace("version_labels {", "version_lables {"))
    with pytest.raises(ConfigError):
        file.read()
    assert main(["promote", "--config", str(file.path), "--model", "m"]) == 2
    assert f"{file.path}:4:55: Expected a ModelServerConfig" in capsys.readouterr().err


def test_a_name_stands_for_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def known(host: str, port: int, **_: object) -> list[object]:
        assert host == "models.example"
        four = [(socket.AF_INET, 1, 6, "", (f"10.0.0.{last}", port)) for last in (2, 1, 2)]
        return [*four, (socket.AF_INET6, 1, 6, "", ("fd00::1", port, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", known)
    assert addresses("dns:///models.example:8500") == ["10.0.0.1:8500", "10.0.0.2:8500"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:8500", ["127.0.0.1:8500"]),
        ("[::1]:8500", ["[::1]:8500"]),
        ("ipv4:10.0.0.1:8500,10.0.0.2:8500", ["10.0.0.1:8500", "10.0.0.2:8500"]),
        ("unix:/run/models.sock", ["unix:/run/models.sock"]),
    ],
)
def test_an_address_stands_for_itself(target: str, expected: list[str]) -> None:
    assert addresses(target) == expected


def test_a_name_that_is_not_known_is_told_with_the_flag() -> None:
    with pytest.raises(InputError, match=r"Check --target nowhere\.invalid:8500"):
        addresses("nowhere.invalid:8500")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for version in (1, 2):
        folder = tmp_path / "m" / str(version)
        (folder / "assets.extra").mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"graph %d" % version)
    return tmp_path / "m"


def verdict(store: Path, **other: object) -> None:
    digest = version_digest(store / "2")
    written = {"passed": True, "against": 1, "version_sha256": digest, "checks": [], **other}
    write_json(store / "2" / GATE_VERDICT, written)


def test_a_version_that_passed_against_the_stable_one_is_let_through(store: Path) -> None:
    verdict(store)
    assert gate_verdict.objection(store, 2, 1) == ""


@pytest.mark.parametrize(
    ("other", "objection"),
    [
        (
            {"passed": False, "checks": [{"name": "size", "holds": False}]},
            "refused version 2: size",
        ),
        (
            {
                "passed": False,
                "checks": [
                    {"name": "size", "holds": True, "state": "holds"},
                    {
                        "name": "robust",
                        "holds": None,
                        "state": "unknown",
                        "cures": ["900 images", "--margin 0.1"],
                    },
                ],
            },
            "refused version 2: nothing fails; unknown: robust (900 images; or --margin 0.1). See",
        ),
        ({"passed": "yes"}, "refused version 2"),
        ({"against": 3}, "against 3, and 1 is stable"),
        ({"version_sha256": "0"}, "has changed since"),
    ],
)
def test_any_other_verdict_is_an_objection(
    store: Path, other: dict[str, object], objection: str
) -> None:
    verdict(store, **other)
    assert objection in gate_verdict.objection(store, 2, 1)


def test_no_verdict_and_an_unreadable_one_are_objections(store: Path) -> None:
    assert "was not asked" in gate_verdict.objection(store, 2, 1)
    (store / "2" / GATE_VERDICT).write_text("{")
    assert "cannot be read" in gate_verdict.objection(store, 2, 1)


def test_a_version_that_is_not_in_the_store_is_refused_with_those_that_are(store: Path) -> None:
    with pytest.raises(InputError, match=r"Expected version 3 .* Received: 1, 2"):
        gate_verdict.objection(store, 3, 1)


def test_a_version_is_another_one_when_one_byte_or_one_name_is(store: Path) -> None:
    found = {version_digest(store / "1"), version_digest(store / "2")}
    (store / "1" / "variables").mkdir()
    (store / "1" / "variables" / "a").write_bytes(b"x")
    found.add(version_digest(store / "1"))
    (store / "1" / "variables" / "a").rename(store / "1" / "variables" / "b")
    found.add(version_digest(store / "1"))
    (store / "1" / "assets.extra" / "gate.json").write_text("{}")
    found.add(version_digest(store / "1"))
    assert len(found) == 4
