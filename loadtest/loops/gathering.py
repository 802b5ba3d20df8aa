"""What Locust's processes measure, on its way into one file.

Alone, a process writes its samples down itself. A worker sends them to its master, once a second
and at the end, with how it did itself; the master writes down what all of them send: what is
reported is what all of them measured. Knows nothing about users or requests.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, Final

import gevent
from locust.runners import MasterRunner, WorkerRunner

from foundation.figures import write_json
from loadtest.results import samples
from loadtest.results.generator import Meter

EVERY_S: Final = 1.0
"""Samples are written down, or sent to the master, so often."""

FAREWELL_S: Final = 5.0
"""So long the master waits for its workers' last words."""

SAMPLES, STATE = "image-samples", "image-state"
"""Messages of a worker to the master."""


class Gathering:
    """Of one process; one test follows the other, from begin() to end().

    Args:
        runner: Locust's.
        samples_to: CSV file for a line a request; "" writes none. Not a worker's business.
        states_to: JSON file for how each process did, and the numbers of those who left before the
            end; "" writes none. Not a worker's business.
    """

    def __init__(self, runner: Any, *, samples_to: str, states_to: str):
        self._runner = runner
        self._leads = isinstance(runner, MasterRunner)
        self._follows = isinstance(runner, WorkerRunner)
        self._samples_to = "" if self._follows else samples_to
        self._states_to = "" if self._follows else states_to
        self._new: list[samples.Sample] = []
        self._writer: samples.Writer | None = None
        self._meter: Meter | None = None
        self._most_users = 0
        self._states: list[dict[str, Any]] = []
        self._left: list[int] = []
        self._ending = False
        if self._leads:
            runner.register_message(SAMPLES, self._take_samples)
            runner.register_message(STATE, self._take_state)

    @property
    def worker(self) -> int:
        """This process's number; 0 where it is alone. A worker has it from its master."""
        return max(0, getattr(self._runner, "worker_index", 0))

    def begin(self) -> None:
        """Begins a test: what the one before has left is forgotten, and its file replaced."""
        self._new, self._states, self._most_users = [], [], 0
        self._left, self._ending = [], False
        if self._samples_to:
            self._writer = samples.Writer(Path(self._samples_to))
        if not self._leads:
            self._meter = Meter(self.worker)
            self._meter.begin()
            gevent.spawn(self._keep_keeping, self._meter)

    def users(self, count: int) -> None:
        """Is told how many users there are now."""
        self._most_users = max(self._most_users, count)

    def take(self, sample: samples.Sample, *, sent: bool = True) -> None:
        """Takes one sample; of a request that was sent, or of one that could not be."""
        if sent and self._meter is not None:
            self._meter.sent(0.0, held_back=True)  # a closed loop: nothing was due
        self._new.append(sample)

    def end(self) -> None:
        """Ends a test: writes down, or sends, what there still is."""
        if self._meter is not None:
            meter, self._meter = self._meter, None
            self._move()
            state = dataclasses.asdict(meter.end(self._most_users))
            if self._follows:
                self._runner.send_message(STATE, state)
            else:
                self._states.append(state)
        self._write_states()
        if self._writer is not None and not self._leads:  # a master's is still to receive the last
            self._writer.close()
            self._writer = None

    def stop(self) -> None:
        """Has all users stop, and a master wait for the last words of the workers that remain."""
        self._ending = True
        self._runner.stop()
        if not self._leads:
            return
        deadline = time.monotonic() + FAREWELL_S
        expected = len(self._left) + self._runner.worker_count
        while len(self._states) < expected and time.monotonic() < deadline:
            gevent.sleep(0.05)
        self._write_states()

    def _write_states(self) -> None:
        if self._states_to:
            write_json(Path(self._states_to), {"states": self._states, "left": self._left})

    def _keep_keeping(self, meter: Meter) -> None:
        while self._meter is meter:
            gevent.sleep(EVERY_S)
            if self._meter is meter:
                meter.tick()
                self._move()

    def _move(self) -> None:
        """Samples, from memory to the file or the master."""
        moved, self._new = self._new, []
        if self._follows:
            if moved:
                rows = [dataclasses.asdict(sample) for sample in moved]
                self._runner.send_message(SAMPLES, {"rows": rows})
        elif self._writer is not None:
            for sample in moved:
                self._writer.write(sample)
            self._writer.flush()

    def _take_samples(self, msg: Any, **_: Any) -> None:
        if self._writer is not None:
            for row in msg.data["rows"]:
                self._writer.write(samples.Sample(**row))
            self._writer.flush()

    def _take_state(self, msg: Any, **_: Any) -> None:
        self._states.append(msg.data)
        if not self._ending:  # somebody ended that process
            self._left.append(msg.data["worker"])
