"""The router: real files, threads and processes; the formula against a second writing of it."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tfs_client.background import callbacks, jsonl
from tfs_client.errors import RequestError
from tfs_client.routing import router as module, split
from tfs_client.routing.router import Assignment, Exposure, ExposureLog, Router, Split

KEYS = 20_000

EXPOSURE = Exposure(
    experiment="bigger net",
    unit="d262f1ae84e514cc",
    label="canary",
    answered_by="image_classifier/labels/canary",
    model="image_classifier",
    version=3,
    request_id="r-1",
    time_s=1767225600.5,
    latency_s=0.25,
    error="",
    needs_review=None,
    predicted="defective",
    probability=0.75,
)

weight = st.floats(1e-6, 1e6)


def labels_of(router: Router, keys: range = range(KEYS)) -> dict[int, str]:
    return {key: router.assign(key).label for key in keys}


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


class Deck:
    """A split file on disk, and the router that follows it and looks at every assignment."""

    def __init__(self, path: Path):
        self.path = path
        self.write()
        self.router = Router.from_file(path, poll_s=0)

    def write(self, *, text: str | bytes | None = None, **changes: object) -> None:
        whole = {"experiment": "e", "weights": {"stable": 0, "canary": 1}, "control": "stable"}
        text = json.dumps({**whole, **changes}) if text is None else text
        aside = self.path.with_suffix(".new")
        aside.write_bytes(text.encode() if isinstance(text, str) else text)
        aside.replace(self.path)

    def swap_in_place(self, *, mtime_ns: int) -> None:
        """Gives stable the weight of canary: the same inode and size, a chosen time."""
        text = self.path.read_text()
        self.path.write_text(text.replace('0, "canary": 1', '1, "canary": 0'))
        os.utime(self.path, ns=(mtime_ns, mtime_ns))

    @property
    def label(self) -> str:
        return self.router.assign("somebody").label


@pytest.fixture
def deck(tmp_path: Path) -> Deck:
    return Deck(tmp_path / "split.json")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ExposureLog]:
    with ExposureLog(tmp_path / "exposures.jsonl") as log:
        yield log


class Clock:
    """Stands in for the module `time` in the router: stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    time_ns = staticmethod(time.time_ns)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for one in (module, split, callbacks, jsonl):
        monkeypatch.setattr(one, "time", clock)
    return clock


def written(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"stable": 0, "canary": 0.0},
        {"stable": 1, "canary": -1},
        {"stable": 1, "canary": math.nan},
        {"stable": 1, "canary": math.inf},
        {"stable": 1, "canary": 10**400},
        {"stable": 1, "canary": True},
        {"stable": 1, "canary": "1"},
        {"stable": 1, "canary": None},
        {"stable": 1, "": 1},
        {"stable": 1, 7: 1},
        {"stable": 1, "\ud800": 1},
        {"canary": 1},
        [("stable", 1)],
        None,
    ],
    ids=repr,
)
def test_weights_that_cannot_be_dealt_are_refused(weights):
    with pytest.raises(RequestError, match=r"^Expected .*\. Received: .*; "):
        Router(weights, experiment="e")


def test_a_control_without_a_weight_is_refused_and_a_weight_of_0_is_one():
    with pytest.raises(RequestError, match=r"among the labels a, b\. .*control='c'"):
        Router({"b": 1, "a": 1}, experiment="e", control="c")
    assert Router({"a": 0, "b": 1}, experiment="e", control="a").assign(1).label == "b"


@pytest.mark.parametrize("experiment", ["", None, 7, b"e", "\ud800"])
def test_an_experiment_without_a_name_is_refused(experiment):
    with pytest.raises(RequestError, match=r"Expected an experiment .* Received: "):
        Router({"stable": 1}, experiment=experiment)


@pytest.mark.parametrize(
    "key",
    ["", b"", True, None, 1.5, "secret\ud800", 10**5000, bytearray(b"secret"), ("secret",)],
    ids=lambda key: type(key).__name__,
)
def test_a_key_that_is_none_is_refused_without_repeating_it(key):
    with pytest.raises(RequestError, match=r"Expected a key .* Received: one of type ") as caught:
        Router({"stable": 1}, experiment="e").assign(key)
    assert "secret" not in str(caught.value)


# --- who gets what ------------------------------------------------------------------------------

VECTORS = [  # made by the module docstring's formula in another language (Node's blake2b512)
    ("user-1", "d262f1ae84e514cc", "größe"),
    ("user-2", "bdca6325385a4aea", "stable"),
    (42, "cf612dcf6a08f970", "canary"),
    ("Zoë", "7d704430ee5a4ea3", "stable"),
    (b"\x00\xff", "ddd5c3c208a4a716", "stable"),
]
VECTOR_WEIGHTS = {"stable": 70, "canary": 20, "größe": 10}


@pytest.mark.parametrize(("key", "unit", "label"), VECTORS)
def test_these_keys_get_these_units_and_labels_for_ever(key, unit, label):
    router = Router(VECTOR_WEIGHTS, experiment="2026-03 bigger net")
    assert router.assign(key) == Assignment(
        experiment="2026-03 bigger net", label=label, unit=unit, killed=False
    )


def by_the_formula(weights, experiment, key: bytes) -> tuple[str, str]:
    def n(text):
        return len(text.encode()).to_bytes(4, "big") + text.encode()

    def h(message):
        return hashlib.blake2b(message).digest()[:8]

    def score(label):
        number = int.from_bytes(h(n("label") + n(experiment) + n(label) + key), "big")
        return -math.log(((number >> 12) + 0.5) / 2**52) / weights[label]

    label = min((score(label), label) for label in weights if weights[label])[1]
    return label, h(n("unit") + n(experiment) + key).hex()


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), weight),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.binary(min_size=1),
)
def test_the_formula_is_the_documented_one(weights, experiment, key):
    weights = {"stable": 1.0, **weights}
    assigned = Router(weights, experiment=experiment).assign(key)
    assert (assigned.label, assigned.unit) == by_the_formula(weights, experiment, key)


def test_another_process_with_other_hash_seeds_deals_the_same():
    script = (
        "from tfs_client.routing.router import Router\n"
        "router = Router({'canary': 1, 'b': 2, 'stable': 3}, experiment='e')\n"
        "print(*(router.assign(f'user-{n}').label for n in range(300)))"
    )
    router = Router({"stable": 3, "b": 2, "canary": 1}, experiment="e")
    here = [router.assign(f"user-{n}").label for n in range(300)]
    for seed in ("1", "2"):
        assert run(script, PYTHONHASHSEED=seed).stdout.split() == here


def test_an_integer_its_decimal_text_and_the_bytes_of_that_are_one_key():
    router = Router({"stable": 1}, experiment="e")
    assert router.assign(7) == router.assign("7") == router.assign(b"7")
    assert router.assign(-7) == router.assign("-7")
    assert router.assign("07") != router.assign("7")


def test_no_two_pairs_of_experiment_and_key_are_hashed_alike():
    units = {
        Router({"stable": 1}, experiment=experiment).assign(key).unit
        for experiment, key in [("a", "bc"), ("ab", "c"), ("a", "b"), ("abc", "\0"), ("a", "bc\0")]
    }
    assert len(units) == 5


@pytest.mark.parametrize(
    "weights",
    [
        {"stable": 90, "canary": 10},
        {"stable": 1, "canary": 1},
        {"stable": 0.5, "b": 0.3, "canary": 0.2},
        {"stable": 995, "canary": 5},
        {"stable": 5e-324, "canary": 5e-324},
        {"stable": 1e308, "canary": 1.5e308},
    ],
    ids=str,
)
def test_the_shares_are_the_weights(weights):
    counts = collections.Counter(labels_of(Router(weights, experiment="shares")).values())
    largest = max(weights.values())
    total = sum(weight / largest for weight in weights.values())
    for label, weight in weights.items():
        share = weight / largest / total
        sigma = math.sqrt(KEYS * share * (1 - share))
        assert abs(counts[label] - KEYS * share) < 4 * sigma


def test_a_weight_of_0_gets_nobody():
    router = Router({"stable": 0, "canary": 1, "b": -0.0}, experiment="e")
    assert set(labels_of(router).values()) == {"canary"}


def test_experiments_deal_independently_of_each_other():
    first, second = (
        labels_of(Router({"stable": 70, "canary": 30}, experiment=name)) for name in ("one", "two")
    )
    both = sum(first[key] == second[key] == "canary" for key in range(KEYS))
    assert abs(both - KEYS * 0.09) < 4 * math.sqrt(KEYS * 0.09 * 0.91)


def test_a_growing_canary_loses_nobody_on_its_way_to_everybody():
    within: set[int] = set()
    for percent in (0, 0.1, 1, 5, 10, 25, 50, 75, 99, 100):
        router = Router({"stable": 100 - percent, "canary": percent}, experiment="growing")
        now = {key for key, label in labels_of(router, range(3000)).items() if label == "canary"}
        assert within <= now
        within = now
    assert len(within) == 3000


@given(st.tuples(weight, weight, weight), st.floats(1, 1e6))
def test_growing_one_of_three_moves_keys_only_into_it(weights, factor):
    before = dict(zip(("stable", "b", "canary"), weights))
    after = {**before, "b": before["b"] * factor}
    old = labels_of(Router(before, experiment="e"), range(200))
    new = labels_of(Router(after, experiment="e"), range(200))
    assert {new[key] for key in old if new[key] != old[key]} <= {"b"}


@given(st.tuples(weight, weight, weight), st.floats(1e-250, 1e250))
def test_only_the_proportions_of_weights_count(weights, factor):
    before = dict(zip(("stable", "b", "canary"), weights))
    after = {label: weight * factor for label, weight in before.items()}
    keys = range(100)
    assert labels_of(Router(before, experiment="e"), keys) == labels_of(
        Router(after, experiment="e"), keys
    )


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
def test_the_first_and_the_last_hash_are_dealt_too_and_a_tie_has_an_order(byte, monkeypatch):
    class Constant:
        def copy(self):
            return self

        def update(self, _):
            pass

        def digest(self):
            return byte * 64

        def hexdigest(self):
            return (byte * 64).hex()

    monkeypatch.setattr(split, "_hash", lambda _: Constant())
    for weights in ({"stable": 1, "b": 1, "c": 1}, {"c": 1, "b": 1, "stable": 1}):
        assert Router(weights, experiment="e").assign(1).label == "b"
    assert Router({"stable": 1, "b": 1, "c": 1.01}, experiment="e").assign(1).label == "c"


def test_what_is_handed_out_cannot_be_changed():
    router = Router({"stable": 1}, experiment="e")
    frozen = [(router.assign(1), "label"), (EXPOSURE, "unit"), (router.split, "killed")]
    for handed_out, field in frozen:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(handed_out, field, "other")
    with pytest.raises(TypeError):
        router.split.weights["stable"] = 2
    with pytest.raises(TypeError):
        Assignment("e", "stable", "0", False)


# --- the kill switch, and other weights ---------------------------------------------------------


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
    """Threads hand over 500 times as often: more to go wrong, in less time."""
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


# --- the file -----------------------------------------------------------------------------------


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


# --- exposures ----------------------------------------------------------------------------------


def test_an_exposure_is_handed_on():
    got: list[Exposure] = []
    Router({"stable": 1}, experiment="e", on_exposure=got.append).expose(EXPOSURE)
    Router({"stable": 1}, experiment="e").expose(EXPOSURE)
    assert got == [EXPOSURE]


def test_a_router_with_a_file_hands_exposures_on_too(deck):
    got: list[Exposure] = []
    Router.from_file(deck.path, on_exposure=got.append).expose(EXPOSURE)
    assert got == [EXPOSURE]


def test_a_failing_callback_is_told_once_a_second_with_the_number_kept_silent(caplog, clock):
    def fail(exposure):
        raise KeyError("broken")

    router = Router({"stable": 1}, experiment="e", on_exposure=fail)
    for _ in range(5):
        router.expose(EXPOSURE)
    clock.now_s += 0.99
    router.expose(EXPOSURE)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info[0] is KeyError
    for _ in range(2):
        clock.now_s += 1
        router.expose(EXPOSURE)
    assert [record.args[0] for record in caplog.records] == [0, 5, 0]


def test_a_line_holds_the_fields_in_their_order(log, tmp_path):
    log(EXPOSURE)
    log(dataclasses.replace(EXPOSURE, label="gr\n", needs_review=True, error="NotFoundError"))
    first, second = (tmp_path / "exposures.jsonl").read_text().splitlines()
    assert first == (
        '{"experiment":"bigger net","unit":"d262f1ae84e514cc","label":"canary",'
        '"answered_by":"image_classifier/labels/canary","model":"image_classifier","version":3,'
        '"request_id":"r-1","time_s":1767225600.5,"latency_s":0.25,"error":"","needs_review":null,'
        '"predicted":"defective","probability":0.75}'
    )
    assert Exposure(**json.loads(second)).label == "gr\n"


def test_a_line_is_one_write(log, monkeypatch):
    writes = []
    monkeypatch.setattr(jsonl.os, "write", lambda fd, line: writes.append(line) or len(line))
    log(EXPOSURE)
    assert [line[-1:] for line in writes] == [b"\n"]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, object(), b"1"])
def test_what_json_has_not_is_refused_and_nothing_is_written(log, tmp_path, wrong):
    with pytest.raises(RequestError, match="Expected values that JSON has"):
        log(dataclasses.replace(EXPOSURE, time_s=wrong))
    assert (tmp_path / "exposures.jsonl").read_bytes() == b""


def test_a_log_that_cannot_be_written_is_refused_at_once(tmp_path):
    with pytest.raises(RequestError, match=r"Expected a file .*No such file.*; make its folder"):
        ExposureLog(tmp_path / "nowhere" / "exposures.jsonl")
    with pytest.raises(RequestError, match="Is a directory"):
        ExposureLog(tmp_path)
    assert sorted(tmp_path.iterdir()) == []


def test_a_closed_log_is_an_error_that_the_router_tells(tmp_path, caplog):
    with ExposureLog(str(tmp_path / "exposures.jsonl")) as log:
        log(EXPOSURE)
    log.close()
    with pytest.raises(RequestError, match="Expected an open log"):
        log(EXPOSURE)
    Router({"stable": 1}, experiment="e", on_exposure=log).expose(EXPOSURE)
    assert "Expected an open log" in caplog.text


WRITER = """
import dataclasses, sys, threading
from tfs_client.routing.router import Exposure, ExposureLog
exposure = Exposure(experiment="e", unit="", label="x" * 3000, answered_by="", model="m", version=0,
                    request_id="", time_s=0, latency_s=0, error="", needs_review=False)
path, who = sys.argv[1], sys.argv[2]
with ExposureLog(path) as log:
    def write(thread):
        for n in range(300):
            log(dataclasses.replace(exposure, request_id=f"{who}-{thread}-{n}"))
    threads = [threading.Thread(target=write, args=[n]) for n in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def test_lines_of_several_threads_and_processes_never_mix(tmp_path):
    path = tmp_path / "exposures.jsonl"
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, path, who]) for who in "ab"]
    assert [process.wait(60) for process in processes] == [0, 0]
    ids = [line["request_id"] for line in written(path)]
    assert sorted(ids) == sorted(
        f"{who}-{thread}-{n}" for who in "ab" for thread in range(3) for n in range(300)
    )


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "missing"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "deleted"])
def test_a_rotated_log_is_opened_anew_within_a_second(clock, log, tmp_path, replaced, kept):
    path, rotated = tmp_path / "exposures.jsonl", tmp_path / "exposures.jsonl.1"
    for _ in range(2):
        before = path.read_bytes()
        path.rename(rotated)
        if replaced:
            path.touch()
        clock.now_s += 0.99
        log(EXPOSURE)
        assert len(rotated.read_bytes()) > len(before)  # it was too early to look
        if not kept:
            rotated.unlink()
        clock.now_s += 0.01
        log(EXPOSURE)
        log(EXPOSURE)
        assert len(written(path)) == 2


def test_a_rotated_log_whose_folder_is_gone_is_told_and_tried_again(clock, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    with ExposureLog(folder / "exposures.jsonl") as log:
        folder.rename(tmp_path / "old")
        clock.now_s += 1
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                log(EXPOSURE)
        folder.mkdir()
        log(EXPOSURE)
    assert len(written(folder / "exposures.jsonl")) == 1


FORKS = """
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from tfs_client.routing.router import Exposure, ExposureLog, Router
exposure = Exposure(experiment="e", unit="", label="x", answered_by="", model="m", version=0,
                    request_id="", time_s=0, latency_s=0, error="", needs_review=False)
log = ExposureLog(sys.argv[1])
router = Router({"stable": 1, "b": 1}, experiment="e", on_exposure=log)
held, done = threading.Event(), threading.Event()
def hold():
    with log._lock, router._lock:
        held.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if not child:
    signal.alarm(20)
    router.kill()
    router.expose(exposure)
    os._exit(0)
_, status = os.waitpid(child, 0)
done.set()
thread.join()
router.expose(exposure)
sys.exit(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_after_a_fork_both_sides_write_even_if_a_thread_held_the_locks(tmp_path):
    path = tmp_path / "exposures.jsonl"
    done = run(FORKS, path)
    assert done.returncode == 0
    assert "on_exposure failed" not in done.stderr
    assert len(written(path)) == 2


TORN = """
import os, resource, sys
from tfs_client.routing.router import Exposure, ExposureLog
exposure = Exposure(experiment="e", unit="", label="x", answered_by="", model="m", version=0,
                    request_id="", time_s=0, latency_s=0, error="", needs_review=False)
log = ExposureLog(sys.argv[1])
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
try:
    log(exposure)
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
log(exposure)
log(exposure)
"""


def test_a_line_torn_by_a_full_disk_is_told_and_spoils_no_other(tmp_path):
    pytest.importorskip("resource", reason="needs a limit on the size of files")
    path = tmp_path / "exposures.jsonl"
    assert "Received: 100; is the disk full?" in run(TORN, path).stdout
    torn, *whole = path.read_text().splitlines()
    assert len(torn) == 100
    assert [json.loads(line)["label"] for line in whole] == ["x", "x"]


def test_an_assignment_takes_microseconds_and_not_milliseconds():
    router = Router({"stable": 90, "canary": 10}, experiment="e")
    began = time.process_time()
    labels_of(router)
    assert (time.process_time() - began) / KEYS < 100e-6  # measured: 4
