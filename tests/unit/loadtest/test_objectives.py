"""The gate: objectives from a file against a run."""

from __future__ import annotations

import json

import pytest

from foundation.command_line import InputError
from loadtest.plan.flags import parse
from loadtest.results import generator
from loadtest.results.generator import State
from loadtest.results.recording import Recording
from loadtest.results.samples import Sample
from loadtest.results.summary import summarise
from loadtest.verdicts import objectives


def written(tmp_path, content):
    path = tmp_path / "objectives.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def judged(
    tmp_path,
    limits,
    *,
    right=1000,
    wrong=0,
    slow=0,
    cpu=0.1,
    late_ms=0,
    code="INTERNAL",
    partial=False,
):
    """Of a run over 10 s: right answers after 10 ms, some of them after 80 ms."""
    codes = ["OK"] * right + [code] * wrong
    meter = generator.Meter(0)
    meter.sent(late_ms / 1000, held_back=False)
    taken = [
        Sample(
            start_s=100 + 10 * at / len(codes),
            latency_ms=80.0 if at < slow else 10.0,
            name="serving_default",
            code=code,
            version=1,
            details="",
            late_ms=late_ms,
        )
        for at, code in enumerate(codes)
    ]
    recording = Recording.of(taken, 100.0)
    return objectives.judge(
        objectives.read(written(tmp_path, limits)),
        recording,
        summarise(taken, recording),
        generator.summarise([State(worker=0, cpu_share=cpu, late=meter.end(1).late)], None),
        partial=partial,
    )


ALL = {"p50_ms": 20, "p99_ms": 50, "error_rate": 0.001, "requests_per_s": 90}


def test_a_run_within_all_limits_meets_them_and_says_by_how_much(tmp_path):
    found = judged(tmp_path, ALL)
    assert found.met is True
    assert found.words == (
        "objectives met: p50 10.0 ms <= 20 ms; p99 10.0 ms <= 50 ms; errors 0.000% <= 0.100%; "
        "100.0 requests/s >= 90"
    )


@pytest.mark.parametrize(
    ("run", "limits", "words"),
    [
        ({"slow": 20}, {"p99_ms": 50}, "p99 80.1 ms > 50 ms"),
        ({"wrong": 2}, {"error_rate": 0.001}, "errors 0.200% > 0.100%"),
        ({"wrong": 1}, {"error_rate": 0}, "errors 0.100% > 0.000%"),
        ({}, {"requests_per_s": 200}, "100.0 requests/s < 200"),
        ({"right": 0, "wrong": 9}, {"p99_ms": 50}, "p99: no answer"),
    ],
)
def test_what_is_missed_is_named(tmp_path, run, limits, words):
    found = judged(tmp_path, limits, **run)
    assert found.met is False
    assert found.words == f"objectives missed: {words}"


def test_only_what_is_missed_is_named(tmp_path):
    found = judged(tmp_path, ALL, slow=20)
    assert found.words == "objectives missed: p99 80.1 ms > 50 ms"
    assert [row.holds for row in found.rows] == [True, False, True, True]


def test_a_percentile_that_stands_on_too_few_answers_is_no_verdict(tmp_path):
    found = judged(tmp_path, {"p99_ms": 50}, right=499)
    assert found.met is None
    assert "p99 stands on 499 right answers, expected 500 or more" in found.words
    assert judged(tmp_path, {"p99_ms": 50}, right=500).met is True


def test_an_error_rate_that_stands_on_too_few_requests_is_no_verdict(tmp_path):
    found = judged(tmp_path, {"error_rate": 0.002}, right=499)
    assert found.met is None
    expected = "errors 0.000% stand on 499 requests, expected 500 or more"
    assert found.words.startswith(f"no verdict: {expected}; load longer")
    assert judged(tmp_path, {"error_rate": 0.002}, right=500).met is True
    assert judged(tmp_path, {"error_rate": 0}, right=5).met is True  # none of these failed
    assert judged(tmp_path, {"error_rate": 0.002}, right=400, wrong=1).met is False


def test_a_generator_at_its_limit_can_pass_a_server_but_not_fail_it(tmp_path):
    assert judged(tmp_path, {"p99_ms": 50}, cpu=0.99).met is True
    found = judged(tmp_path, {"p99_ms": 50}, slow=20, cpu=0.99)
    assert found.met is None
    assert found.words.startswith("no verdict: limited by the generator: ")


@pytest.mark.parametrize(("late_ms", "met"), [(5, False), (35, None)])
def test_a_miss_that_lateness_does_not_explain_is_a_miss(tmp_path, late_ms, met):
    found = judged(tmp_path, {"p99_ms": 50}, slow=20, late_ms=late_ms)
    assert found.met is met
    assert ("lateness is" in found.words) is (met is None)


@pytest.mark.parametrize(
    ("code", "met"), [("INTERNAL", False), ("DEADLINE_EXCEEDED", None), ("NOT_SENT", None)]
)
def test_a_generator_at_its_limit_explains_failures_of_time_and_no_others(tmp_path, code, met):
    assert judged(tmp_path, {"error_rate": 0.001}, wrong=9, cpu=0.99, code=code).met is met


def test_only_what_a_generator_at_its_limit_does_not_explain_is_named(tmp_path):
    limits = {"p99_ms": 50, "error_rate": 0.001}
    found = judged(tmp_path, limits, slow=20, wrong=9, cpu=0.99)
    assert found.words.startswith("objectives missed: errors ")
    assert "p99" not in found.words
    # Failures are no objective here, and no reason to blame the server for the latency.
    assert judged(tmp_path, {"p99_ms": 50}, slow=20, wrong=9, cpu=0.99).met is None


def test_a_partial_run_is_no_verdict(tmp_path):
    assert judged(tmp_path, ALL, partial=True).words == "no verdict: the run is partial"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Expected objectives as JSON"),
        ([], "Expected objectives such as"),
        ({}, "Expected objectives such as"),
        ({"p98_ms": 3}, "Received: 'p98_ms'"),
        ({"p99_ms": 0}, "Expected p99_ms above 0"),
        ({"p99_ms": "5"}, "Received: '5'"),
        ({"p99_ms": True}, "Received: True"),
        ({"error_rate": 1}, "Expected error_rate from 0 to below 1"),
        ({"requests_per_s": -1}, "Expected requests_per_s above 0"),
        ('{"p99_ms": NaN}', "Received: nan"),
    ],
    ids=str,
)
def test_objectives_that_cannot_be_are_refused_in_one_line(tmp_path, content, words):
    with pytest.raises(InputError, match=words) as caught:
        objectives.read(written(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        objectives.read(tmp_path / "none.json")


def test_a_load_below_the_throughput_that_it_should_show_is_refused_before_it_begins(tmp_path):
    path = written(tmp_path, {"requests_per_s": 50})
    for flags in (["--rate", "50"], ["--rate", "90", "--shape", "step"]):  # stairs: 54 on average
        settings = parse([*flags, "--objectives", str(path)])
        if flags[-1] == "step":
            settings.check()
        else:
            with pytest.raises(InputError, match="raise --rate"):
                settings.check()


def test_the_shipped_objectives_can_be_read():
    assert set(objectives.read(objectives.Path("loadtest/objectives.json")).limits) == {
        "p99_ms",
        "error_rate",
        "requests_per_s",
    }
