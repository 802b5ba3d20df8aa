"""One definition of a percentile, wherever a report or a verdict shows one."""

from __future__ import annotations

import ast
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from foundation.figures import Figures
from foundation.pages import numbers
from loadtest import run
from loadtest.change.commands import Event
from loadtest.change.cost import costs
from loadtest.plan.settings import Settings
from loadtest.report import page, plots
from loadtest.results import percentiles
from loadtest.results.generator import Meter
from loadtest.results.point import Point
from loadtest.results.recording import Recording
from loadtest.results.samples import Sample
from loadtest.results.taken import Taken
from loadtest.traffic.arrivals import Piece
from loadtest.tuning.in_turns import strain
from loadtest.verdicts import comparison
from loadtest.verdicts.objectives import Objectives, judge

ROOT = Path(__file__).parents[3]


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=200),
    st.one_of(st.integers(0, 100), st.sampled_from([99.9, 99.99])),
)
def test_it_is_the_smallest_value_that_so_many_percent_do_not_exceed(
    values: list[int], share: float
) -> None:
    found = percentiles.of_values(values, share)
    assert found in values
    enough = share * len(values) / 100 - 1e-9
    assert sum(value <= found for value in values) >= enough
    assert sum(value < found for value in values) < max(enough, 1)
    distinct, counts = np.unique(values, return_counts=True)
    assert percentiles.of_counts(distinct, counts, (share,)).tolist() == [found]
    twice = percentiles.of_counts(distinct, np.stack([counts, 3 * counts]), (share, 100))
    again = percentiles.of_values(3 * values, share)
    assert twice.tolist() == [[found, again], [max(values)] * 2]
    assert found == np.percentile(values, share, method="inverted_cdf")


def test_floating_point_moves_no_rank() -> None:
    for thousands in range(1, 200):
        assert percentiles.rank(99.9, 1000 * thousands) == 999 * thousands
    assert percentiles.rank(0, 7) == 1
    assert percentiles.rank(100, 7) == 7
    assert percentiles.of_values([], 50) is None


LATENCIES_MS = [10.0] * 49 + [1000.0]
"""Interpolated, their p99 is 514.9 ms, which no request took."""

P99_MS = pytest.approx(1000, rel=0.001)  # a histogram has three digits


@pytest.fixture
def taken() -> Taken:
    """49 x 10 ms and 1 x 1,000 ms, due within a second."""
    samples = [
        Sample(
            start_s=1000.0 + at / 50,
            latency_ms=latency_ms,
            name="serving_default",
            code="OK",
            version=1,
            details="",
            label="stable",
        )
        for at, latency_ms in enumerate(LATENCIES_MS)
    ]
    return Taken(samples, Recording.of(samples, 1000.0), [], [])


@pytest.mark.slow
def test_report_figures_table_and_gate_have_the_same_p99(taken: Taken, tmp_path: Path) -> None:
    limits = Objectives(limits={"p99_ms": 600.0}, source="this test")
    summary, state = taken.summary(), taken.generator()
    verdict = judge(limits, taken.recording, summary, state, partial=False)
    report = page.Report(
        taken=taken,
        summary=summary,
        settings={"target": "a"},
        how="a test",
        state=state,
        verdict=verdict,
    )
    figures = Figures("loadtest", "this test")
    run._add(figures, Settings(rate=50.0), report)
    figures.write(tmp_path, told=False)
    told = {
        row["name"]: row["value"]
        for row in json.loads((tmp_path / "loadtest.json").read_text())["results"]
    }
    page.write(tmp_path / "loadtest.html", report)
    shown = (tmp_path / "loadtest.html").read_text()

    (row,) = verdict.rows
    assert told["p99_ms"] == row.value == P99_MS
    assert told["max_ms"] == told["p99_9_ms"] == told["p99_ms"]
    assert told["objective.p99_ms"] == told["p99_ms"]
    # In the one of all percentiles: p99, p99.9, p99.99 and max; and in the large table.
    assert shown.count(f"<td>{numbers.number(told['p99_ms'])}</td>") >= 4
    assert f"{numbers.number(told['p99_ms'])}" in shown.split("<table")[1]
    assert "514.9" not in shown
    assert ">515<" not in shown


def test_a_gate_never_fails_beside_a_table_that_passes(taken: Taken) -> None:
    for limit_ms in (9.9, 10.1, 600.0, 999.0, 1001.0):
        limits = Objectives(limits={"p99_ms": limit_ms}, source="this test")
        many = Taken(taken.samples * 10, Recording(1000.0), [], [])
        many.recording = Recording.of(many.samples, 1000.0)
        summary = many.summary()
        verdict = judge(limits, many.recording, summary, many.generator(), partial=False)
        assert verdict.met is (summary.p99_ms <= limit_ms)


def test_knee_tuning_comparison_stairs_and_the_cost_of_a_change_have_it_too(taken: Taken) -> None:
    recording = taken.recording
    expected = taken.summary().p99_ms
    assert expected == P99_MS

    limits = Objectives(limits={"p99_ms": 100.0}, source="this test")
    point = Point(
        rate=50.0,
        seconds=1.0,
        requests=50,
        failures=0,
        right_per_s=50.0,
        p50_ms=None,
        p99_ms=None,
        holds=False,
        limited="",
        recording=recording,
    )
    assert strain(point, limits) == pytest.approx(expected / 100)

    (stair,) = plots.stairs([Piece(duration_s=1.0, rate_per_s=50.0)], taken.samples, 1000.0)
    assert (stair.p50_ms, stair.p99_ms) == (taken.summary().p50_ms, expected)

    at_once = Event(second=0, started_s=999.9, ended_s=999.9, command="", code=0, words="")
    (cost,) = costs([at_once], taken.samples, 1000.0)
    assert cost.after_p99_ms == cost.worst_ms == expected
    at_the_end = dataclasses.replace(at_once, started_s=1001.0)
    (cost,) = costs([at_the_end], taken.samples, 1000.0)
    assert cost.before_p99_ms == expected

    last = dataclasses.replace(taken.samples[0], start_s=1001.5)  # its second is not whole
    whole = comparison.slices(Recording.of([*taken.samples, last], 1000.0))
    found = comparison._percentiles(whole, np.ones((1, whole.count)))
    assert (found[comparison.SHARES.index(99.0), 0] / 1000) == expected
    assert recording.percentiles((99,))[0].value_ms == expected


def test_the_generators_shares_have_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine seconds at a tenth of a core and one at a whole one: the p90 is a tenth."""
    meter, now, cpu = Meter(0), [0.0], [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.process_time", lambda: cpu[0])
    meter.begin()
    for share in [0.1] * 9 + [1.0]:
        now[0] += 1.0
        cpu[0] += share
        meter.tick()
    assert meter.end(1).cpu_share == pytest.approx(0.1)


def test_nothing_else_in_the_load_test_takes_percentiles() -> None:
    """No np.percentile, np.quantile, np.median or HdrHistogram's own beside the one owner."""
    others = {"percentile", "quantile", "nanpercentile", "nanquantile", "quantiles", "median"}
    others |= {"get_value_at_percentile", "get_percentile_to_value_dict"}
    allowed = {
        (
            "server/measured.py",
            "percentile",
        ): "of a page's buckets, which hold no values",
        ("server/view.py", "median"): "the usual length of a window, no latency",
    }
    found = set()
    for path in (ROOT / "loadtest").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in others:
                found.add((str(path.relative_to(ROOT / "loadtest")), node.attr))
    assert found == set(allowed)
