"""What a run leaves, whichever loop it was. Knows nothing about either."""

from __future__ import annotations

import dataclasses
from typing import Final

from loadtest.results import samples
from loadtest.results.generator import State
from loadtest.results.recording import Recording

INTERRUPTED: Final = "interrupted"
"""By Ctrl-C, among the reasons why a run is partial."""


@dataclasses.dataclass
class Taken:
    """What a run left."""

    samples: list[samples.Sample]
    recording: Recording
    states: list[State]
    partial: list[str]
    """Why it is not whole; empty if it is."""
