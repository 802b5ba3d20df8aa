"""Reaches the verdict on an experiment: better, worse, no difference, harmful, or not comparable.

Every rule may be checked after every outcome. So the first moment at which a rule holds decides,
and later data does not take that back: the interval is what all looks leave, and never widens.
Three rules overrule the others at any time, because they say that users suffer, that the sides
could never be compared, or that there is no one difference to tell, as nothing is left of the
interval:

    guardrail_broken > sample_ratio_mismatch > changing > better, worse, no_difference > out_of_time
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from serving.rollout.experiment import looks, sequential, words
from serving.rollout.experiment.looks import Looks
from serving.rollout.experiment.plan import Plan
from serving.rollout.experiment.records import Exposures, Outcomes, Records
from serving.rollout.experiment.verdict import (
    GuardrailRow,
    GuardrailState,
    Kind,
    MismatchRow,
    Side,
    Since,
    Verdict,
)

Rows = TypeVar("Rows", Exposures, Outcomes)


def evaluate(plan: Plan, records: Records, now_s: float) -> Verdict:
    """Reaches the verdict on what was known at a moment.

    Args:
        plan: what the experiment is meant to show.
        records: its exposures and outcomes.
        now_s: Unix time; records with a later time are left out.
    """
    known = _Known(
        now_s=now_s,
        exposures=_until(records.exposures, now_s),
        outcomes=_until(records.outcomes, now_s),
    )
    units = looks.mismatch(plan, known.exposures)
    counted = _until(known.outcomes, known.end_s(plan))
    quality = looks.quality(plan, counted)
    guardrails, mismatch = _guardrails(plan, known), _mismatch(plan, known, units)
    kind, crossed = _crossing(plan, quality)
    decided = known.at(quality, crossed)
    kind, since = _first_in_rank(plan, known, guardrails, mismatch, (kind, decided))
    lower, upper = _interval(quality)
    sides = _sides(plan, known, units, quality)
    verdict = Verdict(
        experiment=plan.experiment,
        kind=kind,
        since=since,
        reason="",
        estimate=_last(quality.estimate),
        lower=lower,
        upper=upper,
        emptied=known.at(quality, quality.emptied),
        more_outcomes=_more_outcomes(plan, quality) if kind == "keep_going" else None,
        latency_ratio=_latency_ratio(*sides),
        sides=sides,
        guardrails=guardrails,
        mismatch=mismatch,
        started_s=known.started_s,
        after_now=_length(records) - _length(known),
        after_end=len(known.outcomes.time_s) - len(counted.time_s),
        counts=records.counts,
        series=looks.thinned(quality, known.begun_s, crossed),
    )
    return dataclasses.replace(verdict, reason=words.reason(plan, verdict))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Known:
    """What was known at a moment, in order of time."""

    now_s: float
    exposures: Exposures
    outcomes: Outcomes

    @property
    def started_s(self) -> float | None:
        """Unix time of the first exposure."""
        return float(self.exposures.time_s[0]) if len(self.exposures.time_s) else None

    @property
    def begun_s(self) -> float:
        """The same, infinite while there is no exposure."""
        return math.inf if self.started_s is None else self.started_s

    def end_s(self, plan: Plan) -> float:
        """Unix time at which the planned duration is over."""
        return self.begun_s + plan.max_duration_h * 3600

    def at(self, looks: Looks, index: int | None) -> Since | None:
        """The moment of a look; None where there is no such look."""
        return None if index is None else self.since(float(looks.time_s[index]))

    def since(self, time_s: float) -> Since:
        """A moment, and how much was known by then."""
        return Since(
            time_s=time_s,
            outcomes=int(np.searchsorted(self.outcomes.time_s, time_s, side="right")),
            exposures=int(np.searchsorted(self.exposures.time_s, time_s, side="right")),
        )


def _guardrails(plan: Plan, known: _Known) -> tuple[GuardrailRow, ...]:
    rows = []
    for name, one in looks.guardrails(plan, known.exposures):
        margin = float(getattr(plan.guardrails, name))
        at = looks.first(one.lower > margin)  # of all looks, whether or not they contradict others
        lower, upper = _interval(one)
        state: GuardrailState = "too_few"
        if at is not None:
            state = "broken"
        elif one.emptied is not None:
            state = "changing"
        elif upper is not None:
            state = "holds" if upper <= margin else "no_harm_shown"
        rows.append(
            GuardrailRow(
                name=name,
                margin=margin,
                control=_last(one.control_share),
                treatment=_last(one.treatment_share),
                lower=lower,
                upper=upper,
                emptied=known.at(one, one.emptied),
                broken=known.at(one, at),
                state=state,
                series=looks.thinned(one, known.begun_s, at),
            )
        )
    return tuple(rows)


def _mismatch(plan: Plan, known: _Known, units: Looks) -> MismatchRow:
    threshold = -math.log(plan.srm_alpha)
    at = looks.first(units.estimate >= threshold)
    return MismatchRow(
        planned=plan.treatment_share,
        found=_last(units.treatment_share),
        log10_bayes_factor=(_last(units.estimate) or 0.0) / math.log(10),
        log10_threshold=threshold / math.log(10),
        broken=known.at(units, at),
        series=looks.thinned(units, known.begun_s, at),
    )


def _crossing(plan: Plan, quality: Looks) -> tuple[Kind, int | None]:
    """What the first interval says that says anything, and the place of that look.

    An interval above 0 says better, one below 0 worse, and one within the smallest difference that
    matters no_difference; one of which nothing is left takes that back.
    """
    if quality.emptied is not None:
        return "changing", quality.emptied
    lower, upper = quality.lower, quality.upper
    small = plan.smallest_difference
    better, worse = lower > 0, upper < 0
    at = looks.first(better | worse | ((lower > -small) & (upper < small)))
    if at is None:
        return "keep_going", None
    return "better" if better[at] else "worse" if worse[at] else "no_difference", at


def _first_in_rank(
    plan: Plan,
    known: _Known,
    guardrails: Sequence[GuardrailRow],
    mismatch: MismatchRow,
    quality: tuple[Kind, Since | None],
) -> tuple[Kind, Since | None]:
    """The kind of the highest rank that holds (see the top of this file), and since when."""
    breaches = [row.broken for row in guardrails if row.broken]
    if breaches:
        return "guardrail_broken", min(breaches, key=lambda one: one.time_s)
    if mismatch.broken:
        return "sample_ratio_mismatch", mismatch.broken
    kind, _ = quality
    if kind == "keep_going" and known.now_s >= known.end_s(plan):
        return "out_of_time", known.since(known.end_s(plan))
    return quality


def _sides(plan: Plan, known: _Known, units: Looks, quality: Looks) -> tuple[Side, Side]:
    """Control and treatment."""
    exposures = known.exposures

    def side(name: str, label: str, which: looks.Flags) -> Side:
        versions = np.unique(exposures.version[which]).tolist()
        return Side(
            label=label,
            versions=tuple(version for version in versions if version > 0),
            units=int(_last(getattr(units, name)) or 0),
            exposures=int(which.sum()),
            outcomes=int(_last(getattr(quality, name)) or 0),
            share_right=_last(getattr(quality, f"{name}_share")),
            latency_s=_geometric_mean(exposures.latency_s[which]),
        )

    return (
        side("control", plan.control, ~exposures.treatment),
        side("treatment", plan.treatment, exposures.treatment),
    )


def _latency_ratio(control: Side, treatment: Side) -> float | None:
    if control.latency_s and treatment.latency_s:
        return treatment.latency_s / control.latency_s
    return None


def _more_outcomes(plan: Plan, quality: Looks) -> int | None:
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
    taken = latencies_s[latencies_s > 0]  # this leaves out NaN as well
    return float(np.exp(np.log(taken).mean())) if len(taken) else None


def _length(of: Records | _Known) -> int:
    return len(of.exposures.time_s) + len(of.outcomes.time_s)


def _until(rows: Rows, now_s: float) -> Rows:
    """The same columns up to a time; their rows are in order of time."""
    end = int(np.searchsorted(rows.time_s, now_s, side="right"))
    return type(rows)(
        **{field.name: getattr(rows, field.name)[:end] for field in dataclasses.fields(rows)}
    )


def _interval(looks: Looks) -> tuple[float | None, float | None]:
    """Both ends by now; None where there is none yet, or nothing is left."""
    if looks.emptied is not None:
        return None, None
    return _last(looks.lower), _last(looks.upper)


def _last(column: looks.Floats) -> float | None:
    return float(column[-1]) if len(column) and math.isfinite(column[-1]) else None
