"""The records of an experiment: its exposures and outcomes as columns of numbers.

An exposure says which version answered which unit; an outcome says whether the answer was right.
"""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Ids: TypeAlias = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """What was read, and what became of it."""

    exposures: int = 0
    """Exposures that count: of this experiment, on one of its two sides, the first of their id."""
    exposure_lines_skipped: int = 0
    """Torn lines, lines that are no JSON, and exposures that lack a field they must have."""
    exposures_of_other_experiments: int = 0
    exposures_of_other_labels: int = 0
    exposures_repeated: int = 0
    """Later exposures of an id."""
    exposures_by_fallback: int = 0
    """Answered by a fallback; they count for the side that was assigned."""
    units_on_both_sides: int = 0
    """Units that moved from one side to the other, by new weights or the kill switch."""
    outcomes: int = 0
    """Outcomes that count: joined to an exposure."""
    outcome_lines_skipped: int = 0
    """Torn lines, lines that are no JSON, and outcomes that lack a field they must have."""
    outcomes_replaced: int = 0
    """Outcomes that a later one of the same id replaces."""
    outcomes_without_exposure: int = 0
    outcomes_without_prediction: int = 0
    """They tell the true class, but their exposure was written without the predicted one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exposures:
    """All exposures that count, in order of time: arrays [exposures]."""

    time_s: Floats
    """Unix time."""
    treatment: Flags
    """True where the unit was assigned to the treatment, whichever side answered."""
    unit: Ids
    """Which unit, numbered from 0."""
    failed: Flags
    """True where the assigned side did not answer: nobody did, or a fallback."""
    version: Ids
    """Model version that answered for the assigned side; 0 where that side did not answer."""
    review: Flags
    """True where a person has to look at the answer."""
    latency_s: Floats
    """Seconds; NaN where the exposure does not tell."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcomes:
    """All outcomes that count, in the order in which they became known: arrays [outcomes]."""

    time_s: Floats
    """Unix time at which it became known."""
    treatment: Flags
    """The side of its exposure."""
    unit: Ids
    """The unit of its exposure."""
    right: Flags
    """Whether the answer was right."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Records:
    """All that was recorded of one experiment."""

    exposures: Exposures
    outcomes: Outcomes
    counts: Counts
