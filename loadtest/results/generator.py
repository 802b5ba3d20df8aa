"""What the load generator measures of itself: was it, and not the server, the limit?"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from loadtest.results.histograms import empty, percentiles, record
from loadtest.results.percentiles import of_values

CPU_LIMIT: Final = 0.8
"""Of one core, for each worker process: the share of time that it used a core or waited for one.
Python runs one thread at a time. Beyond this limit answers wait for their thread, and that wait is
counted as the server's."""

TASKS: Final = Path("/proc/self/task")

LATE_LIMIT_MS: Final = 2.0
"""For the p99 of the lateness, which is part of every latency. A busy desktop delays any process by
less (seen: 0.5 to 2 ms with both cores busy)."""

LATE_SHARE: Final = 0.1
"""Or this share of the latency's own p99, if that is larger: so little lateness changes nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """How one generator process did."""

    worker: int
    sent: int = 0
    cpu_share: float | None = None
    """Of one core; the 90th percentile of its seconds."""
    wait_share: float | None = None
    """The same of the time that its threads, together, were ready and had no core; Linux only."""
    cpu_s: float = 0.0
    """Seconds of processor time, from the begin to the last answer."""
    late: str = ""
    """Lateness of the requests that had a free place in flight, as an encoded HdrHistogram of
    microseconds; empty in a closed loop, where nothing is due."""
    held_back: int = 0
    """Arrivals that had to wait because all places in flight were taken. A slow server causes that,
    so the wait counts in their latency."""
    not_sent: int = 0
    """Arrivals that got no place until the end; counted as failures."""
    most_in_flight: int = 0
    gc_pauses: int = 0
    gc_longest_ms: float = 0.0


class Meter:
    """Measures this process; for all its threads.

    Args:
        worker: number of this process.
    """

    def __init__(self, worker: int):
        self.worker = worker
        self._late = empty()
        self._lock = threading.Lock()
        self._shares: list[float] = []
        self._waits: list[float] = []
        self._last = (0.0, 0.0, 0.0)
        self._begin_cpu_s = 0.0
        self._gc_begin = 0.0
        self._gc_ms: list[float] = []
        self._counts = {"sent": 0, "held_back": 0, "not_sent": 0}

    def begin(self) -> None:
        """Starts to measure."""
        self._last = (time.monotonic(), time.process_time(), _waited_s())
        self._begin_cpu_s = self._last[1]
        gc.callbacks.append(self._collected)

    def tick(self) -> None:
        """Notes the use of the processor since the last call; to be called about once a second."""
        now, cpu_s, waited_s = time.monotonic(), time.process_time(), _waited_s()
        seconds = now - self._last[0]
        if seconds > 0.2:
            self._shares.append((cpu_s - self._last[1]) / seconds)
            self._waits.append((waited_s - self._last[2]) / seconds)
            self._last = (now, cpu_s, waited_s)

    def sent(self, late_s: float, *, held_back: bool) -> None:
        """Counts a request that is sent.

        Args:
            late_s: how long after it was due.
            held_back: whether it had to wait for a place in flight; its lateness is then not the
                generator's.
        """
        with self._lock:
            self._counts["sent"] += 1
            if held_back:
                self._counts["held_back"] += 1
            else:
                record(self._late, 1000 * late_s)

    def not_sent(self) -> None:
        """Counts a request that was due and is never sent."""
        with self._lock:
            self._counts["not_sent"] += 1

    def end(self, most_in_flight: int) -> State:
        """Stops measuring.

        Args:
            most_in_flight: as the caller counted.
        """
        if self._collected in gc.callbacks:
            gc.callbacks.remove(self._collected)
        return State(
            worker=self.worker,
            cpu_share=of_values(self._shares, 90),
            wait_share=of_values(self._waits, 90) if any(self._waits) else None,
            cpu_s=time.process_time() - self._begin_cpu_s,
            late=self._late.encode().decode(),
            most_in_flight=most_in_flight,
            gc_pauses=len(self._gc_ms),
            gc_longest_ms=max(self._gc_ms, default=0.0),
            **self._counts,
        )

    def _collected(self, phase: str, _: Any) -> None:
        if phase == "start":
            self._gc_begin = time.perf_counter()
        else:
            self._gc_ms.append(1000 * (time.perf_counter() - self._gc_begin))


def _waited_s() -> float:
    """How long this process's threads were ready to run and had no core; Linux only, else 0."""
    waited_ns = 0
    for path in TASKS.glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # as for a thread that ended
            waited_ns += int(path.read_text().split()[1])
    return waited_ns / 1e9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """All processes together."""

    workers: int
    sent: int
    cpu_share: float | None
    """Of the busiest one."""
    wait_share: float | None
    """Of the one that waited most for a core."""
    late_p50_ms: float | None
    late_p99_ms: float | None
    late_max_ms: float | None
    held_back: int
    not_sent: int
    most_in_flight: int
    gc_longest_ms: float
    limited: str
    """Empty, or "limited by the generator: " and why."""
    starved: bool = False
    """Whether it had too little processor time, so that answers were noticed late as well."""


def summarise(states: Sequence[State], latency_p99_ms: float | None) -> Summary:
    """Adds up all processes, and judges whether they limited the result.

    Args:
        states: of all processes.
        latency_p99_ms: of the right answers, from their intended start.
    """
    late = empty()
    for state in states:
        if state.late:
            late.decode_and_add(state.late.encode())
    p50, p99, most = [one.value_ms for one in percentiles(late, (50, 99, 100))] or (None,) * 3
    cpu = max((one.cpu_share for one in states if one.cpu_share is not None), default=None)
    wait = max((one.wait_share for one in states if one.wait_share is not None), default=None)
    reasons, starved = [], False
    for one in states:
        used, waited = one.cpu_share or 0.0, one.wait_share or 0.0
        if used + waited > CPU_LIMIT:
            starved = True
            reasons.append(
                f"process {one.worker} used {100 * used:.0f} % of a core and waited for one "
                f"{100 * waited:.0f} % of the time, together over {100 * CPU_LIMIT:.0f} %; give it "
                "more --workers, or a machine of its own"
            )
            break
    limit_ms = max(LATE_LIMIT_MS, LATE_SHARE * (latency_p99_ms or 0.0))
    if p99 is not None and p99 > limit_ms:
        reasons.append(f"the p99 of its lateness is {p99:,.1f} ms, over {limit_ms:,.1f} ms")
    return Summary(
        workers=len(states),
        sent=sum(state.sent for state in states),
        cpu_share=cpu,
        wait_share=wait,
        late_p50_ms=p50,
        late_p99_ms=p99,
        late_max_ms=most,
        held_back=sum(state.held_back for state in states),
        not_sent=sum(state.not_sent for state in states),
        most_in_flight=sum(state.most_in_flight for state in states),
        gc_longest_ms=max((state.gc_longest_ms for state in states), default=0.0),
        starved=starved,
        limited=f"limited by the generator: {'; '.join(reasons)}" if reasons else "",
    )
