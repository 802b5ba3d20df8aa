"""All looks at one experiment: its figures after every outcome, exposure and unit, by time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from serving.rollout.experiment import sequential
from serving.rollout.experiment.plan import NAMES, Plan
from serving.rollout.experiment.records import Exposures, Outcomes

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

GUARDRAIL_LEAST: Final = 50
"""Exposures on each side before a guardrail can break."""
GUARDRAIL_SCALE: Final = 0.1
"""Scale of a guardrail's confidence sequence: it finds a canary that fails a tenth more soonest.
With a scale as small as the margins, a canary that fails half of all requests would go on for
hundreds of exposures."""
POINTS: Final = 500
"""The most points of a series for a plot."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looks:
    """One row of numbers after each moment at which something became known, arrays [T]."""

    time_s: Floats
    count: Floats
    """Number of outcomes, exposures or units so far, both sides."""
    control: Floats
    """Number of those on the control; the next is the treatment's."""
    treatment: Floats
    control_share: Floats
    treatment_share: Floats
    """Share of right answers or events, NaN while there is none; for units, the part of all."""
    estimate: Floats
    lower: Floats
    """Ends of what all looks so far leave of the confidence sequence; NaN while there are too few.
    From `emptied` on, lower lies above upper: nothing is left."""
    upper: Floats
    spread: Floats
    """The estimate's variance; for units NaN."""

    @property
    def emptied(self) -> int | None:
        """The index of the first look at which no difference fits all looks; None: one does."""
        return first(self.lower > self.upper)


def first(crossed: Flags) -> int | None:
    """The index of the first True; None where there is none."""
    return int(np.argmax(crossed)) if crossed.any() else None


def quality(plan: Plan, outcomes: Outcomes) -> Looks:
    """The shares of right answers."""
    return _difference(
        *(outcomes.time_s, outcomes.treatment, outcomes.unit, outcomes.right),
        alpha=plan.alpha,
        scale=plan.smallest_difference,
        least=plan.min_outcomes,
    )


def guardrails(plan: Plan, exposures: Exposures) -> Iterator[tuple[str, Looks]]:
    """Each guardrail's name and its share of exposures; a generator, as each takes much memory."""
    with np.errstate(invalid="ignore"):
        slow = exposures.latency_s > plan.guardrails.slow_s
    events = dict(zip(NAMES, (exposures.failed, exposures.review, slow)))
    for name in NAMES:
        yield (
            name,
            _difference(
                *(exposures.time_s, exposures.treatment, exposures.unit, events[name]),
                alpha=plan.guardrail_alpha,
                scale=GUARDRAIL_SCALE,
                least=GUARDRAIL_LEAST,
            ),
        )


def mismatch(plan: Plan, exposures: Exposures) -> Looks:
    """Units by the side of their first exposure; `estimate` is the log of the Bayes factor."""
    _, begins = np.unique(exposures.unit, return_index=True)
    at = np.sort(begins)
    time_s, treatment = exposures.time_s[at], exposures.treatment[at]
    log = sequential.mismatch_log_bayes_factor(treatment, plan.treatment_share)
    treated, seen = np.cumsum(treatment, dtype=np.float64), np.arange(1.0, len(at) + 1)
    none = np.full(len(at), math.nan)
    return _looks(
        time_s=time_s,
        count=seen,
        control=seen - treated,
        treatment=treated,
        control_share=1 - treated / np.maximum(seen, 1),
        treatment_share=treated / np.maximum(seen, 1),
        estimate=log,
        lower=none,
        upper=none,
        spread=none,
    )


def _difference(
    time_s: Floats,
    treatment: Flags,
    unit: NDArray[np.int64],
    events: Flags,
    *,
    alpha: float,
    scale: float,
    least: int,
) -> Looks:
    control, treated = sequential.unit_sums(events, treatment, unit)
    found = sequential.difference(control, treated, alpha=alpha, scale=scale, least=least)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = [side.events / side.total for side in (control, treated)]
    taken = _looks(
        time_s=time_s,
        count=control.total + treated.total,
        control=control.total,
        treatment=treated.total,
        control_share=shares[0],
        treatment_share=shares[1],
        estimate=found.estimate,
        lower=found.lower,
        upper=found.upper,
        spread=found.spread,
    )
    # After that, because only one look a moment was taken.
    lower, upper = sequential.running_intersection(taken.lower, taken.upper)
    return dataclasses.replace(taken, lower=lower, upper=upper)


def _looks(**columns: Floats) -> Looks:
    """Keeps one look a moment: what became known at the same time has no order and counts at once.

    Otherwise a nightly file that lists the wrong answers first would look like a canary that fails.
    """
    time_s = columns["time_s"]
    last = np.flatnonzero(np.r_[time_s[1:] > time_s[:-1], np.ones(min(len(time_s), 1), bool)])
    return Looks(**{name: column[last] for name, column in columns.items()})


def thinned(looks: Looks, start_s: float, *marked: int | None) -> dict[str, list[Any]]:
    """At most POINTS of the looks, for a plot; NaN and infinity become None.

    So do the ends of an interval of which nothing is left.

    Args:
        looks: all of them.
        start_s: Unix time from which `hours` counts.
        marked: indices that have to be among the points.
    """
    places = np.linspace(0, len(looks.time_s) - 1, POINTS - len(marked)).round().astype(np.int64)
    wanted = [*places, *(place for place in marked if place is not None)]
    at = np.unique(np.array(wanted if len(looks.time_s) else [], np.int64))
    columns = {
        "hours": (looks.time_s - start_s) / 3600,
        **{field.name: getattr(looks, field.name) for field in dataclasses.fields(looks)},
    }
    if looks.emptied is not None:
        for end in ("lower", "upper"):
            columns[end] = np.where(
                np.arange(len(looks.time_s)) < looks.emptied, columns[end], np.nan
            )
    return {
        name: [one if math.isfinite(one) else None for one in column[at].tolist()]
        for name, column in columns.items()
        if name not in ("time_s", "spread")
    }
