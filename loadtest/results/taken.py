"""What a run measured, whichever loop it was."""

from __future__ import annotations

import dataclasses
from typing import Final

from loadtest.results import generator, samples, summary
from loadtest.results.generator import State
from loadtest.results.recording import Recording

INTERRUPTED: Final = "interrupted"
"""By Ctrl-C, among the reasons why a run is partial."""


@dataclasses.dataclass
class Taken:
    """What a run measured."""

    samples: list[samples.Sample]
    recording: Recording
    states: list[State]
    partial: list[str]
    """Why it is not whole; empty if it is."""

    def summary(self) -> summary.Summary:
        """Counts, rates and percentiles."""
        return summary.summarise(self.samples, self.recording)

    def generator(self) -> generator.Summary:
        """How the generator did: all its processes together, judged beside the latency's p99."""
        p99 = self.recording.percentiles((99,))
        return generator.summarise(self.states, p99[0].value_ms if p99 else None)
