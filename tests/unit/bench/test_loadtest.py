"""The benchmark of the load test: what it holds to be true, and how it judges."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.loadtest import accuracy, verdict
from tests.bench.loadtest.accuracy import Accuracy, Seen
from tests.bench.loadtest.throughput import Throughput
from tests.bench.loadtest.truth import AT_ONCE, Slowness, percentiles_ms
from tests.bench.verdict import Verdict


def test_an_answer_that_would_fall_into_a_stall_is_given_at_its_end():
    slowness = Slowness(period_s=10.0, stall_s=0.3)
    done_s = [100.0, 100.2, 100.299, 100.3, 105.0, 109.99, 110.1]
    expected = [100.3, 100.3, 100.3, 100.3, 105.0, 109.99, 110.3]
    assert slowness.released_s(done_s).tolist() == pytest.approx(expected)


def test_who_comes_in_a_stall_waits_for_its_end_and_who_comes_before_may_too():
    slowness = Slowness(median_s=0.004, sigma=0.0, period_s=10.0, stall_s=0.3)
    waits_s = slowness.latencies_s([99.9, 99.998, 100.1, 100.295, 100.4])
    assert waits_s.tolist() == pytest.approx([0.004, 0.302, 0.2, 0.005, 0.004])


def test_the_share_that_waits_is_that_of_the_stalls():
    arrivals_s = np.arange(0, 1000, 0.005) + 1_795_382_975
    waits_s = Slowness().latencies_s(arrivals_s)
    assert np.mean(waits_s > 0.1) == pytest.approx(0.02, rel=0.05)
    p50, p99, p999 = percentiles_ms(waits_s, (50.0, 99.0, 99.9))
    assert p50 == pytest.approx(4.1, abs=0.2)
    assert p99 == pytest.approx(203, abs=5)
    assert p999 == pytest.approx(294, abs=5)


def test_a_server_that_answers_at_once_delays_nobody():
    assert AT_ONCE.latencies_s([100.0, 100.1]).tolist() == [0, 0]


def seen(reported_ms, truth_ms, failures=0) -> Seen:
    return Seen(
        latencies_s=np.array([0.001]),
        reported_ms=reported_ms,
        model_ms=[value - 1.0 for value in truth_ms],
        late_ms=0.1,
        road_ms=1.0,
        bare_road_ms=0.8,
        failures=failures,
        late_p99_ms=1.0,
    )


TRUTH_MS = [5.0, 200.0, 300.0]


@pytest.mark.parametrize(
    ("reported_ms", "failures", "holds"),
    [
        ([5.29, 194.1, 308.9], 0, True),
        ([5.31, 200.0, 300.0], 0, False),
        ([4.69, 200.0, 300.0], 0, False),
        ([5.0, 206.1, 300.0], 0, False),
        ([5.0, 15.0, 36.0], 0, False),
        (TRUTH_MS, 1, False),
    ],
)
def test_the_open_loop_is_held_to_3_percent_or_0_3_ms(reported_ms, failures, holds):
    figures = Verdict("x", "x")
    wrong = seen([5.0, 15.0, 36.0], TRUTH_MS)
    taken = Accuracy(seen(reported_ms, TRUTH_MS, failures), wrong, None, Slowness(), 200.0)
    verdict.add_accuracy(figures, taken)
    assert figures.hold is holds


def test_the_throughput_is_held_to_half_of_the_bare_stubs_in_the_same_round():
    taken = Throughput(
        bare_per_s=[1000, 4000, 2000],
        bare_cpu_us=[1, 1, 1],
        ours_per_s=[600, 2000, 900],
        ours_cpu_us=[1, 1, 1],
        server_cpu_us=[1, 1, 1],
    )
    figures = Verdict("x", "x")
    verdict.add_throughput(figures, taken)
    assert figures.results[0].value == pytest.approx(0.5)
    assert figures.hold
    taken.ours_per_s = [490, 1900, 900]
    worse = Verdict("x", "x")
    verdict.add_throughput(worse, taken)
    assert not worse.hold


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-25T04:26:38.123456789Z", 1795580798.123456789),
        ("2026-11-25T05:26:38.5+01:00", 1795580798.5),
        ("2026-11-25T04:26:38Z", 1795580798.0),
    ],
)
def test_times_as_go_writes_them_are_read_to_the_microsecond(text, expected):
    assert accuracy._unix_s(text) == pytest.approx(expected, abs=1e-6)
