"""The kill switch, other weights while threads assign, and what an assignment costs."""

from __future__ import annotations

import collections
import dataclasses
import logging
import sys
import threading
import time

import pytest

from tfs_client.errors import RequestError
from tfs_client.routing.router import Router

from .dealing import KEYS, eventually, labels_of


@pytest.fixture
def three() -> Router:
    return Router({"stable": 50, "b": 30, "canary": 20}, experiment="e")


def test_killing_a_label_moves_its_keys_to_the_control_and_nobody_else(three):
    before = labels_of(three, range(1000))
    three.kill("canary")
    for key, label in before.items():
        now = three.assign(key)
        assert now.label == ("stable" if label == "canary" else label)
        assert now.killed is (label == "canary")
    three.revive("canary")
    assert labels_of(three, range(1000)) == before
    assert not any(three.assign(key).killed for key in range(1000))


def test_the_control_of_the_killed_is_the_one_that_was_named():
    router = Router({"stable": 1, "old": 0}, experiment="e", control="old")
    router.kill("stable")
    assert router.assign(1).label == "old"


def test_kill_without_labels_leaves_the_control_alone_and_revive_brings_all_back(three):
    before = labels_of(three, range(300))
    three.kill("b")
    three.kill("canary")
    assert three.split.killed == {"b", "canary"}
    three.revive()
    three.kill()
    assert three.split.killed == {"b", "canary"}
    assert set(labels_of(three, range(300)).values()) == {"stable"}
    three.revive()
    assert labels_of(three, range(300)) == before


@pytest.mark.parametrize("label", ["stable", "nonsense", "", None, ["canary"]])
def test_the_control_and_unknown_labels_cannot_be_killed_and_nothing_changes(three, label):
    with pytest.raises(RequestError, match=r"Expected labels to kill .*: b, canary\. Received: "):
        three.kill("canary", label)
    assert three.split.killed == frozenset()


def test_an_unknown_label_cannot_be_revived_and_nothing_changes(three):
    three.kill("canary")
    with pytest.raises(RequestError, match=r"among b, canary, stable\. Received: 'nonsense'"):
        three.revive("canary", "nonsense")
    assert three.split.killed == {"canary"}
    three.revive("b")  # was never killed
    assert three.split.killed == {"canary"}


def test_kill_and_revive_are_logged(three, caplog):
    caplog.set_level(logging.INFO)
    three.kill("canary")
    three.revive()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "killed=[] -> experiment=" in caplog.messages[0]
    assert "killed=['canary'] -> experiment=" in caplog.messages[1]


def test_other_weights_hold_at_once_and_leave_the_killed_killed(three):
    three.kill("canary")
    three.set_weights({"stable": 1, "b": 0})
    assert dict(three.split.weights) == {"stable": 1.0, "b": 0.0}
    assert three.split.killed == frozenset()
    three.set_weights({"stable": 0, "canary": 1})
    assert three.assign(1) == dataclasses.replace(three.assign(1), label="stable", killed=True)


def test_refused_weights_change_nothing(three):
    before = three.split
    for weights in ({"stable": -1}, {"canary": 1}, {}):
        with pytest.raises(RequestError):
            three.set_weights(weights)
    assert three.split == before


@pytest.fixture
def hurried():
    """Python switches threads 500 times as often, so that a race shows sooner."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


def test_threads_that_assign_see_the_old_weights_or_the_new_ones_and_never_a_mixture(hurried):
    router = Router({"stable": 0, "a": 1}, experiment="e")
    done, seen = threading.Event(), collections.Counter()

    def assign():
        while not done.is_set():
            seen[router.assign(1).label] += 1

    threads = [threading.Thread(target=assign) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(500):
        router.set_weights({"stable": 0, "ab"[turn % 2]: 1})
    eventually(lambda: len(seen) > 1 or router.set_weights({"stable": 0, "b": 1}))
    done.set()
    for thread in threads:
        thread.join()
    assert set(seen) == {"a", "b"}


def test_an_assignment_takes_microseconds_and_not_milliseconds():
    router = Router({"stable": 90, "canary": 10}, experiment="e")
    began = time.process_time()
    labels_of(router)
    assert (time.process_time() - began) / KEYS < 100e-6  # measured: 4
