"""Who gets which label: refused weights, the formula written a second time, and the shares."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import math

import pytest
from hypothesis import given, strategies as st

from tfs_client.errors import RequestError
from tfs_client.routing import split
from tfs_client.routing.router import Assignment, Router

from .dealing import EXPOSURE, KEYS, labels_of, run

WEIGHT = st.floats(1e-6, 1e6)


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


SECRET = b"a secret of the tests"

# Made by the formula in split.py's docstring, elsewhere: the labels by Node's blake2b512, the units
# by OpenSSL's BLAKE2BMAC.
VECTORS = [
    ("user-1", "a8697a3110711700", "größe"),
    ("user-2", "3244d494c218ca0c", "stable"),
    (42, "eb63ce511c2c7fe0", "canary"),
    ("Zoë", "d67a987e570b9937", "stable"),
    (b"\x00\xff", "ca124fcaa3c7c680", "stable"),
]


VECTOR_WEIGHTS = {"stable": 70, "canary": 20, "größe": 10}


@pytest.mark.parametrize(("key", "unit", "label"), VECTORS)
def test_these_keys_get_these_units_and_labels_for_ever(key, unit, label):
    router = Router(VECTOR_WEIGHTS, experiment="2026-03 bigger net", secret=SECRET)
    assert router.assign(key) == Assignment(
        experiment="2026-03 bigger net", label=label, unit=unit, killed=False
    )


def by_the_formula(weights, experiment, key: bytes) -> tuple[str, str]:
    def n(text):
        return len(text.encode()).to_bytes(4, "big") + text.encode()

    def h(message, hash_key=b""):
        return hashlib.blake2b(message, key=hash_key).digest()[:8]

    def score(label):
        number = int.from_bytes(h(n("label") + n(experiment) + n(label) + key), "big")
        return -math.log(((number >> 12) + 0.5) / 2**52) / weights[label]

    label = min((score(label), label) for label in weights if weights[label])[1]
    hash_key = hashlib.blake2b(SECRET).digest()
    return label, h(n("unit") + n(experiment) + key, hash_key).hex()


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), WEIGHT),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.binary(min_size=1),
)
def test_the_formula_is_the_documented_one(weights, experiment, key):
    weights = {"stable": 1.0, **weights}
    assigned = Router(weights, experiment=experiment, secret=SECRET).assign(key)
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
        Router({"stable": 1}, experiment=experiment, secret=SECRET).assign(key).unit
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


@given(st.tuples(WEIGHT, WEIGHT, WEIGHT), st.floats(1, 1e6))
def test_growing_one_of_three_moves_keys_only_into_it(weights, factor):
    before = dict(zip(("stable", "b", "canary"), weights))
    after = {**before, "b": before["b"] * factor}
    old = labels_of(Router(before, experiment="e"), range(200))
    new = labels_of(Router(after, experiment="e"), range(200))
    assert {new[key] for key in old if new[key] != old[key]} <= {"b"}


@given(st.tuples(WEIGHT, WEIGHT, WEIGHT), st.floats(1e-250, 1e250))
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

    monkeypatch.setattr(split, "_hash", lambda *_: Constant())
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
