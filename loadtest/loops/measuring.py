"""Measures a server at one rate after the other, as a search asks for them.

    with Measuring(settings, objectives, seconds_each=8) as measuring:
        knee = knee_search.search(measuring.measure, limits, measuring.clock)
    measuring.points

Between two rates it waits until the server has worked off its queue, so that a rate that overloads
the server does not spoil the next measurement.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import tempfile
import time
from pathlib import Path
from typing import Final

from foundation.command_line import InputError
from loadtest.loops import running
from loadtest.plan.settings import Settings
from loadtest.results.point import Point
from loadtest.results.samples import OK
from loadtest.results.taken import INTERRUPTED, Taken
from loadtest.traffic import workload
from loadtest.verdicts.knee_search import LostError, Measurement
from loadtest.verdicts.objectives import LEAST_BEYOND, PERCENTILES, Objectives, missed_anyway
from tfs_client import Client, TfsError

log = logging.getLogger("loadtest")

STEADY: Final = 25.0
"""Samples that a measurement should have beyond the strictest percentile. Slow requests come in
clusters: a p99 with five samples beyond it lies more often below a long run's p99 than above it."""

LONGEST: Final = 4.0
"""A measurement takes at most this many times the usual seconds, however low its rate."""

LONGEST_LOOK: Final = 2.0
"""The same for a first look at a rate."""

DEADLINE: Final = 10.0
"""The deadline is this many times the strictest objective, and at least a second. An answer that
takes longer has missed the objective, and waiting for it only delays the next measurement."""

SETTLE_S: Final = 30.0
"""How long the server may take to work off what it was given, or to come back."""

QUICK: Final = 3.0
"""The server has worked off its queue when it answers within this many times the latency without
load."""


class Measuring:
    """Measures one server at given rates; a context manager.

    Args:
        settings: checked; rate, shape and duration are ignored.
        objectives: with a limit of one percentile at least.
        seconds_each: of one measurement; up to LONGEST times as long at rates that would give the
            percentile too few samples.

    Attributes:
        points: all measurements so far.

    Raises:
        InputError: no percentile has a limit.
    """

    def __init__(self, settings: Settings, objectives: Objectives, *, seconds_each: float):
        limits = objectives.percentiles_ms
        if not limits:
            raise InputError(
                f"Expected one of {', '.join(PERCENTILES)} among the objectives, for a knee is "
                f"where it is missed. Received: {', '.join(objectives.limits)}"
            )
        self._objectives, self._limits = objectives, limits
        self._seconds_each = seconds_each
        self._share_beyond = 1 - max(limits) / 100  # the strictest percentile
        deadline_s = max(1.0, DEADLINE * min(limits.values()) / 1000)
        self._settings = dataclasses.replace(
            settings,
            users=None,
            trace=None,
            shape="steady",
            objectives=None,
            timeout_s=min(settings.timeout_s, deadline_s),
        )
        self._begin = time.monotonic()
        self._stack = contextlib.ExitStack()
        self._number = 0
        self.points: list[Point] = []

    def __enter__(self) -> Measuring:
        """Opens a connection, and measures how quick the server is without load.

        Raises:
            InputError: no server, or no images.
        """
        settings = self._settings
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        self._csv = Path(folder) / "samples.csv"
        self._client: Client = self._stack.enter_context(
            running.job(dataclasses.replace(settings, rate=1.0)).client()
        )
        try:
            self._requests = workload.prepare(
                self._client, settings.model, settings.mix, settings.images, settings.seed
            )
            self._quick_ms = min(self._ask() for _ in range(10))
        except TfsError as error:
            self._stack.close()
            raise InputError(str(error)) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def clock(self) -> float:
        """Seconds since this object was made."""
        return time.monotonic() - self._begin

    def look(self, rate: float) -> Measurement:
        """Measures one rate briefly: is the knee far away? Raises as `measure`."""
        return self._measure(rate, LEAST_BEYOND, LONGEST_LOOK)

    def measure(self, rate: float) -> Measurement:
        """Measures one rate.

        Raises:
            LostError: the server is gone, or the load broke off.
            KeyboardInterrupt: Ctrl-C.
        """
        return self._measure(rate, STEADY, LONGEST)

    def _measure(self, rate: float, beyond: float, longest: float) -> Measurement:
        wanted = beyond / self._share_beyond / rate
        seconds = min(max(self._seconds_each, wanted), longest * self._seconds_each)
        settings = dataclasses.replace(
            self._settings,
            rate=rate,
            duration_s=seconds,
            seed=self._settings.seed + len(self.points),
        )
        words = f"{len(self.points) + 1}: {rate:.4g} requests/s"
        try:
            taken = running.take(settings, self._csv, words=words)
            self._settle()
        except InputError as error:
            raise LostError(str(error)) from error
        if INTERRUPTED in taken.partial:
            raise KeyboardInterrupt
        if taken.partial:
            raise LostError("; ".join(taken.partial))
        point = self._point(rate, seconds, taken)
        self.points.append(point)
        log.info(
            "%s for %.1f s: p50 %s ms, p99 %s ms, %d of %d failed: %s%s",
            *(words, seconds, _ms(point.p50_ms), _ms(point.p99_ms), point.failures),
            *(point.requests, "holds" if point.holds else "misses"),
            f" ({point.limited})" if point.limited else "",
        )
        return Measurement(rate=rate, holds=point.holds, limited=point.limited)

    def _point(self, rate: float, seconds: float, taken: Taken) -> Point:
        held, counts = taken.recording, taken.recording.counts()
        ends_s = (one.start_s + one.latency_ms / 1000 for one in taken.samples)
        lasted_s = max(ends_s, default=held.begin_s) - held.begin_s
        requests, right = sum(counts.values()), counts.get(OK, 0)
        found = {one.share: one.value_ms for one in held.percentiles((50, 99, *self._limits))}
        within = bool(found) and all(found[share] <= ms for share, ms in self._limits.items())
        within = within and self._objectives.allow(requests - right, of=requests)
        state = taken.generator()
        limited = "" if missed_anyway(self._objectives, held, state) else state.limited
        return Point(
            rate=rate,
            seconds=seconds,
            requests=requests,
            failures=requests - right,
            right_per_s=right / max(seconds, lasted_s),
            p50_ms=found.get(50),
            p99_ms=found.get(99),
            holds=within,
            limited=limited,
            recording=held,
        )

    def _settle(self) -> None:
        """Waits until the server is about as quick as without load, or at least answers."""
        deadline, answered = time.monotonic() + SETTLE_S, False
        while time.monotonic() < deadline:
            try:
                quick = self._ask() <= QUICK * self._quick_ms
                answered = True
            except TfsError:
                quick = answered = False
            if quick:
                return
            time.sleep(0.1)
        if not answered:
            raise LostError(
                f"the server at {self._settings.target} answered nothing for {SETTLE_S:.0f} s"
            )

    def _ask(self) -> float:
        """Sends one request; returns its latency in ms."""
        request = self._requests[self._number]
        self._number += 1
        begin = time.perf_counter()
        workload.send(self._client, self._settings.model, request, self._settings.timeout_s)
        return 1000 * (time.perf_counter() - begin)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
