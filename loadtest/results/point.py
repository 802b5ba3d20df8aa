"""One measurement of a search: a rate, and the result at that rate."""

from __future__ import annotations

import dataclasses
from typing import Any

from loadtest.results.recording import Recording


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """One rate, measured once."""

    rate: float
    """Requests a second that were due, by plan."""
    seconds: float
    """For how long."""
    requests: int
    failures: int
    right_per_s: float
    """Right answers a second, to the last answer."""
    p50_ms: float | None
    p99_ms: float | None
    """From the intended start, of the right answers."""
    holds: bool
    """Whether the objectives were met."""
    limited: str
    """Why the generator limited it; empty if it did not."""
    recording: Recording

    def as_json(self) -> dict[str, Any]:
        """For a JSON file."""
        found = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return {**found, "recording": self.recording.to_json()}
