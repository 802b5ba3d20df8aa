"""What a change cost the callers: failures, silence, slowness, and when another version answered.

A change lasts from the start of its command to the start of the next one, or to the load's end.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from loadtest.change.commands import Event
from loadtest.results.histograms import of_latencies, percentiles
from loadtest.results.samples import OK, Sample

SOON_S: Final = 10.0
"""Which seconds the p99 after a change covers; what comes later is the deployment's new normal."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """One change, and what followed."""

    event: Event
    second: float
    """When the command was really started, since the load's begin."""
    took_s: float
    """How long the command ran."""
    requests: int
    """Due from then to the next change."""
    failures: int
    codes: tuple[tuple[str, int], ...]
    """Of the failures, the most frequent first."""
    last_failure_s: float | None
    """From the change to the end of the last failed request; None without failures."""
    silence_s: float | None
    """The longest time without a right answer, counted from the last one before the change. It
    spans several changes if no server answers between them. None where no request was due."""
    before_p99_ms: float | None
    """Of the right answers since the change before."""
    after_p99_ms: float | None
    """Of the right answers to what was due within SOON_S after the change."""
    worst_ms: float | None
    """The slowest right answer to what was due until the next change."""
    switches: tuple[tuple[str, int, int, float, float], ...]
    """Label, version before, version after, seconds from the change to the new one's first answer,
    and to the old one's last."""

    def describe(self) -> str:
        """In one line."""
        event = self.event
        parts = [f"{event.command} at {self.second:,.1f} s, took {self.took_s:,.2f} s"]
        if event.stopped:
            parts.append("ran until the end of the load")
        elif event.code:
            parts.append(f"exit code {event.code}: {event.words}")
        parts.append(f"{self.failures} of {self.requests} requests failed")
        if self.last_failure_s is not None:
            parts.append(f"the last after {self.last_failure_s:,.2f} s")
        parts += [
            f"{label}: version {new} answered after {first_s:,.2f} s, {old} until {last_s:,.2f} s"
            for label, old, new, first_s, last_s in self.switches
        ]
        return "; ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """For a JSON file."""
        found = {**dataclasses.asdict(self), "within_s": SOON_S}
        return {**found, "event": dataclasses.asdict(self.event)}


def costs(events: Sequence[Event], samples: Sequence[Sample], begin_s: float) -> tuple[Cost, ...]:
    """What each change cost.

    Args:
        events: in order of their start.
        samples: of the whole load, in order of their start.
        begin_s: Unix time of the load's second 0.
    """
    found = []
    starts = np.array([sample.start_s for sample in samples])
    for at, event in enumerate(events):
        since_s = events[at - 1].started_s if at else -np.inf
        until_s = events[at + 1].started_s if at + 1 < len(events) else np.inf
        first, here, last = np.searchsorted(starts, [since_s, event.started_s, until_s])
        answered_s = max((_end_s(one) for one in samples[:here] if one.code == OK), default=None)
        found.append(_cost(event, samples[first:here], samples[here:last], begin_s, answered_s))
    return tuple(found)


def _cost(
    event: Event,
    before: Sequence[Sample],
    after: Sequence[Sample],
    begin_s: float,
    answered_s: float | None,
) -> Cost:
    moment_s = event.started_s
    wrong = [sample for sample in after if sample.code != OK]
    right = [sample for sample in after if sample.code == OK]
    soon = [one for one in right if one.start_s < moment_s + SOON_S]
    return Cost(
        event=event,
        second=moment_s - begin_s,
        took_s=event.ended_s - moment_s,
        requests=len(after),
        failures=len(wrong),
        codes=tuple(Counter(sample.code for sample in wrong).most_common()),
        last_failure_s=max(map(_end_s, wrong)) - moment_s if wrong else None,
        silence_s=_silence_s(answered_s, after),
        before_p99_ms=_percentile_ms([one for one in before if one.code == OK], 99),
        after_p99_ms=_percentile_ms(soon, 99),
        worst_ms=_percentile_ms(right, 100),
        switches=_switches([*before, *right], moment_s),
    )


def _percentile_ms(samples: Sequence[Sample], share: float) -> float | None:
    found = percentiles(of_latencies(one.latency_ms for one in samples), (share,))
    return found[0].value_ms if found else None


def _silence_s(answered_s: float | None, after: Sequence[Sample]) -> float | None:
    """The longest time without a right answer, from the last one before the change on."""
    if not after:
        return None
    ends = sorted(_end_s(sample) for sample in after if sample.code == OK)
    begin_s = after[0].start_s if answered_s is None else answered_s
    last_s = max(_end_s(sample) for sample in after)
    moments = [begin_s, *(end for end in ends if end > begin_s), last_s]
    return float(np.diff(moments).max()) if len(moments) > 1 else 0.0


def _switches(
    samples: Sequence[Sample], moment_s: float
) -> tuple[tuple[str, int, int, float, float], ...]:
    found = []
    for label in dict.fromkeys(sample.label for sample in samples):
        answers = [
            (_end_s(one), one.version)
            for one in samples
            if one.label == label and one.code == OK and one.version is not None
        ]
        old = [version for end_s, version in answers if end_s < moment_s]
        new = [version for end_s, version in answers if end_s >= moment_s]
        if not old or not new or old[-1] == new[-1]:
            continue
        first_s = min(end_s for end_s, one in answers if one == new[-1] and end_s >= moment_s)
        last_s = max(end_s for end_s, version in answers if version == old[-1])
        found.append((label, old[-1], new[-1], first_s - moment_s, last_s - moment_s))
    return tuple(found)


def _end_s(sample: Sample) -> float:
    return sample.start_s + sample.latency_ms / 1000
