"""What the verbs print of other people's words: no control character reaches the terminal."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from foundation.command_line import say
from serving.fleet.config_file import ConfigFile
from serving.fleet.fleet import Seen
from serving.rollout import report
from serving.rollout.__main__ import main
from serving.rollout.journal import Journal
from serving.rollout.states import State, promote
from serving.rollout.status import shown
from serving.rollout.status.looking import Status
from tests.unit.rollout.test_files import CHANGE, TEXT
from tfs_client.answers import VersionStatus

HOSTILE = "a\x1b[2J\x9b1m\u202e\rb\nc"

STATE = State(versions=(1, 2), labels={"stable": 1, "canary": 2, HOSTILE: 1})


def clean(text: str) -> bool:
    return all(one.isprintable() for line in text.split("\n") for one in line)


def test_the_table_of_servers_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen(
        address=HOSTILE,
        versions=(VersionStatus(version=1, state="END", code="INTERNAL", error=HOSTILE),),
        labels={HOSTILE: 2},
    )
    status = Status(
        model=HOSTILE, place=HOSTILE, state=STATE, servers=(seen,), pending=None, operator=HOSTILE
    )
    say(shown.as_text(status))
    out = capsys.readouterr().out
    assert clean(out)
    rows = out.split("\n")
    assert len([row for row in rows if "as the file" in row or "version 1 is END" in row]) == 1
    say(shown.as_json_text(status))
    out = capsys.readouterr().out
    assert clean(out)
    assert json.loads(out)["servers"][0]["address"] == HOSTILE


def test_the_history_and_a_plan_do_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models.config").write_text(TEXT)
    file = ConfigFile(tmp_path / "models.config")
    Journal(file).append(
        dataclasses.replace(CHANGE, who=HOSTILE, why=HOSTILE, error=HOSTILE, outcome="undone")
    )
    for flags in ((), ("--json",)):
        assert main(["history", "--config", str(file.path), "--model", "m", *flags]) == 0
        out = capsys.readouterr().out
        assert "a" in out
        assert clean(out)
        assert flags or len(out.splitlines()) == 2
    say(report.plan_as_text(promote(STATE)))
    assert clean(capsys.readouterr().out)
