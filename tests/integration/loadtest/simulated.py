"""Loads that are computed in place of sent: what a queue of known capacity would have answered.

For commands that judge what loads came to: their search, verdicts, pages and files are the real
ones, and the same figures come in every run, on any machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.plan.settings import Settings
from loadtest.results import generator
from loadtest.results.generator import State
from loadtest.results.recording import Recording
from loadtest.results.run_file import RunFile
from loadtest.results.samples import OK, Sample
from loadtest.results.taken import Taken
from loadtest.traffic import arrivals

BEGIN_S = 1_700_000_000.0


@dataclasses.dataclass
class Queues:
    """Stands for `loadtest.loops.running.take`: a queue with one place for each target (M/M/1).

    Its steady state's 99th percentile is ln(100) / (capacity - rate) (any text on queues).
    """

    capacity: dict[str, float]
    """Target → requests/s."""
    before: Callable[[int], Any] = lambda count: None
    """Called before each load with the number of loads before it."""
    rates: list[float] = dataclasses.field(default_factory=list)
    """Of the loads so far."""

    def take(self, settings: Settings, csv: Path, **_: Any) -> Taken:
        """Computes one load of an open loop."""
        self.before(len(self.rates))
        assert settings.rate is not None
        self.rates.append(settings.rate)
        due_s = arrivals.times(settings.plan)
        random = np.random.default_rng(len(self.rates))
        work_s = random.exponential(1 / self.capacity[settings.target], len(due_s))
        free_s, taken = 0.0, []
        for at_s, takes_s in zip(due_s.tolist(), work_s.tolist()):
            free_s = max(at_s, free_s) + takes_s
            late = free_s - at_s > settings.timeout_s
            taken.append(
                sample(
                    at_s,
                    1000 * min(free_s - at_s, settings.timeout_s),
                    code="DEADLINE_EXCEEDED" if late else OK,
                )
            )
        return Taken(taken, Recording.of(taken, BEGIN_S), [State(worker=0, sent=len(taken))], [])


def sample(second: float, latency_ms: float, *, label: str = "stable", code: str = OK) -> Sample:
    """One request, so many seconds after BEGIN_S."""
    return Sample(
        start_s=BEGIN_S + second,
        latency_ms=latency_ms,
        name="serving_default",
        code=code,
        version=1 if code == OK else None,
        details="",
        label=label,
    )


def write_run(
    folder: Path, sides: dict[str, float], *, seconds: int = 26, rate: float = 40.0, seed: int = 0
) -> None:
    """Writes the recording that `loadtest.run` leaves, of an open loop.

    Args:
        folder: receives build/loadtest-recording.json.
        sides: label → its median latency in ms; requests go to one or another at random.
        seconds: of the load; in each, all requests are faster or slower together.
        rate: requests/s.
        seed: of all of it.
    """
    random = np.random.default_rng(seed)
    swing = np.exp(random.normal(0, 0.1, seconds))
    taken = []
    for second in np.sort(random.uniform(0, seconds, int(seconds * rate))).tolist():
        label = str(random.choice(list(sides)))
        latency_ms = sides[label] * swing[int(second)] * np.exp(random.normal(0, 0.2))
        taken.append(sample(second, float(latency_ms), label=label))
    recording = Recording.of(taken, BEGIN_S)
    (p99,) = recording.percentiles((99,))
    (folder / "build").mkdir(parents=True)
    RunFile(
        command="python -m loadtest.run",
        started="2024-01-01T00:00:00+00:00",
        loop="open",
        settings={"target": "localhost:8500", "label": ",".join(sides), "rate": rate},
        versions={label: number for number, label in enumerate(sides, 1)},
        partial=(),
        generator=generator.summarise([State(worker=0, sent=len(taken))], p99.value_ms),
        recording=recording,
    ).write(folder / "build" / "loadtest-recording.json")
