"""Measures a server at one rate after the other, for whoever searches.

    with Measuring(settings, objectives, seconds_each=8) as measuring:
        knee = knee_search.search(measuring.measure, limits, measuring.clock)
    measuring.points

Between two rates it waits until the server has worked off what it was given: an overloaded rate
must not spoil the next one. Knows nothing about searching.
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
"""Samples beyond the strictest percentile that a measurement is to have: late requests come in
clusters, and the p99 of five of them lies more often below a long run's than above it."""

LONGEST: Final = 4.0
"""A measurement takes at most so many times the usual seconds, however low its rate."""

LONGEST_LOOK: Final = 2.0
"""And a first look at a rate."""

DEADLINE: Final = 10.0
"""Times the strictest objective, but at least a second: an answer that comes later has missed it
anyhow, and whoever waits for it keeps the server from the next rate."""

SETTLE_S: Final = 30.0
"""How long the server may take to work off what it was given, or to come back."""

QUICK: Final = 3.0
"""Times the latency without load is quick enough to go on."""


class Measuring:
    """One server, asked at rates that somebody chooses; to be used as a context.

    Args:
        settings: checked; rate, shape and duration are ignored.
        objectives: a percentile's limit at least.
        seconds_each: of one measurement, up to LONGEST times that where the percentile would
            stand on too little.
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
        """Opens a connection of its own, and learns how quick the server is without load.

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
        """Seconds since it was made."""
        return time.monotonic() - self._begin

    def look(self, rate: float) -> Measurement:
        """Measures one rate, as long as says whether the knee is far away. Raises as `measure`."""
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
        within = within and (requests - right) <= self._objectives.error_rate * requests
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
        """Waits until the server is as quick as without load, or at least answers."""
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
