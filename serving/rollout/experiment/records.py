"""Who met what, and who was right: reads a router's exposures and the outcomes, and joins them.

Files of millions of lines are read one line at a time. What stays in memory is some 50 bytes an
exposure or outcome: ids and units as 64-bit hashes (two of ten million ids share one with a chance
of 3 in a million), all else as numbers. Knows nothing about statistics.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from array import array
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from foundation.command_line import InputError
from serving.rollout.experiment.lines import Lines, Row
from serving.rollout.experiment.plan import Plan

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Ids: TypeAlias = NDArray[np.int64]

_BOOLEANS: Final[dict[Any, bool]] = {
    **{True: True, False: False, "true": True, "false": False},  # 1 and 0 are equal to these
    **{"1": True, "0": False, "1.0": True, "0.0": False},
}
_UNKNOWN: Final = -1
"""The code of a prediction that an exposure does not tell, for it was written by an older client;
0 is the one that says that there was none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """What was read, and what became of it."""

    exposures: int = 0
    """That count: of this experiment, on one of its two sides, the first of their ids."""
    exposure_lines_skipped: int = 0
    """Torn, no JSON, or without what an exposure must say."""
    exposures_of_other_experiments: int = 0
    exposures_of_other_labels: int = 0
    exposures_repeated: int = 0
    """Of an id that has an earlier exposure."""
    exposures_by_fallback: int = 0
    """Answered by another than their side: they count for the side that was assigned."""
    units_on_both_sides: int = 0
    """They were moved, by other weights or the kill switch."""
    outcomes: int = 0
    """That count: joined to an exposure."""
    outcome_lines_skipped: int = 0
    """Torn, no JSON, or without what an outcome must say."""
    outcomes_replaced: int = 0
    """By a later one of their id."""
    outcomes_without_exposure: int = 0
    outcomes_without_prediction: int = 0
    """They say the truth, and their exposure was written without what was predicted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exposures:
    """All that count, by time: arrays of one length."""

    time_s: Floats
    """Unix time."""
    treatment: Flags
    """The side that was assigned, whoever answered."""
    unit: Ids
    failed: Flags
    """The side did not answer: nobody did, or a fallback."""
    version: Ids
    """Of the model that answered for the side; 0 where the side did not answer."""
    review: Flags
    latency_s: Floats
    """NaN where it is not told."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcomes:
    """All that count, by the time at which they were known: arrays of one length."""

    time_s: Floats
    treatment: Flags
    unit: Ids
    right: Flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Records:
    """One experiment's."""

    exposures: Exposures
    outcomes: Outcomes
    counts: Counts


def read_records(plan: Plan, exposures: Sequence[str], outcomes: Sequence[str]) -> Records:
    """Reads and joins.

    Args:
        plan: whose experiment.
        exposures: paths or globs of what ExposureLog has written.
        outcomes: paths or globs of JSONL or CSV with request_id, `truth` (the class) or `correct`
            (true, false, 1, 0; it comes first where a row has both), and perhaps time_s, when it
            became known: else, or if that is earlier, the time of the exposure.

    Raises:
        InputError: a path is of no file, a CSV file lacks a column, or all outcomes say the truth
            while no exposure says what was predicted.
    """
    met, known = _Met(plan), _Known()
    lines = Lines("exposures", exposures, columns=("request_id", "unit", "label", "time_s"))
    for row in lines:
        met.add(row)
    told = Lines("outcomes", outcomes, columns=("request_id",), one_of=("truth", "correct"))
    for row in told:
        known.add(row, met.codes)
    return _joined(met, known, lines.skipped, told.skipped)


class _Met:
    """Exposures while they are read: columns of numbers."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self.codes = {"": 0}
        self.skipped = self.foreign = self.other_labels = 0
        self.ids, self.units, self.versions = array("q"), array("q"), array("q")
        self.predicted, self.times, self.latencies = array("i"), array("d"), array("d")
        self.sides, self.failed, self.fallback, self.review = (array("b") for _ in range(4))

    def add(self, row: Row) -> None:
        request_id, unit, label = (row.get(key) for key in ("request_id", "unit", "label"))
        time_s, experiment = _number(row.get("time_s")), row.get("experiment")
        texts = (request_id, unit, label, experiment)
        if not all(isinstance(text, str) and text for text in texts) or math.isnan(time_s):
            self.skipped += 1
            return
        if experiment != self._plan.experiment:
            self.foreign += 1
            return
        if label not in (self._plan.control, self._plan.treatment):
            self.other_labels += 1
            return
        error, by, predicted = row.get("error"), row.get("answered_by"), row.get("predicted")
        fallback = not error and bool(by) and not str(by).endswith(f"/labels/{label}")
        self.ids.append(_hash(str(request_id)))
        self.units.append(_hash(str(unit)))
        self.times.append(time_s)
        self.sides.append(label == self._plan.treatment)
        self.failed.append(bool(error) or fallback)
        self.fallback.append(fallback)
        version = _number(row.get("version"))
        told = 0 < version < 2**53 and not self.failed[-1]
        self.versions.append(int(version) if told else 0)
        self.review.append(_BOOLEANS.get(_plain(row.get("needs_review")), False))
        self.latencies.append(_number(row.get("latency_s")))
        if isinstance(predicted, str):
            self.predicted.append(self.codes.setdefault(predicted, len(self.codes)))
        else:  # who failed predicted nothing, whatever wrote it down
            self.predicted.append(0 if error else _UNKNOWN)


class _Known:
    """Outcomes while they are read: columns of numbers."""

    def __init__(self) -> None:
        self.skipped = 0
        self.ids, self.calls, self.times = array("q"), array("q"), array("d")
        self.truth, self.correct = array("i"), array("b")

    def add(self, row: Row, codes: dict[str, int]) -> None:
        request_id, truth = row.get("request_id"), row.get("truth")
        correct = _BOOLEANS.get(_plain(row.get("correct")))
        named = isinstance(truth, str) and truth != ""
        if not (isinstance(request_id, str) and request_id and (named or correct is not None)):
            self.skipped += 1
            return
        self.ids.append(_hash(request_id))
        # A call of several images that failed has one exposure, under the call's own id.
        call = re.fullmatch(r"(.+)-\d+", request_id, re.DOTALL)
        self.calls.append(_hash(call[1] if call else request_id))
        self.times.append(_number(row.get("time_s")))
        self.correct.append(-1 if correct is None else correct)
        self.truth.append(codes.setdefault(str(truth), len(codes)) if named else _UNKNOWN)


def _joined(met: _Met, known: _Known, torn: int, torn_outcomes: int) -> Records:
    times = np.array(met.times, np.float64)
    by_time = np.argsort(times, kind="stable")
    ids, first = np.unique(np.array(met.ids, np.int64)[by_time], return_index=True)
    kept = by_time[np.sort(first)]
    at = by_time[first]
    treatment = np.array(met.sides, bool)
    _, unit = np.unique(np.array(met.units, np.int64), return_inverse=True)
    failed, fallback = np.array(met.failed, bool), np.array(met.fallback, bool)

    # The last outcome of each id by time; one that tells no time is as late as where it stands.
    names, when = np.array(known.ids, np.int64), np.array(known.times, np.float64)
    order = np.argsort(np.where(np.isnan(when), _carried(when), when), kind="stable")
    _, last = np.unique(names[order][::-1], return_index=True)
    those = np.sort(order[::-1][last])

    exposure, found = _find(ids, at, names[those])
    of_call, whole = _find(ids, at, np.array(known.calls, np.int64)[those])
    # Only of a call that nobody answered: an answered one has an exposure for each image.
    nobody = failed & ~fallback
    instead = ~found & whole & (nobody[of_call] if len(nobody) else whole)
    exposure, found = np.where(instead, of_call, exposure), found | instead
    those, exposure, orphans = those[found], exposure[found], int((~found).sum())

    predicted = np.array(met.predicted, np.int64)[exposure]
    truth, correct = np.array(known.truth)[those], np.array(known.correct)[those]
    silent = (correct < 0) & (predicted == _UNKNOWN)
    if len(those) and (correct < 0).all() and max(met.predicted) <= 0:
        raise InputError(
            "Expected exposures that say what was predicted, as their outcomes say the truth. "
            "Received: none that does; write them with a newer client, or give outcomes that say "
            "whether the answer was correct"
        )
    right = np.where(correct < 0, truth == predicted, correct == 1)
    when = np.fmax(when[those], times[exposure])
    shown = np.flatnonzero(~silent)[np.argsort(when[~silent], kind="stable")]
    sides = treatment[kept]
    twice = np.intersect1d(unit[kept][sides], unit[kept][~sides])
    return Records(
        exposures=Exposures(
            time_s=times[kept],
            treatment=sides,
            unit=unit[kept],
            failed=failed[kept],
            version=np.array(met.versions, np.int64)[kept],
            review=np.array(met.review, bool)[kept],
            latency_s=np.array(met.latencies, np.float64)[kept],
        ),
        outcomes=Outcomes(
            time_s=when[shown],
            treatment=treatment[exposure][shown],
            unit=unit[exposure][shown],
            right=right[shown],
        ),
        counts=Counts(
            exposures=len(kept),
            exposure_lines_skipped=torn + met.skipped,
            exposures_of_other_experiments=met.foreign,
            exposures_of_other_labels=met.other_labels,
            exposures_repeated=len(times) - len(kept),
            exposures_by_fallback=int(fallback[kept].sum()),
            units_on_both_sides=len(twice),
            outcomes=len(shown),
            outcome_lines_skipped=torn_outcomes + known.skipped,
            outcomes_replaced=len(names) - len(np.unique(names)),
            outcomes_without_exposure=orphans,
            outcomes_without_prediction=int(silent.sum()),
        ),
    )


def _find(ids: Ids, at: Ids, wanted: Ids) -> tuple[Ids, Flags]:
    """For each wanted id the place of its exposure, and whether there is one; ids are sorted."""
    if not len(ids):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    place = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return at[place], ids[place] == wanted


def _carried(when: Floats) -> Floats:
    """The latest time told so far."""
    return np.fmax.accumulate(np.where(np.isnan(when), -np.inf, when))


def _number(value: object) -> float:
    """NaN for what is no finite number."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return math.nan
        return number if math.isfinite(number) else math.nan
    return math.nan


def _plain(value: object) -> Any:
    """What may be looked up: unhashable values become None, texts lose their case."""
    if isinstance(value, str):
        return value.strip().lower()
    return value if isinstance(value, (bool, int, float)) else None


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big", signed=True)
