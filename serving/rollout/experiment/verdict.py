"""What a verdict on an experiment says: its kind, when it was reached, and its figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from serving.rollout.experiment.records import Counts

Kind: TypeAlias = Literal[
    "sample_ratio_mismatch",
    "guardrail_broken",
    "changing",
    "better",
    "worse",
    "no_difference",
    "keep_going",
    "out_of_time",
]

GuardrailState: TypeAlias = Literal["broken", "changing", "too_few", "holds", "no_harm_shown"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Since:
    """The first moment at which a rule held."""

    time_s: float
    """Unix time."""
    outcomes: int
    """Outcomes known by then, both sides; so for exposures."""
    exposures: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One side by now."""

    label: str
    versions: tuple[int, ...]
    """Versions that answered for it, ascending, without those that a fallback asked."""
    units: int
    """Units by the side of their first exposure."""
    exposures: int
    outcomes: int
    """Of the planned time, by now."""
    share_right: float | None
    """Share of right outcomes, 0-1."""
    latency_s: float | None
    """Geometric mean, in seconds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuardrailRow:
    """One guardrail by now: shares of all exposures, 0-1."""

    name: str
    margin: float
    control: float | None
    treatment: float | None
    lower: float | None
    """Of what all looks leave of the confidence sequence of treatment - control; None while there
    are too few, and where nothing is left."""
    upper: float | None
    emptied: Since | None
    """The first time that no difference fitted all looks."""
    broken: Since | None
    """The first time that `lower` lay above the margin."""
    state: GuardrailState
    """It holds only where the whole interval is within the margin."""
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
    """Treatment's share of right answers minus control's, of all outcomes that count: those of the
    planned time, by now."""
    lower: float | None
    """Of what all looks leave of its confidence sequence, with the plan's alpha; None while there
    are too few, and where nothing is left."""
    upper: float | None
    emptied: Since | None
    """The first time that no difference fitted all looks."""
    more_outcomes: int | None
    """About how many it still takes, for keep_going; None where that cannot be told."""
    latency_ratio: float | None
    """Geometric mean of the treatment over that of the control; it decides nothing."""
    sides: tuple[Side, Side]
    """Control, treatment."""
    guardrails: tuple[GuardrailRow, ...]
    mismatch: MismatchRow
    started_s: float | None
    """Unix time of the first exposure."""
    after_now: int
    """Exposures and outcomes that were left out because they are later than `now_s`."""
    after_end: int
    """Outcomes that were left out because the planned time was over."""
    counts: Counts
    series: Mapping[str, list[Any]]
    """The quality over time, for plots: hours, count, control_share, treatment_share, estimate,
    lower, upper and so on: lists of one length, at most 500."""
