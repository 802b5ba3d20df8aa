"""Verdicts on experiments whose records are made so that the right one is known."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import numpy as np
import pytest

from serving.rollout import trial
from serving.rollout.experiment import looks, words
from serving.rollout.experiment.evaluation import evaluate
from serving.rollout.experiment.plan import Plan
from serving.rollout.experiment.records import Counts, Exposures, Outcomes, Records
from serving.rollout.experiment.verdict import Verdict

PLAN = Plan(
    experiment="e", weights={"stable": 1, "canary": 1}, baseline=0.8, smallest_difference=0.05
)
START_S = 1.7e9
LATER = START_S + 1e9


def _records(
    count: int = 4000,
    *,
    right: tuple[float, float] = (0.8, 0.8),
    errors: tuple[float, float] = (0.0, 0.0),
    review: tuple[float, float] = (0.05, 0.05),
    latency_s: tuple[float, float] = (0.02, 0.02),
    share: float = 0.5,
    units: int | None = None,
    seed: int = 3,
    start_s: float = START_S,
) -> Records:
    """A request a second; control's and treatment's shares of each thing."""
    random = np.random.default_rng(seed)
    unit = np.arange(count) if units is None else random.integers(0, units, count)
    treatment = (random.random(count) < share)[unit % count]

    def drawn(shares: tuple[float, float]) -> np.ndarray[Any, Any]:
        return random.random(count) < np.where(treatment, shares[1], shares[0])

    time_s = start_s + np.arange(count, dtype=np.float64)
    known = drawn(right)
    exposures = Exposures(
        time_s=time_s,
        treatment=treatment,
        unit=unit,
        failed=drawn(errors),
        version=np.where(treatment, 2, 1),
        review=drawn(review),
        latency_s=np.where(treatment, latency_s[1], latency_s[0]),
    )
    outcomes = Outcomes(time_s=time_s, treatment=treatment, unit=unit, right=known)
    return Records(exposures=exposures, outcomes=outcomes, counts=Counts())


def _verdict(records: Records, now_s: float = START_S + 5000, **plan: Any) -> Verdict:
    return evaluate(dataclasses.replace(PLAN, **plan), records, now_s)


def _without_outcomes(records: Records) -> Records:
    nothing = np.zeros(0)
    none = Outcomes(
        time_s=nothing,
        treatment=nothing.astype(bool),
        unit=nothing.astype(int),
        right=nothing.astype(bool),
    )
    return dataclasses.replace(records, outcomes=none)


@pytest.mark.parametrize(
    ("right", "kind", "word"),
    [
        ((0.8, 0.9), "better", "canary is better than stable since"),
        ((0.8, 0.7), "worse", "canary is worse than stable since"),
        ((0.8, 0.83), "keep_going", "Keep going: "),
    ],
)
def test_the_share_of_right_answers_decides(
    right: tuple[float, float], kind: str, word: str
) -> None:
    verdict = _verdict(_records(right=right))
    assert verdict.kind == kind
    assert verdict.reason.startswith(word)
    assert verdict.reason.endswith(".")
    assert verdict.estimate == pytest.approx(right[1] - right[0], abs=0.03)
    assert verdict.lower is not None
    assert verdict.upper is not None
    assert verdict.lower < verdict.estimate < verdict.upper
    assert (verdict.since is None) is (kind == "keep_going")


def test_sides_that_are_surely_alike_do_not_differ() -> None:
    verdict = _verdict(_records(30_000), now_s=START_S + 30_000)
    assert verdict.kind == "no_difference"
    assert verdict.lower is not None
    assert verdict.upper is not None
    assert -0.05 < verdict.lower < verdict.upper < 0.05


@pytest.mark.slow
def test_of_many_experiments_without_a_difference_hardly_any_sees_one() -> None:
    kinds = [_verdict(_records(seed=seed)).kind for seed in range(100)]
    assert kinds.count("better") + kinds.count("worse") <= 5
    assert kinds.count("no_difference") > 50
    assert not {"sample_ratio_mismatch", "guardrail_broken"} & set(kinds)


def test_a_verdict_is_there_from_its_first_moment_on_and_stays() -> None:
    records = _records(right=(0.8, 0.9))
    since = _verdict(records).since
    assert since is not None
    assert since.outcomes == since.exposures == since.time_s - START_S + 1
    before = _verdict(records, since.time_s - 0.5)
    assert before.kind == "keep_going"
    assert before.after_now == 2 * (4000 - since.outcomes + 1)
    for now_s in (since.time_s, since.time_s + 100, START_S + 3999, LATER):
        verdict = _verdict(records, now_s)
        assert (verdict.kind, verdict.since) == ("better", since)
    # and what comes later speaks against it
    turned = np.where(
        records.exposures.treatment & (np.arange(4000) > since.outcomes),
        False,
        records.outcomes.right,
    )
    against = dataclasses.replace(
        records, outcomes=dataclasses.replace(records.outcomes, right=turned)
    )
    verdict = _verdict(against, since.time_s + 100)
    assert (verdict.kind, verdict.since) == ("better", since)
    assert verdict.lower is not None
    assert verdict.lower > 0


def _turned(count: int = 4000, at: int = 2000) -> Records:
    """A treatment that is better at first, and always wrong from some request on."""
    records = _records(count, right=(0.8, 0.95))
    late = records.exposures.treatment & (np.arange(count) >= at)
    right = np.where(late, False, records.outcomes.right)
    return dataclasses.replace(records, outcomes=dataclasses.replace(records.outcomes, right=right))


def test_what_one_look_has_excluded_stays_excluded() -> None:
    records = _turned()
    ends = []
    for now_s in START_S + np.arange(100, 2200, 50):
        verdict = _verdict(records, float(now_s))
        if verdict.lower is not None and verdict.upper is not None:
            ends.append((verdict.lower, verdict.upper))
    lower, upper = np.array(ends).T
    assert len(lower) > 20
    assert (np.diff(lower) >= 0).all()
    assert (np.diff(upper) <= 0).all()
    # and a single look does not say as much as all together
    counted = looks.quality(PLAN, records.outcomes)
    last = np.flatnonzero(records.outcomes.time_s <= START_S + 2150)[-1]
    alone = looks.sequential.difference(
        *looks.sequential.unit_sums(
            *(records.outcomes.right, records.outcomes.treatment, records.outcomes.unit)
        ),
        alpha=PLAN.alpha,
        scale=PLAN.smallest_difference,
        least=PLAN.min_outcomes,
    )
    assert counted.lower[last] > alone.lower[last]


def test_where_nothing_is_left_of_the_interval_no_verdict_on_quality_stands() -> None:
    records = _turned()
    assert _verdict(records, START_S + 1999).kind == "better"
    verdict = _verdict(records)
    assert verdict.kind == "changing"
    assert verdict.since == verdict.emptied
    assert verdict.since is not None
    assert 2000 < verdict.since.outcomes < 4000
    assert (verdict.lower, verdict.upper) == (None, None)
    assert verdict.reason.startswith("Do not decide by this: no one difference fits all looks")
    assert words.moment(verdict.since.time_s) in verdict.reason
    said = "\n".join(words.table(verdict))
    assert "no one difference fits all looks since" in said
    assert "too few outcomes" not in said
    at = verdict.series["hours"].index((verdict.since.time_s - START_S) / 3600)
    assert verdict.series["lower"][at - 1] is not None
    assert set(verdict.series["lower"][at:]) == set(verdict.series["upper"][at:]) == {None}
    json.dumps(dataclasses.asdict(verdict), allow_nan=False)


def test_what_has_become_worse_is_rolled_back_and_what_has_become_better_not_promoted() -> None:
    worse = _verdict(_turned())
    assert worse.kind == "changing"
    assert trial.follows(worse, promote=True) == "rollback"
    better = dataclasses.replace(worse, estimate=0.1)
    assert trial.follows(better, promote=True) == "end"


def test_an_estimate_outside_of_what_all_looks_leave_is_called_so() -> None:
    records = _turned()
    emptied = _verdict(records).since
    assert emptied is not None
    verdict = _verdict(records, emptied.time_s - 1)
    assert verdict.kind == "better"
    assert verdict.estimate is not None
    assert verdict.lower is not None
    assert verdict.estimate < verdict.lower
    assert "which does not fit: it may have changed" in verdict.reason


@pytest.mark.slow
def test_what_all_looks_leave_misses_the_true_difference_as_seldom_as_alpha() -> None:
    missed = emptied = 0
    for seed in range(120):
        records = _records(1500, right=(0.8, 0.88), seed=seed)
        verdict = _verdict(records, alpha=0.2)
        inside = (
            verdict.lower is not None
            and verdict.upper is not None
            and verdict.lower <= 0.08 <= verdict.upper
        )
        missed += not inside
        emptied += verdict.emptied is not None
    assert 0 < missed <= 0.2 * 120
    assert emptied <= missed


def test_what_becomes_known_after_the_time_does_not_contradict_undecided() -> None:
    records = _records(right=(0.8, 0.9))
    since = _verdict(records).since
    assert since is not None
    hours = (since.time_s - 1 - START_S) / 3600
    verdict = _verdict(records, max_duration_h=hours)
    assert verdict.kind == "out_of_time"
    assert verdict.lower is not None
    assert verdict.upper is not None
    assert verdict.lower <= 0 < verdict.upper
    assert sum(side.outcomes for side in verdict.sides) == since.outcomes - 1
    assert verdict.after_end == 4000 - (since.outcomes - 1)
    assert f"{verdict.after_end:,}" in "\n".join(words.table(verdict))


def test_no_verdict_on_quality_comes_before_min_outcomes() -> None:
    records = _records(right=(0.1, 1.0))
    verdict = _verdict(records, min_outcomes=300)
    assert verdict.since is not None
    treated = records.outcomes.treatment[: verdict.since.outcomes]
    assert min(treated.sum(), (~treated).sum()) == 300


def test_an_undecided_experiment_ends_with_its_time_and_only_then() -> None:
    records = _records(right=(0.8, 0.83))
    hours = 1.5
    assert _verdict(records, START_S + 5399, max_duration_h=hours).kind == "keep_going"
    verdict = _verdict(records, START_S + 5400, max_duration_h=hours)
    assert verdict.kind == "out_of_time"
    assert verdict.since is not None
    assert verdict.since.time_s == START_S + 5400
    assert "1.5 hours" in verdict.reason


def test_what_is_known_after_the_time_is_up_decides_nothing() -> None:
    records = _records(right=(0.8, 0.9))
    since = _verdict(records).since
    assert since is not None
    hours = (since.time_s - START_S) / 3600
    assert _verdict(records, max_duration_h=hours - 0.001).kind == "out_of_time"
    assert _verdict(records, max_duration_h=hours + 0.001).kind == "better"


def test_a_mismatch_of_the_split_stops_every_verdict_on_quality() -> None:
    verdict = _verdict(_records(right=(0.8, 0.9), share=0.42))
    assert verdict.kind == "sample_ratio_mismatch"
    assert verdict.since == verdict.mismatch.broken
    assert verdict.mismatch.found == pytest.approx(0.42, abs=0.02)
    assert verdict.mismatch.log10_bayes_factor > verdict.mismatch.log10_threshold
    assert verdict.mismatch.log10_threshold == pytest.approx(3)
    assert verdict.reason.startswith("Do not compare: 4")


def test_the_split_is_counted_by_units_and_not_by_requests() -> None:
    records = _records(3000, units=300)
    heavy = np.where(np.arange(3000) < 1000, 7, records.exposures.unit)
    sides = np.where(heavy == 7, True, records.exposures.treatment)
    exposures = dataclasses.replace(records.exposures, unit=heavy, treatment=sides)
    verdict = evaluate(PLAN, dataclasses.replace(records, exposures=exposures), LATER)
    assert sides.mean() > 0.6
    assert verdict.mismatch.broken is None
    assert sum(side.units for side in verdict.sides) == len(np.unique(heavy))


@pytest.mark.parametrize(
    ("name", "bad", "word"),
    [
        ("errors", {"errors": (0.0, 0.3)}, "errors"),
        ("review", {"review": (0.05, 0.5)}, "sent to review"),
        ("slow", {"latency_s": (0.02, 0.3)}, "slow answers"),
    ],
)
def test_each_guardrail_breaks_and_says_so(
    name: str, bad: dict[str, tuple[float, float]], word: str
) -> None:
    verdict = _verdict(_without_outcomes(_records(**bad)))
    assert verdict.kind == "guardrail_broken"
    assert verdict.reason.startswith(f"Roll canary back: {word} ")
    assert [row.name for row in verdict.guardrails if row.broken] == [name]
    row = next(row for row in verdict.guardrails if row.broken)
    assert verdict.since == row.broken
    assert row.broken is not None
    assert row.broken.exposures < 400
    assert row.lower is not None
    assert row.lower > row.margin


def test_of_two_broken_guardrails_the_earlier_one_tells_since_when() -> None:
    verdict = _verdict(_records(errors=(0.0, 0.9), review=(0.05, 0.3)))
    errors, review, _ = (row.broken for row in verdict.guardrails)
    assert errors is not None
    assert review is not None
    assert errors.time_s < review.time_s
    assert verdict.since == errors
    assert "errors" in verdict.reason
    assert "sent to review" in verdict.reason


def test_a_guardrail_holds_only_where_its_whole_interval_does() -> None:
    verdict = _verdict(_records(errors=(0.3, 0.0), review=(0.05, 0.09), latency_s=(0.3, 0.02)))
    assert verdict.kind != "guardrail_broken"
    assert [row.broken for row in verdict.guardrails] == [None] * 3
    errors, review, slow = verdict.guardrails
    assert [errors.state, review.state, slow.state] == ["holds", "no_harm_shown", "holds"]
    for row in verdict.guardrails:
        assert row.upper is not None
        assert (row.upper <= row.margin) is (row.state == "holds")
    assert review.upper is not None
    said = f"no harm shown (could be up to +{100 * review.upper:.2f})"
    assert words.guardrail_state(review) == said
    assert said in "\n".join(words.table(verdict))
    few = _verdict(_records(60))
    assert {row.state for row in few.guardrails} == {"too_few"}


def test_a_guardrail_that_was_within_its_margin_and_then_breaks_is_broken() -> None:
    count = 30_000
    records = _records(count, errors=(0.002, 0.002))
    dead = records.exposures.treatment & (np.arange(count) > 20_000)
    broken = dataclasses.replace(
        records,
        exposures=dataclasses.replace(records.exposures, failed=records.exposures.failed | dead),
    )
    assert _verdict(broken, START_S + 20_000).guardrails[0].state == "holds"
    verdict = _verdict(broken, START_S + count)
    assert verdict.guardrails[0].emptied is not None
    assert (verdict.kind, verdict.guardrails[0].state) == ("guardrail_broken", "broken")
    assert None is verdict.guardrails[0].lower


def test_a_guardrail_whose_looks_contradict_each_other_says_so() -> None:
    count = 30_000
    records = _records(count, errors=(0.05, 0.0))
    later = ~records.exposures.treatment & (np.arange(count) > 15_000)
    changed = dataclasses.replace(
        records,
        exposures=dataclasses.replace(records.exposures, failed=records.exposures.failed & ~later),
    )
    row = _verdict(changed, START_S + count).guardrails[0]
    assert row.state == "changing"
    assert "no one difference fits all looks since" in words.guardrail_state(row)


def test_a_split_is_never_said_to_hold() -> None:
    verdict = _verdict(_records())
    assert "would be a mismatch: no mismatch shown" in "\n".join(words.table(verdict))


def test_a_dead_canary_is_rolled_back_within_its_first_fifty_exposures() -> None:
    records = _records(errors=(0.0, 1.0), right=(0.8, 0.0))
    verdict = _verdict(records)
    assert verdict.kind == "guardrail_broken"
    assert verdict.since is not None
    seen = records.exposures.treatment[: verdict.since.exposures]
    assert min(seen.sum(), (~seen).sum()) == looks.GUARDRAIL_LEAST


def test_a_broken_guardrail_comes_before_a_mismatch() -> None:
    verdict = _verdict(_records(errors=(0.0, 0.3), share=0.2))
    assert verdict.kind == "guardrail_broken"
    assert verdict.mismatch.broken is not None


def test_a_guardrail_still_protects_after_the_time_is_up_and_after_a_verdict() -> None:
    good, bad = (
        _records(2000, right=(0.8, 0.95)),
        _records(2000, errors=(0.0, 0.5), start_s=START_S + 2000, seed=2),
    )
    columns = {
        field.name: np.concatenate(
            [getattr(good.exposures, field.name), getattr(bad.exposures, field.name)]
        )
        for field in dataclasses.fields(Exposures)
    }
    columns["unit"] = np.arange(4000)
    both = dataclasses.replace(good, exposures=Exposures(**columns))
    assert _verdict(both, START_S + 1999).kind == "better"
    assert _verdict(both, START_S + 1999, max_duration_h=0.01).kind == "out_of_time"
    assert _verdict(both).kind == "guardrail_broken"
    assert _verdict(both, max_duration_h=0.01).kind == "guardrail_broken"


def test_many_requests_of_few_units_decide_nothing() -> None:
    records = _records(4000, units=8)
    luck = records.exposures.unit % 8 < 5
    right = np.where(luck, True, records.outcomes.right)
    moved = dataclasses.replace(
        records,
        outcomes=dataclasses.replace(
            records.outcomes, right=right, treatment=records.exposures.unit % 2 == 0
        ),
    )
    assert _verdict(moved).kind == "keep_going"
    alone = dataclasses.replace(moved.outcomes, unit=np.arange(4000))
    assert _verdict(dataclasses.replace(moved, outcomes=alone)).kind != "keep_going"


def test_outcomes_of_one_moment_count_together_whatever_their_order() -> None:
    records = _records(2000)
    outcomes = records.outcomes
    worst_first = np.lexsort((outcomes.treatment == outcomes.right, outcomes.treatment))
    nightly = Outcomes(
        time_s=np.full(2000, START_S + 3000),
        treatment=outcomes.treatment[worst_first],
        unit=outcomes.unit[worst_first],
        right=outcomes.right[worst_first],
    )
    verdict = _verdict(dataclasses.replace(records, outcomes=nightly))
    assert verdict.kind == "keep_going"
    assert len(verdict.series["hours"]) == 1
    assert verdict.estimate == _verdict(records).estimate


def test_about_as_many_more_outcomes_as_it_says_decide() -> None:
    pair = np.arange(40_000) // 2
    treatment = np.arange(40_000) % 2 == 0

    def kind(count: int) -> Verdict:
        right = (pair % 20 < np.where(treatment, 16, 15))[:count]  # 80 % against 75 %
        time_s = START_S + np.arange(count, dtype=np.float64)
        made = _records(count)
        outcomes = Outcomes(
            time_s=time_s, treatment=treatment[:count], unit=np.arange(count), right=right
        )
        exposures = dataclasses.replace(made.exposures, treatment=treatment[:count])
        return _verdict(
            dataclasses.replace(made, exposures=exposures, outcomes=outcomes), START_S + 50_000
        )

    first = kind(2_000)
    assert first.kind == "keep_going"
    assert first.more_outcomes is not None
    assert f"{first.more_outcomes:,} more outcomes" in first.reason
    assert kind(2_000 + int(0.7 * first.more_outcomes)).kind == "keep_going"
    assert kind(2_000 + int(1.3 * first.more_outcomes)).kind in ("better", "no_difference")


def test_before_anything_is_known_it_keeps_going() -> None:
    records = _records(0)
    verdict = _verdict(records)
    assert (verdict.kind, verdict.started_s, verdict.estimate) == ("keep_going", None, None)
    verdict = _verdict(_without_outcomes(_records(30)))
    assert (verdict.kind, verdict.more_outcomes) == ("keep_going", None)
    assert "not known yet; it takes 100 outcomes on each side" in verdict.reason
    assert sum(side.exposures for side in verdict.sides) == 30


def test_the_outcomes_that_it_takes_to_begin_with_are_among_those_it_says() -> None:
    verdict = _verdict(_records(40, right=(0.5, 0.9)), min_outcomes=1000)
    assert verdict.more_outcomes is not None
    assert verdict.more_outcomes >= 2 * 1000 - 40


def test_each_side_tells_which_versions_answered_for_it() -> None:
    records = _records(100)
    assert [side.versions for side in _verdict(records).sides] == [(1,), (2,)]
    exposures = dataclasses.replace(records.exposures, version=np.arange(100) % 3)
    several = _verdict(dataclasses.replace(records, exposures=exposures))
    assert [side.versions for side in several.sides] == [(1, 2), (1, 2)]


def test_a_clock_gone_wrong_is_no_reason_to_fail() -> None:
    for start_s in (-1e15, 1e15):
        verdict = _verdict(_records(errors=(0.0, 1.0), start_s=start_s), now_s=2e15)
        assert verdict.kind == "guardrail_broken"
        assert f"{start_s:g} s" in verdict.reason


def test_the_ratio_of_latencies_is_that_of_geometric_means() -> None:
    verdict = _verdict(_records(latency_s=(0.02, 0.03)))
    assert verdict.latency_ratio == pytest.approx(1.5)
    assert [side.latency_s for side in verdict.sides] == pytest.approx([0.02, 0.03])
    records = _records(10)
    nan = dataclasses.replace(records.exposures, latency_s=np.full(10, np.nan))
    assert _verdict(dataclasses.replace(records, exposures=nan)).latency_ratio is None


def test_the_series_are_short_hold_the_crossing_and_are_json() -> None:
    verdict = _verdict(_records(right=(0.8, 0.9), errors=(0.0, 0.2)))
    series = [verdict.series, verdict.mismatch.series, *(row.series for row in verdict.guardrails)]
    for one in series:
        lengths = {len(column) for column in one.values()}
        assert len(lengths) == 1
        assert 300 < lengths.pop() <= 500
    since = verdict.since
    assert since is not None
    errors = verdict.guardrails[0].series
    assert (since.time_s - START_S) / 3600 in errors["hours"]
    json.dumps(dataclasses.asdict(verdict), allow_nan=False)


@pytest.mark.slow
def test_hundreds_of_thousands_of_outcomes_take_seconds() -> None:
    records = _records(300_000, units=50_000)
    start = time.monotonic()
    _verdict(records, LATER)
    assert time.monotonic() - start < 20
