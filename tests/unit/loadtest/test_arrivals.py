from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from foundation.command_line import InputError
from loadtest.traffic import arrivals
from loadtest.traffic.arrivals import Piece, Plan


def plan(**changes) -> Plan:
    return Plan(**{"rate_per_s": 200.0, "duration_s": 50.0, **changes})


def test_the_gaps_of_a_steady_plan_are_those_of_a_poisson_process():
    times = arrivals.times(plan(rate_per_s=500.0, duration_s=100.0))
    assert np.all(np.diff(times) >= 0)
    assert 0 <= times[0] < times[-1] < 100
    assert stats.kstest(np.diff(times), stats.expon(scale=1 / 500).cdf).pvalue > 0.01
    # Counts of a tenth of a second each, held against Poisson(50), in ten equally likely groups.
    counts = np.histogram(times, np.linspace(0, 100, 1001))[0]
    bounds = stats.poisson(50).ppf(np.linspace(0.1, 0.9, 9))
    groups = np.searchsorted(bounds, counts)
    shares = np.diff([0.0, *stats.poisson(50).cdf(bounds), 1.0])
    assert stats.chisquare(np.bincount(groups, minlength=10), shares * 1000).pvalue > 0.01


def test_the_same_plan_gives_the_same_times_to_the_bit_and_another_seed_others():
    times = arrivals.times(plan())
    # Frozen: a trace of yesterday's run is only worth something if today's run repeats it.
    rounded = np.round(times * 1e6).astype("<i8")
    assert len(times) == LENGTH
    assert hashlib.sha256(rounded.tobytes()).hexdigest()[:16] == DIGEST
    assert np.array_equal(times, arrivals.times(plan()))
    assert not np.array_equal(times[:100], arrivals.times(plan(seed=1))[:100])


LENGTH, DIGEST = 10064, "7eacd4a5335bc758"


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_the_workers_together_send_every_request_exactly_once(workers):
    times = arrivals.times(plan())
    parts = [arrivals.of_worker(times, worker, workers) for worker in range(workers)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(times)))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert np.array_equal(np.sort(np.concatenate([times[part] for part in parts])), times)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("steady", [1000, 1000, 1000, 1000, 1000]),
        ("smoke", [100, 100, 100, 100, 100]),
        ("step", [200, 400, 600, 800, 1000]),
        ("spike", [1000, 1000, 3000, 1000, 1000]),
        ("soak", [1000, 1000, 1000, 1000, 1000]),
    ],
)
def test_a_shape_has_its_rates_where_it_says(shape, expected):
    times = arrivals.times(plan(shape=shape, rate_per_s=1000.0, duration_s=5.0))
    counts = np.histogram(times, np.linspace(0, 5, 6))[0]
    assert np.all(np.abs(counts - expected) < 4 * np.sqrt(expected)), counts


def test_a_pause_has_no_arrivals_and_nothing_after_it_is_lost():
    pieces = [Piece(duration_s=s, rate_per_s=r) for s, r in ((1, 100), (1, 0), (1, 100))]
    times = arrivals.poisson(pieces, 0)
    counts = np.histogram(times, [0, 1, 2, 3])[0]
    assert counts[1] == 0
    assert counts[0] > 50
    assert counts[2] > 50


def test_a_trace_is_replayed_from_its_first_time_and_can_be_stretched(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("100\n100.5\n101\n104\n")
    assert arrivals.times(Plan(trace=path)).tolist() == [0, 0.5, 1, 4]
    stretched = arrivals.times(Plan(trace=path, rate_per_s=3.0))
    assert stretched.tolist() == pytest.approx([0, 0.125, 0.25, 1])


def test_a_trace_may_be_the_samples_of_another_run(tmp_path):
    path = tmp_path / "samples.csv"
    path.write_text("name,start_s,code\na,1795382975.5,OK\nb,1795382976,OK\n\n")
    assert arrivals.times(Plan(trace=path)).tolist() == [0, 0.5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1\ntwo\n", "Expected seconds in line 2"),
        ("1\nnan\n", "Expected seconds in line 2"),
        ("1\n3\n2\n", "line 3 goes back"),
        ("1\n", "Expected 2 to 20,000,000 times"),
        ("", "Received: 0"),
        ("when\n1\n2\n", "Expected a column seconds or start_s"),
    ],
)
def test_a_trace_that_cannot_be_replayed_is_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        arrivals.times(Plan(trace=path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate_per_s": 0.0}, "Expected --rate above 0"),
        ({"rate_per_s": float("nan")}, "Expected --rate above 0"),
        ({"duration_s": -1.0}, "Expected --duration-s above 0"),
        ({"shape": "wave"}, "Expected a shape of steady"),
        ({"rate_per_s": None}, "Expected --rate or --trace"),
        ({"rate_per_s": 1e6}, "Expected at most 20,000,000 requests"),
        ({"seed": -1}, "Expected --seed of 0 or more"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_one_line(changes, words):
    with pytest.raises(InputError, match=words):
        plan(**changes).check()
