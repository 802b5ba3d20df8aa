"""Is the treatment better, worse, the same, harmful, or not comparable: one verdict, its reason.

Every rule may be looked at after every outcome, so the first moment at which one holds decides, and
stays. Only what says that the comparison was never sound, or that users suffer, overturns it:

    guardrail_broken        > sample_ratio_mismatch > better, worse, no_difference > out_of_time

Knows nothing about files.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from serving.rollout.experiment import looks, sequential, words
from serving.rollout.experiment.looks import Looks
from serving.rollout.experiment.plan import Plan
from serving.rollout.experiment.records import Counts, Records

Kind: TypeAlias = Literal[
    "sample_ratio_mismatch",
    "guardrail_broken",
    "better",
    "worse",
    "no_difference",
    "keep_going",
    "out_of_time",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Since:
    """The first moment at which a rule held."""

    time_s: float
    """Unix time."""
    outcomes: int
    """Known by then, both sides; so for exposures."""
    exposures: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One side by now."""

    label: str
    versions: tuple[int, ...]
    """That answered for it, ascending; without those that a fallback asked."""
    units: int
    """By the side of their first exposure."""
    exposures: int
    outcomes: int
    share_right: float | None
    """Of the outcomes, 0-1."""
    latency_s: float | None
    """Geometric mean."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuardrailRow:
    """One guardrail by now: shares of all exposures, 0-1."""

    name: str
    margin: float
    control: float | None
    treatment: float | None
    lower: float | None
    """Of the confidence sequence of treatment - control; None while there are too few."""
    upper: float | None
    broken: Since | None
    """The first time that `lower` lay above the margin."""
    series: Mapping[str, list[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MismatchRow:
    """The sample-ratio test by now."""

    planned: float
    """The treatment's share of the units, 0-1."""
    found: float | None
    log10_bayes_factor: float
    log10_threshold: float
    broken: Since | None
    series: Mapping[str, list[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an experiment shows."""

    experiment: str
    kind: Kind
    since: Since | None
    """None for keep_going."""
    reason: str
    """One sentence."""
    estimate: float | None
    """Treatment's share of right answers minus control's, of all outcomes by now."""
    lower: float | None
    """Of its confidence sequence, with the plan's alpha; None while there are too few."""
    upper: float | None
    more_outcomes: int | None
    """About how many it still takes, for keep_going; None if there is no saying."""
    latency_ratio: float | None
    """Of geometric means, treatment over control. For information."""
    sides: tuple[Side, Side]
    """Control, treatment."""
    guardrails: tuple[GuardrailRow, ...]
    mismatch: MismatchRow
    started_s: float | None
    """Unix time of the first exposure."""
    after_now: int
    """Exposures and outcomes of a later time than `now_s`, left out."""
    counts: Counts
    series: Mapping[str, list[Any]]
    """Of the quality, for plots: hours, count, control_share, treatment_share, estimate, lower,
    upper and so on, lists of one length, at most 500."""


def evaluate(plan: Plan, records: Records, now_s: float) -> Verdict:
    """Walks what became known until now, in order of time.

    Args:
        plan: what the experiment is meant to show.
        records: what was met and known.
        now_s: Unix time; what carries a later one is left out.
    """
    exposures = _until(records.exposures, now_s)
    outcomes = _until(records.outcomes, now_s)
    total = len(records.exposures.time_s) + len(records.outcomes.time_s)
    started_s = float(exposures.time_s[0]) if len(exposures.time_s) else None
    begun_s = math.inf if started_s is None else started_s
    end_s = begun_s + plan.max_duration_h * 3600

    def since(time_s: float) -> Since:
        return Since(
            time_s=time_s,
            outcomes=int(np.searchsorted(outcomes.time_s, time_s, side="right")),
            exposures=int(np.searchsorted(exposures.time_s, time_s, side="right")),
        )

    rows = []
    for name, one in looks.guardrails(plan, exposures):
        margin = float(getattr(plan.guardrails, name))
        at = looks.first(one.lower > margin)
        rows.append(
            GuardrailRow(
                name=name,
                margin=margin,
                control=_last(one.control_share),
                treatment=_last(one.treatment_share),
                lower=_last(one.lower),
                upper=_last(one.upper),
                broken=None if at is None else since(float(one.time_s[at])),
                series=looks.thinned(one, begun_s, at),
            )
        )
    ratio = looks.mismatch(plan, exposures)
    threshold = -math.log(plan.srm_alpha)
    at = looks.first(ratio.estimate >= threshold)
    mismatch = MismatchRow(
        planned=plan.treatment_share,
        found=_last(ratio.treatment_share),
        log10_bayes_factor=(_last(ratio.estimate) or 0.0) / math.log(10),
        log10_threshold=threshold / math.log(10),
        broken=None if at is None else since(float(ratio.time_s[at])),
        series=looks.thinned(ratio, begun_s, at),
    )
    quality = looks.quality(plan, outcomes)
    kind, crossed = _decided(plan, quality, end_s)
    decided = None if crossed is None else since(float(quality.time_s[crossed]))
    if kind == "keep_going" and now_s >= end_s:
        kind, decided = "out_of_time", since(end_s)
    if mismatch.broken:
        kind, decided = "sample_ratio_mismatch", mismatch.broken
    breaches = [row.broken for row in rows if row.broken]
    if breaches:
        kind, decided = "guardrail_broken", min(breaches, key=lambda one: one.time_s)

    control, treatment = (
        Side(
            label=label,
            versions=tuple(one for one in np.unique(exposures.version[which]).tolist() if one > 0),
            units=int(_last(getattr(ratio, side)) or 0),
            exposures=int(which.sum()),
            outcomes=int(_last(getattr(quality, side)) or 0),
            share_right=_last(getattr(quality, f"{side}_share")),
            latency_s=_geometric_mean(exposures.latency_s[which]),
        )
        for label, side, which in (
            (plan.control, "control", ~exposures.treatment),
            (plan.treatment, "treatment", exposures.treatment),
        )
    )
    verdict = Verdict(
        experiment=plan.experiment,
        kind=kind,
        since=decided,
        reason="",
        estimate=_last(quality.estimate),
        lower=_last(quality.lower),
        upper=_last(quality.upper),
        more_outcomes=_more(plan, quality) if kind == "keep_going" else None,
        latency_ratio=(
            treatment.latency_s / control.latency_s
            if treatment.latency_s and control.latency_s
            else None
        ),
        sides=(control, treatment),
        guardrails=tuple(rows),
        mismatch=mismatch,
        started_s=started_s,
        after_now=total - len(exposures.time_s) - len(outcomes.time_s),
        counts=records.counts,
        series=looks.thinned(quality, begun_s, crossed),
    )
    return dataclasses.replace(verdict, reason=words.reason(plan, verdict))


def _decided(plan: Plan, quality: Looks, end_s: float) -> tuple[Kind, int | None]:
    """The first look in time at which the interval says something."""
    until = quality.before(end_s)
    lower, upper = quality.lower[:until], quality.upper[:until]
    small = plan.smallest_difference
    better, worse = lower > 0, upper < 0
    at = looks.first(better | worse | ((lower > -small) & (upper < small)))
    if at is None:
        return "keep_going", None
    return "better" if better[at] else "worse" if worse[at] else "no_difference", at


def _more(plan: Plan, quality: Looks) -> int | None:
    """About how many outcomes a decision still takes, both sides together."""
    if not len(quality.count):
        return None
    fewest = min(quality.control[-1], quality.treatment[-1])
    if fewest == 0:
        return None
    needed = sequential.outcomes_needed(
        *(float(quality.estimate[-1]), float(quality.spread[-1])),
        alpha=plan.alpha,
        smallest=plan.smallest_difference,
    )
    if needed is None:
        return None
    times = max(needed, plan.min_outcomes / float(fewest))
    return max(math.ceil(float(quality.count[-1]) * (times - 1)), 1)


def _geometric_mean(latencies_s: looks.Floats) -> float | None:
    taken = latencies_s[latencies_s > 0]  # without NaN
    return float(np.exp(np.log(taken).mean())) if len(taken) else None


def _until(rows: Any, now_s: float) -> Any:
    """The same columns, without what is later; they are in order of time."""
    end = int(np.searchsorted(rows.time_s, now_s, side="right"))
    return type(rows)(
        **{field.name: getattr(rows, field.name)[:end] for field in dataclasses.fields(rows)}
    )


def _last(column: looks.Floats) -> float | None:
    return float(column[-1]) if len(column) and math.isfinite(column[-1]) else None
