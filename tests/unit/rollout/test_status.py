"""What `status` says of the history, how it is told to look, and how it looks again and again."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from serving.fleet.config_file import ConfigFile
from serving.rollout.__main__ import main
from serving.rollout.journal import Change, Journal
from serving.rollout.states import State
from serving.rollout.status import command, past
from tests.unit.rollout.test_files import CHANGE, TEXT

NOW = datetime.datetime(2026, 1, 1, 3, 12, tzinfo=datetime.timezone.utc).timestamp()

ALONE: dict[str, Any] = {"versions": [1], "labels": {"stable": 1}}
TRIAL: dict[str, Any] = {"versions": [1, 2], "labels": {"stable": 1, "canary": 2}}
PROMOTED: dict[str, Any] = {
    "versions": [1, 2],
    "labels": {"canary": 2, "previous": 1, "stable": 2},
}


def state(fields: dict[str, Any]) -> State:
    return State(versions=tuple(fields["versions"]), labels=dict(sorted(fields["labels"].items())))


def change(
    verb: str, at: str, before: dict[str, Any], after: dict[str, Any], **more: Any
) -> Change:
    return dataclasses.replace(
        CHANGE,
        **{"id": f"{verb}{at}", "outcome": "done", "verb": verb, **more},
        time=f"2026-01-01T{at}:00+00:00",
        before=before,
        after=after,
    )


CANARY = change("canary", "01:00", ALONE, TRIAL, gate="passed over: too few images")
FAILED = change("canary", "03:00", TRIAL, TRIAL, version=3, outcome="undone", error="no such")
PROMOTE = change("promote", "03:00", TRIAL, PROMOTED)


def test_the_last_change_has_its_age_and_a_trial_that_of_its_beginning() -> None:
    found = past.read([CANARY], state(TRIAL), NOW)
    assert found.last == CANARY
    assert found.last_age_s == found.trial_age_s == 2 * 3600 + 12 * 60
    assert found.gate == "passed over: too few images"
    assert not found.edited


def test_what_was_undone_is_shown_beside_what_is_in_effect_and_ends_no_trial() -> None:
    found = past.read([CANARY, FAILED], state(TRIAL), NOW)
    assert (found.last, found.effective) == (FAILED, CANARY)
    assert (found.last_age_s, found.effective_age_s) == (720, 7920)
    assert found.trial_age_s == 7920


def test_a_trial_that_was_ended_and_begun_again_is_as_old_as_its_second_beginning() -> None:
    ended = change("rollback", "02:00", TRIAL, ALONE)
    again = change("canary", "03:00", ALONE, TRIAL)
    retired = change("retire", "03:10", TRIAL, TRIAL, version=3)
    found = past.read([CANARY, ended, again, retired], state(TRIAL), NOW)
    assert found.trial_age_s == 720
    ended_by_hand = past.read([CANARY, again], state(TRIAL), NOW)
    assert ended_by_hand.trial_age_s == 720


def test_a_promotion_has_the_gate_of_its_trial_and_a_rollback_none() -> None:
    assert past.read([CANARY, PROMOTE], state(PROMOTED), NOW).gate == CANARY.gate
    back = change("rollback", "03:10", PROMOTED, ALONE)
    found = past.read([CANARY, PROMOTE, back], state(ALONE), NOW)
    assert found.gate == ""
    assert found.trial_age_s is None


def test_what_was_edited_by_hand_is_told_and_its_trial_has_no_age() -> None:
    found = past.read([CANARY, change("rollback", "02:00", TRIAL, ALONE)], state(TRIAL), NOW)
    assert found.edited
    assert found.trial_age_s is None
    assert past.read([FAILED], state(ALONE), NOW).edited
    assert not past.read([FAILED], state(TRIAL), NOW).edited


@pytest.mark.parametrize("when", ["soon", "", "9999999-01-01", None, 3])
def test_a_time_that_is_none_is_no_age(when: Any) -> None:
    found = past.read([dataclasses.replace(CANARY, time=when)], state(TRIAL), NOW)
    assert found.last_age_s is None
    assert past.in_words(found.last_age_s) == "an unknown time"


def test_a_clock_that_is_behind_makes_no_negative_age() -> None:
    assert past.read([CANARY], state(TRIAL), NOW - 1e6).last_age_s == 0


@pytest.mark.parametrize(
    ("age_s", "words"),
    [
        *((0, "0 s"), (59.4, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3599.9, "59 min 59 s")),
        *((3600, "1 h"), (11520, "3 h 12 min"), (86400, "1 d"), (1e8, "1,157 d 9 h")),
    ],
)
def test_an_age_has_two_units_at_most(age_s: float, words: str) -> None:
    assert past.in_words(age_s) == words


@pytest.fixture
def place(tmp_path: Path) -> ConfigFile:
    """A models.config of model m, with a history; its server is not there."""
    (tmp_path / "models.config").write_text(TEXT)
    file = ConfigFile(tmp_path / "models.config")
    ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=90)
    began = ago.isoformat(timespec="seconds")
    other = dataclasses.replace(CHANGE, model="other", verb="promote", id="b")
    for one in (dataclasses.replace(CANARY, time=began, why="larger"), other):
        Journal(file).append(one)
    Journal(file).append(dataclasses.replace(FAILED, time=began, before=ALONE, who="bob"))
    return file


def arguments(place: ConfigFile, *flags: str) -> list[str]:
    server = ["--target", "127.0.0.1:1", "--model", "m"]
    return ["status", "--config", str(place.path), *server, *flags]


def test_status_tells_who_what_when_why_and_of_the_gate(
    place: ConfigFile, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(place)) == 1
    out = capsys.readouterr().out
    assert re.search(
        r"last change: canary 3, 1 h 30 min( \d s)? ago, by bob; undone \(no such\)\n"
        r"  in effect:   canary 2, 1 h 30 min( \d s)? ago, by ann@host; "
        r"gate passed over: too few images; why: larger\n"
        r"  edited since then",
        out,
    ), out
    assert main(arguments(place, "--json")) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["last_change"]["who"] == "bob"
    assert 5400 <= found["in_effect"]["age_s"] < 5500
    assert found["gate"] == "passed over: too few images"
    assert found["on_trial"] is None
    assert found["edited"] is True
    assert found["traffic"] is None


def test_without_a_prometheus_the_rest_is_shown_all_the_same(
    place: ConfigFile, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--traffic", "--prometheus", "http://127.0.0.1:1")
    assert main(arguments(place, *flags)) == 1
    out = capsys.readouterr().out
    assert "traffic of the last 5 min, from http://127.0.0.1:1: Expected a Prometheus at" in out
    assert "last change: canary 3" in out
    assert main(arguments(place, *flags, "--json")) == 1
    assert "Expected a Prometheus" in json.loads(capsys.readouterr().out)["traffic"]["error"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--prometheus http://h:1", "Expected --traffic with --prometheus"),
        ("--window-s 60", "Expected --traffic with --window-s"),
        ("--every-s 1", "Expected --watch with --every-s"),
        ("--traffic --window-s 59", "Expected --window-s from 60"),
        ("--traffic --window-s 99999999999", "Expected --window-s from 60"),
        ("--watch --every-s 0", "Expected --every-s above 0"),
        ("--watch --every-s nan", "Expected --every-s above 0"),
        ("--watch --every-s inf", "Expected --every-s above 0"),
        ("--traffic --prometheus=", "Expected the address of a Prometheus"),
        (
            "--traffic --prometheus http://a --prometheus http://b",
            "received twice: http://a and http://b",
        ),
        ("--namespace a --kubernetes --namespace b", "expected once, received twice: a and b"),
        ("--kubernetes --context=", "Expected a name with --context. Received: nothing"),
        ("--namespace= --kubernetes", "Expected a name with --namespace. Received: nothing"),
        ("--trafic", "unrecognized arguments: --trafic"),
    ],
)
def test_flags_alone_empty_twice_or_unknown_are_refused(
    flags: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: Any = main(["status", *flags.split()])
    except SystemExit as end:
        code = end.code
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_watch_looks_again_and_shows_what_it_saw_where_it_cannot_see(
    place: ConfigFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, waited = place.path.read_text(), []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise KeyboardInterrupt
        place.path.write_text("nonsense" if len(waited) == 1 else text)

    monkeypatch.setattr(command, "sleep", sleep)
    assert main(arguments(place, "--watch", "--every-s", "7")) == 130
    assert waited == [7, 7, 7]
    out = capsys.readouterr().out
    first, second, third = re.split(r"(?m)^(?=seen at|NOT SEEN NOW)", out)[1:]
    assert "every 7 s until Ctrl-C" in first
    assert second.startswith("NOT SEEN NOW: ")
    assert "Expected a ModelServerConfig" in second
    assert "last change: canary 3" in second
    assert third.startswith("seen at")


def test_a_watch_as_json_is_a_line_a_look(
    place: ConfigFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter(range(2))

    def sleep(_: float) -> None:
        if next(looks, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "sleep", sleep)
    assert main(arguments(place, "--watch", "--json")) == 130
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == 3
    assert all(one["model"] == "m" and one["time"] for one in found)


def test_a_watch_of_what_cannot_be_read_ends_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    assert main(["status", "--watch", "--config", str(tmp_path / "none")]) == 2
    assert time.monotonic() - began < 5
    assert "No such file" in capsys.readouterr().err
