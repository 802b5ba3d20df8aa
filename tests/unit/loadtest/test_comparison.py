"""Whether B differs from A: how often that is found where it is so, and where it is not."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from loadtest.results.recording import Recording
from loadtest.results.samples import Sample
from loadtest.verdicts import comparison
from loadtest.verdicts.comparison import Slices, compare, slices

SECONDS = 60
PER_SECOND = 40


def slowness_of_the_machine(
    random: np.random.Generator, seconds: int = SECONDS, swing: float = 0.1
):
    """How slow the machine is in each second, which depends on the second before; natural log."""
    found = np.zeros(seconds)
    for second in range(1, seconds):
        found[second] = 0.7 * found[second - 1] + random.normal(0, swing)
    return found


def side(random, slowness, *, slower: float = 1.0, failing: float = 0.0) -> Slices:
    """Requests of about 10 ms on a machine that is so slow in each second."""
    latencies = (
        10_000
        * slower
        * np.exp(slowness[:, None] + random.normal(0, 0.3, (len(slowness), PER_SECOND)))
    )
    rounded = np.round(latencies, -2).astype(int)  # few distinct values: draws cost less
    values = np.unique(rounded)
    counts = np.zeros((len(slowness), len(values)))
    rows = np.repeat(np.arange(len(slowness)), PER_SECOND)
    np.add.at(counts, (rows, np.searchsorted(values, rounded.ravel())), 1.0)
    failures = random.binomial(PER_SECOND, failing, len(slowness)).astype(float)
    return Slices(values_us=values, counts=counts, failures=failures)


def judged(seed: int, *, slower: float = 1.0, paired: bool, least: float = 0.0):
    random = np.random.default_rng(seed)
    slowness = slowness_of_the_machine(random)
    other = slowness if paired else slowness_of_the_machine(random)
    a, b = side(random, slowness), side(random, other, slower=slower)
    return compare(a, b, paired=paired, seed=seed, least=least or 1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("paired", [True, False], ids=["one load", "two loads"])
def test_where_there_is_no_difference_hardly_one_is_found(paired, monkeypatch):
    monkeypatch.setattr(comparison, "DRAWS", 400)
    found = [judged(seed, paired=paired) for seed in range(200)]
    wrong = np.mean([any(row.worse or row.better for row in one.rows) for one in found])
    assert wrong <= 0.09  # 5 %, and twice the error of 200 looks


@pytest.mark.slow
def test_requests_taken_for_independent_would_find_differences_everywhere():
    """The very trap: the same loads, each request drawn alone."""
    wrong = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        a, b = (side(random, slowness_of_the_machine(random)).counts.sum(axis=0) for _ in range(2))
        values = [np.repeat(np.arange(len(one)), one.astype(int)) for one in (a, b)]
        medians = [
            [np.median(random.choice(one, len(one))) / np.median(one) for _ in range(60)]
            for one in values
        ]
        errors = [np.std(np.log(one)) for one in medians]
        shift = abs(np.log(np.median(values[1]) / np.median(values[0])))
        wrong += shift > 1.96 * np.hypot(*errors)
    assert wrong > 20


@pytest.mark.slow
def test_a_fifth_slower_is_found_in_one_load_and_mostly_in_two(monkeypatch):
    monkeypatch.setattr(comparison, "DRAWS", 400)
    paired = [judged(seed, slower=1.2, paired=True, least=0.05) for seed in range(60)]
    apart = [judged(seed, slower=1.2, paired=False, least=0.05) for seed in range(60)]
    assert np.mean([one.worse for one in paired]) >= 0.98
    # Two loads meet a machine of different slowness, which hides a difference as small as this.
    assert 0.05 < np.mean([one.worse for one in apart]) < np.mean([one.worse for one in paired])
    covered = [one.rows[0].low <= 1.2 <= one.rows[0].high for one in paired]
    assert np.mean(covered) >= 0.87


def test_the_verdict_says_which_way_how_much_and_how_surely():
    slower, faster = judged(1, slower=1.2, paired=True), judged(1, slower=0.8, paired=True)
    assert slower.worse
    assert slower.words.startswith("B is worse: p50 +")
    assert not faster.worse
    assert faster.words.startswith("B is better: p50 -")
    equal = judged(1, paired=True, least=0.3)
    assert equal.words.startswith("B is not worse by what matters: p50 ")
    assert not equal.too_short


def test_what_is_sure_but_small_does_not_matter():
    found = judged(1, slower=1.06, paired=True, least=0.15)
    row = found.rows[0]
    assert row.p < 0.05
    assert 1 < row.low < row.high < 1.15
    assert "less than the 15% that matter" in row.words
    assert not found.worse


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("slower", [0.8, 0.97, 1.0, 1.03, 1.06, 1.2])
def test_no_answer_says_more_than_its_interval_shows(slower, paired):
    for row in judged(2, slower=slower, paired=paired, least=0.05).rows:
        worse_from, harmless_to = (row.low, row.high)
        if row.name == "throughput":
            worse_from, harmless_to = 1 / row.high, 1 / row.low
        if row.name == "failures":
            continue
        assert (row.p < 0.05) is not (row.low <= 1 <= row.high)
        if row.outcome == "worse":
            assert worse_from > 1
        elif row.outcome == "better":
            assert harmless_to < 1
        elif row.outcome == "no_harm":
            assert harmless_to <= 1 / 0.95 if row.name == "throughput" else 1.05
        else:
            assert row.outcome == "too_short"
            assert harmless_to > 1.05
            assert "would tell" in row.words or "would not tell" in row.words


def test_a_short_and_noisy_run_says_that_it_is_too_short():
    random = np.random.default_rng(1)
    a, b = (side(random, slowness_of_the_machine(random, 20, swing=0.5)) for _ in range(2))
    found = compare(a, b, paired=False)
    assert found.too_short
    assert not found.worse
    assert found.words.startswith("too short to tell: p50 ")


def test_as_long_as_it_says_tells():
    low, middle, high, matters = -0.1, 0.01, 0.12, 0.05
    outcome, times = comparison._outcome(low, middle, high, matters, matters)
    assert outcome == "too_short"
    half = 0.11 / times**0.5
    assert middle + half == pytest.approx(matters)
    # and where it looks worse: until that is sure
    outcome, times = comparison._outcome(-0.02, 0.08, 0.18, matters, matters)
    assert outcome == "too_short"
    assert 0.08 - 0.1 / times**0.5 == pytest.approx(0)
    assert comparison._longer(287.3) == "about 290 s would tell"
    assert comparison._longer(1e9) == "and a day would not tell"


def test_one_question_that_is_open_is_not_hidden_by_another_that_is_better():
    found = judged(1, slower=0.8, paired=True)
    rows = (found.rows[0], dataclasses.replace(found.rows[1], outcome="too_short", words="open"))
    both = dataclasses.replace(found, rows=rows)
    assert both.too_short
    assert both.words.startswith("too short to tell: p95 open. B is better: p50 ")
    worse = dataclasses.replace(rows[0], outcome="worse")
    both = dataclasses.replace(found, rows=(worse, rows[1]))
    assert not both.too_short
    assert both.words.startswith("B is worse: p50 ")


def test_failures_are_compared_and_worse_by_any_sure_number():
    random = np.random.default_rng(1)
    slowness = slowness_of_the_machine(random)
    found = compare(side(random, slowness), side(random, slowness, failing=0.02), paired=True)
    row = found.rows[-1]
    assert (row.name, row.worse) == ("failures", True)
    assert row.b == pytest.approx(0.02, abs=0.01)
    none = compare(side(random, slowness), side(random, slowness), paired=True).rows[-1]
    assert (none.words, none.p, none.worse) == ("none on either side", 1.0, False)
    few = compare(
        side(random, slowness, failing=0.002), side(random, slowness, failing=0.002), paired=True
    ).rows[-1]
    assert few.outcome == "no_harm"
    assert few.words == f"no harm shown (could be up to {few.high:+.3%} of the requests)"


def test_the_throughput_of_an_open_loop_is_no_question():
    random = np.random.default_rng(1)
    slowness = slowness_of_the_machine(random)
    a, b = side(random, slowness), side(random, slowness)
    found = compare(a, b, paired=True, throughput=False)
    row = next(row for row in found.rows if row.name == "throughput")
    assert (row.p, row.words) == (None, "set by the rate, not by the servers")


def test_less_throughput_is_worse():
    random = np.random.default_rng(1)
    slowness = slowness_of_the_machine(random)
    a, b = side(random, slowness), side(random, slowness)
    thinned = Slices(values_us=b.values_us, counts=np.floor(0.7 * b.counts), failures=b.failures)
    row = next(r for r in compare(a, thinned, paired=True).rows if r.name == "throughput")
    assert row.worse
    assert row.ratio < 0.8


@pytest.mark.parametrize(("seconds", "words"), [(19, "20 s or more. Received: 19 and 60")])
def test_too_short_a_run_is_refused(seconds, words):
    random = np.random.default_rng(1)
    short = side(random, slowness_of_the_machine(random, seconds))
    with pytest.raises(ValueError, match=words):
        compare(short, side(random, slowness_of_the_machine(random)), paired=False)


def test_a_side_without_answers_is_refused():
    random = np.random.default_rng(1)
    a = side(random, slowness_of_the_machine(random))
    silent = Slices(values_us=a.values_us, counts=0 * a.counts, failures=a.failures + 40)
    with pytest.raises(ValueError, match="right answers on both sides"):
        compare(a, silent, paired=True)


def test_an_answer_says_the_same_as_its_p_value_however_many_are_asked():
    for questions in (1, 4, 5):
        for middle in np.linspace(-0.1, 0.1, 41):
            known = comparison._Known(float(middle), 0.02, 10)
            shown = bool(abs(middle) > known.half(questions))
            assert shown is bool(known.p(questions) < comparison.ALPHA)
    assert comparison._Known(0.05, 0.02, 10).half(5) > comparison._Known(0.05, 0.02, 10).half(1)


def sample(start_s, latency_ms, code="OK", label="stable"):
    return Sample(
        start_s=start_s,
        latency_ms=latency_ms,
        name="serving_default",
        code=code,
        version=1 if code == "OK" else None,
        details="",
        label=label,
    )


def test_a_recording_is_cut_into_whole_seconds_of_a_label():
    taken = [
        *(sample(100 + second + 0.1 * at, 5.0 + second) for second in range(5) for at in range(4)),
        sample(102.5, 1.0, "UNAVAILABLE"),
        *(sample(100 + second, 50.0, label="canary") for second in range(5)),
    ]
    found = slices(Recording.of(taken, 100.0), label="stable")
    assert found.count == 4  # the fifth may not be whole
    assert found.counts.sum(axis=1).tolist() == [4, 4, 4, 4]
    assert found.failures.tolist() == [0, 0, 1, 0]
    assert found.values_us.tolist() == pytest.approx([5000, 6000, 7000, 8000], rel=1e-3)
    both = slices(Recording.of(taken, 100.0))
    assert both.counts.sum(axis=1).tolist() == [5, 5, 5, 5]


def test_ten_minutes_are_compared_in_seconds():
    random = np.random.default_rng(1)
    a, b = (side(random, slowness_of_the_machine(random, 600)) for _ in range(2))
    begin = time.monotonic()
    compare(a, b, paired=False)
    assert time.monotonic() - begin < 30
