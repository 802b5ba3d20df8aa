"""Reads a router's exposures and the outcomes, and joins each outcome to its exposure.

Files of millions of lines are read one line at a time. About 50 bytes of each exposure or outcome
stay in memory: ids and units as 64-bit hashes (among ten million ids, the chance that two share a
hash is 3 in a million), all else as numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from array import array
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from foundation.command_line import InputError
from serving.rollout.experiment.lines import Lines, Row
from serving.rollout.experiment.plan import Plan
from serving.rollout.experiment.records import (
    Counts,
    Exposures,
    Flags,
    Floats,
    Ids,
    Outcomes,
    Records,
)

_BOOLEANS: Final[dict[Any, bool]] = {
    **{True: True, False: False, "true": True, "false": False},  # 1 and 0 are equal to these
    **{"1": True, "0": False, "1.0": True, "0.0": False},
}

_UNKNOWN: Final = -1
"""Code of a class that is not told: by an outcome that only says whether the answer was correct, or
by an exposure that an older client wrote. Code 0 says that nothing was predicted."""


def read_records(plan: Plan, exposures: Sequence[str], outcomes: Sequence[str]) -> Records:
    """Reads and joins.

    Args:
        plan: whose experiment.
        exposures: paths or globs of what ExposureLog has written.
        outcomes: paths or globs of JSONL or CSV with request_id, `truth` (the class) or `correct`
            (true, false, 1, 0; it is preferred where a row has both), and perhaps time_s, when it
            became known: else, or if that is earlier, the time of the exposure.

    Raises:
        InputError: a path is of no file, a CSV file lacks a column, or all outcomes say the truth
            while no exposure says what was predicted.
    """
    met, known = _ExposureRows(plan), _OutcomeRows()
    lines = Lines("exposures", exposures, columns=("request_id", "unit", "label", "time_s"))
    for row in lines:
        met.add(row)
    told = Lines("outcomes", outcomes, columns=("request_id",), one_of=("truth", "correct"))
    for row in told:
        known.add(row, met.codes)
    met.skipped += lines.skipped
    known.skipped += told.skipped
    return _joined(met, known)


class _ExposureRows:
    """Exposures while they are read: columns of numbers, and counts of what was left out."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self.codes = {"": 0}
        """Class to its code; outcomes share them."""
        self.skipped = self.foreign = self.other_labels = 0
        self.ids, self.units, self.versions = array("q"), array("q"), array("q")
        self.predicted, self.times, self.latencies = array("i"), array("d"), array("d")
        self.sides, self.failed, self.fallback, self.review = (array("b") for _ in range(4))

    def add(self, row: Row) -> None:
        """Takes one line, or counts why not."""
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
        error, by = row.get("error"), row.get("answered_by")
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
        self.predicted.append(self._predicted(row.get("predicted"), failed=bool(error)))

    def _predicted(self, name: object, *, failed: bool) -> int:
        if isinstance(name, str):
            return self.codes.setdefault(name, len(self.codes))
        return 0 if failed else _UNKNOWN  # a call that failed predicted nothing


class _OutcomeRows:
    """Outcomes while they are read: columns of numbers, and a count of what was left out."""

    def __init__(self) -> None:
        self.skipped = 0
        self.ids, self.calls, self.times = array("q"), array("q"), array("d")
        self.truth, self.correct = array("i"), array("b")
        """Codes of classes, and 1, 0 or -1 where the row does not tell."""

    def add(self, row: Row, codes: dict[str, int]) -> None:
        """Takes one line, or counts it as skipped."""
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


def _joined(met: _ExposureRows, known: _OutcomeRows) -> Records:
    seen = _SeenExposures(met)
    latest = _latest(known)
    pairs = _pairs(seen, known, latest)
    outcomes, silent = _outcomes(seen, known, pairs)
    exposures = seen.counting()
    moved = np.intersect1d(
        exposures.unit[exposures.treatment], exposures.unit[~exposures.treatment]
    )
    return Records(
        exposures=exposures,
        outcomes=outcomes,
        counts=Counts(
            exposures=len(seen.counted),
            exposure_lines_skipped=met.skipped,
            exposures_of_other_experiments=met.foreign,
            exposures_of_other_labels=met.other_labels,
            exposures_repeated=len(met.ids) - len(seen.counted),
            exposures_by_fallback=int(seen.fallback[seen.counted].sum()),
            units_on_both_sides=len(moved),
            outcomes=len(outcomes.time_s),
            outcome_lines_skipped=known.skipped,
            outcomes_replaced=len(known.ids) - len(latest),
            outcomes_without_exposure=len(latest) - len(pairs.outcome),
            outcomes_without_prediction=silent,
        ),
    )


class _SeenExposures:
    """All exposures as arrays, and which one of each id counts: the first by time."""

    def __init__(self, met: _ExposureRows):
        self._met = met
        self.time_s = np.array(met.times, np.float64)
        self.treatment = np.array(met.sides, bool)
        self.fallback = np.array(met.fallback, bool)
        self.failed = np.array(met.failed, bool)
        self.predicted = np.array(met.predicted, np.int64)
        _, self.unit = np.unique(np.array(met.units, np.int64), return_inverse=True)
        by_time = np.argsort(self.time_s, kind="stable")
        self._ids, first = np.unique(np.array(met.ids, np.int64)[by_time], return_index=True)
        self._row = by_time[first]
        self.counted: Ids = by_time[np.sort(first)]
        """Rows that count, in order of time."""

    def find(self, wanted: Ids) -> tuple[Ids, Flags]:
        """For each wanted id the row of its exposure, and whether there is one."""
        if not len(self._ids):
            return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
        place = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
        return self._row[place], self._ids[place] == wanted

    def counting(self) -> Exposures:
        """Those that count, in order of time."""
        rows = self.counted
        return Exposures(
            time_s=self.time_s[rows],
            treatment=self.treatment[rows],
            unit=self.unit[rows],
            failed=self.failed[rows],
            version=np.array(self._met.versions, np.int64)[rows],
            review=np.array(self._met.review, bool)[rows],
            latency_s=np.array(self._met.latencies, np.float64)[rows],
        )


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """Outcomes and their exposures, as rows of what was read: arrays of one length."""

    outcome: Ids
    exposure: Ids


def _latest(known: _OutcomeRows) -> Ids:
    """Rows of the last outcome of each id by time.

    An outcome that tells no time is taken to be as late as the latest time told before its row.
    """
    ids, when = np.array(known.ids, np.int64), np.array(known.times, np.float64)
    told = np.fmax.accumulate(np.where(np.isnan(when), -np.inf, when))
    order = np.argsort(np.where(np.isnan(when), told, when), kind="stable")
    _, last = np.unique(ids[order][::-1], return_index=True)
    return np.sort(order[::-1][last])


def _pairs(seen: _SeenExposures, known: _OutcomeRows, latest: Ids) -> _Pairs:
    """Each outcome with the exposure of its id, or else of its call.

    The call's exposure is taken only where nobody answered the call: a call of several images that
    was answered has an exposure for each image.
    """
    exposure, found = seen.find(np.array(known.ids, np.int64)[latest])
    of_call, is_call = seen.find(np.array(known.calls, np.int64)[latest])
    unanswered = seen.failed & ~seen.fallback
    instead = ~found & is_call & (unanswered[of_call] if len(unanswered) else is_call)
    exposure, found = np.where(instead, of_call, exposure), found | instead
    return _Pairs(latest[found], exposure[found])


def _outcomes(seen: _SeenExposures, known: _OutcomeRows, pairs: _Pairs) -> tuple[Outcomes, int]:
    """The outcomes that count, and how many cannot because nothing says what was predicted.

    Raises:
        InputError: none of the outcomes that need a prediction finds one.
    """
    predicted = seen.predicted[pairs.exposure]
    truth, correct = np.array(known.truth)[pairs.outcome], np.array(known.correct)[pairs.outcome]
    if len(correct) and (correct < 0).all() and seen.predicted.max() <= 0:
        raise InputError(
            "Expected exposures that say what was predicted, as their outcomes say the truth. "
            "Received: none that does; write them with a newer client, or give outcomes that say "
            "whether the answer was correct"
        )
    silent = (correct < 0) & (predicted == _UNKNOWN)
    right = np.where(correct < 0, truth == predicted, correct == 1)
    when: Floats = np.array(known.times, np.float64)[pairs.outcome]
    when = np.fmax(when, seen.time_s[pairs.exposure])
    shown = np.flatnonzero(~silent)[np.argsort(when[~silent], kind="stable")]
    of = pairs.exposure[shown]
    outcomes = Outcomes(
        time_s=when[shown], treatment=seen.treatment[of], unit=seen.unit[of], right=right[shown]
    )
    return outcomes, int(silent.sum())


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
