"""A router follows a real file: changed, wrong, missing, killed by file and by code."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import threading
import time
from collections.abc import Iterator

import pytest

from tfs_client.errors import RequestError
from tfs_client.routing.router import Router, Split


def test_a_file_is_dealt_from(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(
        '{"experiment": "e", "weights": {"a": 9, "b": 1}, "control": "b", "killed": ["a"]}'
    )
    split = Router.from_file(path).split
    assert split == Split(experiment="e", weights={"a": 9, "b": 1}, control="b", killed={"a"})
    path.write_text('{"experiment": "e", "weights": {"stable": 9, "b": 1}}')
    split = Router.from_file(str(path)).split
    assert (split.control, split.killed) == ("stable", frozenset())


WRONG = {
    '{"experiment": "e",\n "weights": {"stable" 1}}': r"at line 2, column 23;",
    "": r"at line 1, column 1;",
    "[1]": r"JSON object. Received: \[1\];",
    '{"experiment": "e", "weigths": {"stable": 1}}': r"'weigths', which is unknown, no 'weights';",
    '{"weights": {"stable": 1}}': r"no 'experiment';",
    '{"experiment": "", "weights": {"stable": 1}}': r"experiment with a name",
    '{"experiment": "e", "weights": {"stable": 1}, "weight": 1}': r"'weight', which is unknown;",
    '{"experiment": "e", "weights": {"stable": -1}}': r"weight of 'stable' to be 0 or more",
    '{"experiment": "e", "weights": {"stable": true}}': r"weight of 'stable' to be 0 or more",
    '{"experiment": "e", "weights": {"stable": NaN}}': r"weight of 'stable' to be 0 or more",
    '{"experiment": "e", "weights": ["stable"]}': r"weights by label",
    '{"experiment": "e", "weights": {"stable": 1, "stable": 2}}': r"'stable' twice",
    '{"experiment": "e", "weights": {"stable": 1}, "control": "b"}': r"control='b'",
    '{"experiment": "e", "weights": {"stable": 1}, "control": null}': r"control=None",
    '{"experiment": "e", "weights": {"stable": 1, "b": 1}, "killed": "b"}': r"killed='b'",
    '{"experiment": "e", "weights": {"stable": 1}, "killed": [["b"]]}': r"labels to kill",
    '{"experiment": "e", "weights": {"stable": 1}, "killed": ["stable"]}': r"labels to kill",
    "[" * 200_000: r"Expected JSON in UTF-8\.",
    b'{"experiment": "\xff"}': r"Expected JSON in UTF-8\.",
}


@pytest.mark.parametrize(("text", "words"), WRONG.items(), ids=[str(n) for n in range(len(WRONG))])
def test_a_wrong_file_is_refused_at_first_with_its_path_and_what_is_wrong(tmp_path, text, words):
    path = tmp_path / "split.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RequestError, match=words) as caught:
        Router.from_file(path)
    assert str(caught.value).startswith(f"{path}: Expected ")


@pytest.mark.parametrize(("text", "words"), WRONG.items(), ids=[str(n) for n in range(len(WRONG))])
def test_a_file_that_goes_wrong_later_is_told_once_and_changes_nothing(deck, caplog, text, words):
    deck.write(text=text)
    assert [deck.label for _ in range(5)] == ["canary"] * 5
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("tfs_client.routing.router", "ERROR")
    assert str(deck.path) in record.message
    assert "last good split stays" in record.message


@pytest.mark.parametrize("poll_s", [-1, math.nan, math.inf, True, "1", None])
def test_a_poll_interval_that_is_none_is_refused(deck, poll_s):
    with pytest.raises(RequestError, match="Expected poll_s"):
        Router.from_file(deck.path, poll_s=poll_s)


def test_a_missing_file_is_refused_at_first(tmp_path):
    with pytest.raises(RequestError, match=r"Expected a file .*nowhere.json.*No such file.*; "):
        Router.from_file(tmp_path / "nowhere.json")
    with pytest.raises(RequestError, match="Is a directory"):
        Router.from_file(tmp_path)


def test_a_changed_file_is_taken_over_and_told_with_the_old_and_the_new_weights(deck, caplog):
    caplog.set_level(logging.INFO)
    deck.write(weights={"stable": 1, "canary": 0})
    assert [deck.label for _ in range(3)] == ["stable"] * 3
    (record,) = caplog.records
    assert record.levelname == "INFO"
    old, new = record.message.split(" -> ")
    assert "{'stable': 0.0, 'canary': 1.0}" in old
    assert "{'stable': 1.0, 'canary': 0.0}" in new
    deck.write(killed=["canary"])
    assert deck.router.assign(1) == dataclasses.replace(
        deck.router.assign(1), label="stable", killed=True
    )


def test_a_file_that_is_only_touched_is_no_change(deck, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(3):
        deck.write()
        assert deck.label == "canary"
    assert caplog.messages == []


def test_the_last_good_split_stays_while_the_file_is_gone_and_its_return_is_told(deck, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(2):
        deck.path.unlink()
        assert [deck.label for _ in range(5)] == ["canary"] * 5
        deck.write()
        assert deck.label == "canary"
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"] * 2
    assert "No such file" in caplog.messages[0]


def test_each_new_fault_is_told(deck, caplog):
    for text in ("{", "{", "[", "{"):
        deck.write(text=text)
        _ = deck.label
    assert len(caplog.records) == 3


def test_the_file_is_looked_at_once_an_interval_at_most(clock, deck):
    every_second = Router.from_file(deck.path)
    seldom = Router.from_file(deck.path, poll_s=3600)
    for now, before in [("stable", "canary"), ("canary", "stable")]:
        deck.write(weights={"stable": 0, "canary": 0, now: 1})
        clock.now_s += 0.99
        assert every_second.assign(1).label == before
        clock.now_s += 0.01
        assert every_second.assign(1).label == now
        assert seldom.assign(1).label == "canary"


def test_a_file_that_looks_the_same_and_is_not_young_is_not_read_again(deck):
    os.utime(deck.path, (1e9, 1e9))
    assert deck.label == "canary"
    deck.swap_in_place(mtime_ns=10**18)
    assert deck.label == "canary"
    os.utime(deck.path, (1e9, 1e9 + 1))
    assert deck.label == "stable"


def test_a_second_write_within_one_tick_of_the_clock_is_seen(deck):
    young_ns = time.time_ns() + 3600 * 10**9
    os.utime(deck.path, ns=(young_ns, young_ns))
    assert deck.label == "canary"
    deck.swap_in_place(mtime_ns=young_ns)
    assert deck.label == "stable"


def test_another_experiment_deals_anew_and_is_a_warning(deck, caplog):
    before = deck.router.assign(1).unit
    deck.write(experiment="f")
    now = deck.router.assign(1)
    assert now.experiment == "f"
    assert now.unit != before
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "everybody is dealt anew" in record.message


def test_weights_of_a_file_are_changed_in_the_file_only(deck):
    with pytest.raises(RequestError, match=rf"weights from {deck.path}.*; edit that file"):
        deck.router.set_weights({"stable": 1})
    assert deck.label == "canary"


def test_kills_by_code_are_added_to_those_of_the_file_until_they_are_revived(deck):
    weights = {"stable": 1, "b": 1, "canary": 1}
    deck.write(weights=weights, killed=["b"])
    deck.router.kill("canary")
    assert deck.router.split.killed == {"b", "canary"}
    deck.write(weights=weights, killed=[])
    assert deck.router.split.killed == {"canary"}
    deck.write(weights={"stable": 1})
    assert deck.router.split.killed == frozenset()
    deck.write(weights=weights, killed=["b", "canary"])
    assert deck.router.split.killed == {"b", "canary"}
    deck.router.revive("canary")
    deck.write(weights=weights)
    assert deck.router.split.killed == frozenset()


def test_what_the_file_kills_is_revived_in_the_file_only(deck):
    deck.write(killed=["canary"])
    with pytest.raises(RequestError, match=rf"'canary', which {deck.path} kills; edit that file"):
        deck.router.revive("canary")
    deck.router.kill("canary")
    deck.router.revive("canary")  # takes back its own kill, and leaves the file's
    deck.router.revive()
    assert deck.router.split.killed == {"canary"}


def test_a_kill_knows_the_labels_that_the_file_has_by_now(deck):
    router = Router.from_file(deck.path, poll_s=3600)
    deck.write(weights={"stable": 0, "fresh": 1})
    router.kill("fresh")
    assert router.assign(1).killed


def test_a_kill_holds_while_the_file_is_broken(deck):
    deck.write(text="{")
    deck.router.kill("canary")
    assert deck.label == "stable"


def test_a_file_cannot_make_a_label_the_control_that_code_has_killed(deck, caplog):
    deck.router.kill("canary")
    deck.write(control="canary", weights={"stable": 1, "canary": 1, "b": 1})
    caplog.clear()
    assert [deck.label for _ in range(3)] == ["stable"] * 3
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "'canary'; revive it" in record.message
    deck.router.revive()
    assert deck.router.split.control == "canary"
    assert set(deck.router.split.weights) == {"stable", "canary", "b"}


def test_reviving_another_label_does_not_let_a_killed_control_in(deck):
    deck.write(weights={"stable": 1, "canary": 1, "b": 1})
    deck.router.kill()
    deck.write(control="canary")
    deck.router.revive("b")
    assert (deck.router.split.control, deck.router.split.killed) == ("stable", {"canary"})


@pytest.fixture
def handler() -> Iterator[logging.Handler]:
    handler = logging.Handler()
    logging.getLogger("tfs_client.routing.router").addHandler(handler)
    yield handler
    logging.getLogger("tfs_client.routing.router").removeHandler(handler)


def test_a_log_handler_may_react_by_killing(deck, handler):
    handler.emit = lambda record: deck.router.split.killed or deck.router.kill("canary")
    deck.write(text="{")
    assert deck.label == "stable"
    assert deck.router.split.killed == {"canary"}


def test_nobody_waits_for_another_thread_that_looks_at_the_file(deck, handler):
    looking, go_on = threading.Event(), threading.Event()
    handler.emit = lambda record: (looking.set(), go_on.wait(30))
    deck.write(text="{")
    thread = threading.Thread(target=lambda: deck.label)
    thread.start()
    assert looking.wait(30)
    assert deck.label == "canary"
    assert thread.is_alive()
    go_on.set()
    thread.join()


def test_following_a_file_takes_no_thread(deck):
    before = threading.active_count()
    Router.from_file(deck.path, poll_s=0).assign(1)
    assert threading.active_count() == before
