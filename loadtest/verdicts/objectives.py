"""A gate: compares a run with objectives from a file, and gives a verdict in one line.

The file is JSON. Each entry is a limit, and at least one is needed:

    {"p99_ms": 100, "error_rate": 0.001, "requests_per_s": 50}

p50_ms, p95_ms, p99_ms and p99_9_ms are upper limits in milliseconds. error_rate is an upper limit,
as a share of the requests (0 to 1). requests_per_s is a lower limit of right answers a second.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from foundation.command_line import InputError, explained
from loadtest.results import generator
from loadtest.results.recording import SENT, Recording
from loadtest.results.samples import NOT_SENT, OK
from loadtest.results.summary import Summary

PERCENTILES: Final = {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0, "p99_9_ms": 99.9}

OF_TIME: Final = ("DEADLINE_EXCEEDED", NOT_SENT)
"""Failures that a generator at its limit may have caused itself."""

LEAST_BEYOND: Final = 5
"""Samples that must lie beyond a percentile: the p99 of fewer than 500 requests is the latency of a
few accidents, which is nothing to decide by."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objectives:
    """The limits that a deployment has to keep."""

    limits: Mapping[str, float]
    """Name as in the file → limit."""
    source: str
    """The file."""

    @property
    def percentiles_ms(self) -> dict[float, float]:
        """Percentile (0 to 100) → its limit in ms."""
        return {
            share: self.limits[name] for name, share in PERCENTILES.items() if name in self.limits
        }

    @property
    def error_rate(self) -> float:
        """The share of requests that may fail; 0 where the file says nothing."""
        return self.limits.get("error_rate", 0.0)

    def allow(self, failures: int, *, of: int) -> bool:
        """Whether the failures `of` so many requests are within the error rate; 0 of 0 are."""
        return error_share(failures, of) <= self.error_rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One objective."""

    name: str
    value: float | None
    limit: float
    holds: bool | None
    """None: unknown, because too few requests were answered."""
    words: str
    """Such as "p99 31.2 ms <= 100 ms"."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate says."""

    met: bool | None
    """None: no verdict, and so not passed."""
    rows: tuple[Row, ...]
    words: str
    """One line."""


def error_share(failures: int, requests: int) -> float:
    """Failures as a share of the requests; 0 of none."""
    return failures / requests if requests else 0.0


def read(path: Path) -> Objectives:
    """Reads the file.

    Raises:
        InputError: no such file, no JSON, an unknown objective, or a limit that cannot be met.
    """
    known = [*PERCENTILES, "error_rate", "requests_per_s"]
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        received = explained(error) or str(error)
        raise InputError(f"Expected objectives as JSON. Received: {path}: {received}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(
            f'Expected objectives such as {{"p99_ms": 100}}. Received: {path}: {content!r}'
        )
    for name, limit in content.items():
        if name not in known:
            raise InputError(
                f"Expected objectives of {', '.join(known)} in {path}. Received: {name!r}"
            )
        number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
        fits = number and math.isfinite(limit)
        if fits and name == "error_rate":
            fits = 0 <= limit < 1
        elif fits:
            fits = limit > 0
        if not fits:
            span = "from 0 to below 1" if name == "error_rate" else "above 0"
            raise InputError(f"Expected {name} {span} in {path}. Received: {limit!r}")
    return Objectives(limits=dict(content), source=str(path))


def judge(
    objectives: Objectives,
    recording: Recording,
    summary: Summary,
    state: generator.Summary,
    *,
    partial: bool,
) -> Verdict:
    """Compares a run with the objectives.

    A generator at its limit makes latencies longer and throughput smaller, never the other way
    round. So an objective that is met in spite of it is met. One that is missed says nothing about
    the server, unless the generator's limit does not explain the miss.

    Args:
        objectives: the limits.
        recording: of the run.
        summary: of the same run.
        state: how the generator did.
        partial: whether the run did not finish; then there is no verdict.
    """
    rows = tuple(_row(name, limit, recording, summary) for name, limit in objectives.limits.items())
    missed = [row for row in rows if row.holds is False]
    unknown = [row.words for row in rows if row.holds is None]
    if partial:
        return Verdict(met=None, rows=rows, words="no verdict: the run is partial")
    if missed and state.limited:
        anyway = missed_anyway(objectives, recording, state)
        missed = [row for row in missed if row.name in anyway]
        if not missed:
            return Verdict(met=None, rows=rows, words=f"no verdict: {state.limited}")
    if missed:
        words = "; ".join(row.words for row in missed)
        return Verdict(met=False, rows=rows, words=f"objectives missed: {words}")
    if unknown:
        return Verdict(met=None, rows=rows, words=f"no verdict: {'; '.join(unknown)}")
    held = "; ".join(row.words for row in rows)
    return Verdict(met=True, rows=rows, words=f"objectives met: {held}")


def missed_anyway(
    objectives: Objectives, recording: Recording, state: generator.Summary
) -> list[str]:
    """Which objectives are missed by more than a generator at its limit explains.

    A percentile that is too long even without the lateness, where the generator had the processor
    time to notice answers when they came; and more failures than allowed, of other kinds than
    timeouts.
    """
    counts = recording.counts()
    failures = sum(count for code, count in counts.items() if code not in (OK, *OF_TIME))
    found = []
    if error_share(failures, sum(counts.values())) > objectives.limits.get("error_rate", 1.0):
        found.append("error_rate")
    if not state.starved:
        late_ms = state.late_p99_ms or 0.0
        limits_ms = objectives.percentiles_ms
        names = {share: name for name, share in PERCENTILES.items()}
        found += [
            names[one.share]
            for one in recording.percentiles(tuple(limits_ms), since=SENT)
            if one.value_ms - late_ms > limits_ms[one.share]
        ]
    return found


def _errors(limit: float, summary: Summary) -> Row:
    """The error rate. So few requests that none of them may fail do not show that few do."""
    name, requests = "error_rate", summary.requests
    if not requests:
        return Row(name=name, value=None, limit=limit, holds=None, words="no request was made")
    rate = error_share(summary.failures, requests)
    if rate > limit:
        words = f"errors {rate:.3%} > {limit:.3%}"
        return Row(name=name, value=rate, limit=limit, holds=False, words=words)
    needed = math.ceil(1 / limit) if limit else 0
    if requests < needed:
        words = (
            f"errors {rate:.3%} stand on {requests:,} requests, expected {needed:,} or more; "
            "load longer, or at a higher rate"
        )
        return Row(name=name, value=rate, limit=limit, holds=None, words=words)
    words = f"errors {rate:.3%} <= {limit:.3%}"
    return Row(name=name, value=rate, limit=limit, holds=True, words=words)


def _row(name: str, limit: float, recording: Recording, summary: Summary) -> Row:
    if name == "error_rate":
        return _errors(limit, summary)
    if name == "requests_per_s":
        rate = summary.requests_per_s
        sign = ">=" if rate >= limit else "<"
        words = f"{rate:,.1f} requests/s {sign} {limit:,g}"
        return Row(name=name, value=rate, limit=limit, holds=rate >= limit, words=words)
    share = PERCENTILES[name]
    found = recording.percentiles((share,))
    value = found[0].value_ms if found else None
    short = f"p{share:g}"
    if value is None:
        return Row(name=name, value=None, limit=limit, holds=False, words=f"{short}: no answer")
    holds = value <= limit
    words = f"{short} {value:,.1f} ms {'<=' if holds else '>'} {limit:,g} ms"
    if found[0].beyond < LEAST_BEYOND:
        needed = math.ceil(LEAST_BEYOND / (1 - share / 100))
        return Row(
            name=name,
            value=value,
            limit=limit,
            holds=None,
            words=f"{short} stands on {found[0].samples} right answers, expected {needed} or more; "
            "load longer, or at a higher rate",
        )
    return Row(name=name, value=value, limit=limit, holds=holds, words=words)
