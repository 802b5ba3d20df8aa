from __future__ import annotations

import json

import numpy as np
import pytest

from foundation.command_line import InputError
from loadtest.results import histograms
from loadtest.results.recording import FORMAT, SENT, Recording
from loadtest.results.samples import Sample

BEGIN_S = 1_795_382_975.25


def sample(at_s: float, latency_ms: float, code="OK", label="stable", version=1, late_ms=0.0):
    return Sample(
        start_s=BEGIN_S + at_s,
        latency_ms=latency_ms,
        name="serving_default",
        code=code,
        version=version if code == "OK" else None,
        details="",
        late_ms=late_ms,
        label=label,
    )


@pytest.fixture
def many():
    """Ten thousand requests over 200 s, to two labels, a few failed."""
    random = np.random.default_rng(0)
    return [
        sample(
            200 * at / 10_000,
            float(random.lognormal(2, 0.6)),
            code="UNAVAILABLE" if at % 50 == 0 else "OK",
            label="canary" if at % 3 == 0 else "stable",
            version=2 if at % 3 == 0 else 1,
            late_ms=0.5,
        )
        for at in range(10_000)
    ]


def test_percentiles_are_those_of_the_samples_to_three_digits(many):
    taken = Recording.of(many, BEGIN_S)
    right = [one.latency_ms for one in many if one.code == "OK"]
    for found in taken.percentiles((50, 95, 99, 99.9)):
        truth = np.percentile(right, found.share, method="inverted_cdf")
        assert found.value_ms == pytest.approx(truth, rel=0.002)
        assert found.samples == len(right) == 9800
        assert found.beyond == pytest.approx(9800 * (1 - found.share / 100))


def test_latency_from_the_send_stands_beside_that_from_the_intended_start(many):
    taken = Recording.of(many, BEGIN_S)
    (intended,) = taken.percentiles((50,))
    (sent,) = taken.percentiles((50,), since=SENT)
    assert intended.value_ms - sent.value_ms == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_parts_merge_into_exactly_what_one_recording_of_all_would_be(many):
    whole = Recording.of(many, BEGIN_S)
    parts = [Recording.of(many[at::3], BEGIN_S) for at in range(3)]
    merged = Recording(BEGIN_S)
    for part in parts:
        merged.merge(Recording.from_json(json.loads(json.dumps(part.to_json()))))
    assert contents(merged) == contents(whole)
    assert sum(count for _, count in merged.series) == len(many)
    assert merged.counts() == {"OK": 9800, "UNAVAILABLE": 200}


def contents(taken: Recording):
    """Every count of every histogram; their encoding depends on nothing else."""
    return taken.to_json()


def test_each_second_holds_what_was_due_in_it(many):
    taken = Recording.of(many, BEGIN_S)
    seconds = taken.by_second()
    assert list(seconds) == list(range(200))
    third = [one for one in many if int(one.start_s - BEGIN_S) == 3 and one.code == "OK"]
    assert seconds[3].get_total_count() == len(third)
    found = histograms.percentiles(seconds[3], (50,))[0].value_ms
    middle = np.percentile([one.latency_ms for one in third], 50, method="inverted_cdf")
    assert found == pytest.approx(middle, rel=0.002)
    assert sum(one.get_total_count() for one in taken.by_second("UNAVAILABLE").values()) == 200


def test_a_late_answer_finds_its_second_after_that_was_packed(many):
    taken = Recording.of(many, BEGIN_S)
    before = taken.by_second()[2].get_total_count()
    taken.add(sample(2.5, 99_000))
    after = taken.by_second()[2]
    assert after.get_total_count() == before + 1
    assert after.get_max_value() == pytest.approx(99_000_000, rel=0.001)


def test_labels_and_versions_can_be_told_apart(many):
    taken = Recording.of(many, BEGIN_S)
    canary = sum(one.label == "canary" and one.code == "OK" for one in many)
    assert taken.histogram(label="canary").get_total_count() == canary
    assert taken.histogram(version=1).get_total_count() == 9800 - canary
    assert taken.histogram(code=None).get_total_count() == 10_000


def test_what_takes_longer_than_the_range_is_counted_at_its_end():
    taken = Recording.of([sample(0, 100_001), sample(0, 0.0)], BEGIN_S)
    assert taken.beyond_range == 1
    assert [one.value_ms for one in taken.percentiles((100,))] == [pytest.approx(1e5, rel=0.001)]
    assert taken.histogram().get_total_count() == 2


def test_there_are_no_percentiles_of_nothing():
    assert Recording(BEGIN_S).percentiles((50, 99)) == []


def test_the_distribution_is_what_hdrhistogram_says_itself(many):
    histogram = Recording.of(many, BEGIN_S).histogram()
    values_us, counts = histograms.distribution(histogram)
    assert counts.sum() == histogram.get_total_count()
    for value_us, count in zip(values_us.tolist(), counts.tolist()):
        assert histogram.get_count_at_value(value_us) == count
        assert histogram.get_highest_equivalent_value(value_us) == value_us
    assert values_us[-1] == histogram.get_highest_equivalent_value(histogram.get_max_value())


@pytest.mark.parametrize("content", [{}, [], {"format": "x"}, {"format": FORMAT}])
def test_something_else_is_refused_in_one_line(content):
    with pytest.raises(InputError, match="Expected a recording as loadtest-recording/2"):
        Recording.from_json(content)


def test_parts_of_different_runs_are_not_merged():
    with pytest.raises(InputError, match="Expected parts of one run"):
        Recording(1.0).merge(Recording(2.0))
