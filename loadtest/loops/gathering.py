"""Collects what Locust's processes measure into one file.

A process that runs alone writes its samples itself. A worker sends its samples to the master, once
a second and at the end, and then its own state; the master writes the samples of all workers.
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
"""How often samples are written, or sent to the master."""

LAST_STATES_S: Final = 5.0
"""How long the master waits for the states of its workers."""

SAMPLES, STATE = "image-samples", "image-state"
"""Messages of a worker to the master."""


class Gathering:
    """Of one process; one test follows the other, each from begin() to end().

    Args:
        runner: Locust's.
        samples_to: CSV file for a line a request; "" writes none. A worker ignores it.
        states_to: JSON file for the state of each process, and the numbers of the workers that left
            before the end; "" writes none. A worker ignores it.
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
        """This process's number; 0 where it runs alone. A worker gets it from its master."""
        return max(0, getattr(self._runner, "worker_index", 0))

    def begin(self) -> None:
        """Begins a test: forgets the samples of the one before, and replaces its file."""
        self._new, self._states, self._most_users = [], [], 0
        self._left, self._ending = [], False
        if self._samples_to:
            self._writer = samples.Writer(Path(self._samples_to))
        if not self._leads:
            self._meter = Meter(self.worker)
            self._meter.begin()
            gevent.spawn(self._move_every_second, self._meter)

    def users(self, count: int) -> None:
        """Notes how many users there are now."""
        self._most_users = max(self._most_users, count)

    def take(self, sample: samples.Sample, *, sent: bool = True) -> None:
        """Takes one sample, of a request that was sent or of one that could not be."""
        if sent and self._meter is not None:
            self._meter.sent(0.0, held_back=True)  # no lateness: nothing is due
        self._new.append(sample)

    def end(self) -> None:
        """Ends a test: writes or sends the remaining samples, and the state."""
        if self._meter is not None:
            meter, self._meter = self._meter, None
            self._move()
            state = dataclasses.asdict(meter.end(self._most_users))
            if self._follows:
                self._runner.send_message(STATE, state)
            else:
                self._states.append(state)
        self._write_states()
        if self._writer is not None and not self._leads:  # a master still receives the last ones
            self._writer.close()
            self._writer = None

    def stop(self) -> None:
        """Stops all users; a master then waits for the states of the workers that remain."""
        self._ending = True
        self._runner.stop()
        if not self._leads:
            return
        deadline = time.monotonic() + LAST_STATES_S
        expected = len(self._left) + self._runner.worker_count
        while len(self._states) < expected and time.monotonic() < deadline:
            gevent.sleep(0.05)
        self._write_states()

    def _write_states(self) -> None:
        if self._states_to:
            write_json(Path(self._states_to), {"states": self._states, "left": self._left})

    def _move_every_second(self, meter: Meter) -> None:
        while self._meter is meter:
            gevent.sleep(EVERY_S)
            if self._meter is meter:
                meter.tick()
                self._move()

    def _move(self) -> None:
        """Moves samples from memory to the file or the master."""
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
        if not self._ending:  # that process was ended
            self._left.append(msg.data["worker"])
