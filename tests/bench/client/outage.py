"""A server that is killed and started again in the middle of many calls with retries and fallbacks.

The server is the local one, with a model of two versions: every answer shows which version gave it,
and whether it is right. Callers keep to a rate, so that the outage lies in the middle: while the
server is down, calls take next to no time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any, Final

import numpy as np

from foundation.progress import Progress
from tests.bench import line_model
from tests.bench.line_model import MODEL
from tests.bench.processes import LocalServer
from tests.bench.samples import write_arrays
from tfs_client import AsyncClient, Client, Prediction, Servable, contract

THREADS, ASYNCIO = "threads", "asyncio"

OFFSETS: Final = {1: 1.0, 2: 100.0}
"""Version → y = x / 2 + offset."""

DEFAULT: Final = -1.0
"""Stands in for y where no server answers."""

CALLERS: Final = {THREADS: 8, ASYNCIO: 32}
TIMEOUT_S: Final = 5.0

STABLE, CANARY, STAND_IN, WRONG, ERROR = range(5)
"""What became of a call: the version asked for; the fallback; the default; another answer; none."""

_ASKED: Final[dict[str, Any]] = {
    "model": MODEL,
    "label": contract.LABEL_STABLE,
    "fallback": [Servable(model=MODEL, label=contract.LABEL_CANARY)],
    "default": {"y": np.array([DEFAULT], np.float32)},
}


@dataclasses.dataclass
class Outage:
    """All calls, in the order in which they were due; seconds since the first one."""

    begun_s: Any
    took_s: Any
    outcomes: Any
    """STABLE to ERROR; -1 for a call that never came back."""
    killed_s: float
    """When the server was dead for certain."""
    ready_s: float
    """When the new one had opened its port."""
    first_error: str = ""

    def count(self, outcome: int) -> int:
        """So many calls ended like that."""
        return int((self.outcomes == outcome).sum())

    @property
    def real_after_s(self) -> Any:
        """When the calls that began after the kill were answered by a version, in order."""
        real = (self.outcomes == STABLE) | (self.outcomes == CANARY)
        after = real & (self.begun_s > self.killed_s)
        return np.sort((self.begun_s + self.took_s)[after])


def make_store(folder: Path) -> None:
    """Writes the model and models.config into the folder."""
    line_model.write(folder / "models", OFFSETS)
    labels = {contract.LABEL_STABLE: 1, contract.LABEL_CANARY: 2}
    (folder / "models.config").write_text(line_model.config(labels, versions=len(OFFSETS)))


def run(folder: Path, kind: str, count: int, per_s: float) -> Outage:
    """Calls a fresh server, and kills it after a third of the calls.

    Args:
        folder: see make_store; receives logs.
        kind: THREADS or ASYNCIO.
        count: calls in all.
        per_s: their rate, all callers together.
    """

    def start(name: str, port: int = 0) -> LocalServer:
        models, config = folder / "models", folder / "models.config"
        return LocalServer(folder, f"{kind}-{name}", models, config, f"--port={port}")

    def replace() -> tuple[float, float, LocalServer]:
        pace.third.wait()
        server.process.kill()
        server.process.wait()
        killed = time.perf_counter()
        again = start("again", int(server.grpc.rpartition(":")[2]))
        try:
            again.wait()
        except BaseException:
            again.__exit__()
            raise
        return killed, time.perf_counter(), again

    with start("first") as server, futures.ThreadPoolExecutor(1) as killer:
        server.wait()
        with Progress(f"outage, {kind}", total=count, unit="calls") as bar:
            pace = _Pace(count, per_s, bar)
            replaced = killer.submit(replace)
            calls = _Record(count)
            try:
                if kind == THREADS:
                    _from_threads(server.grpc, pace, calls)
                else:
                    asyncio.run(_from_tasks(server.grpc, pace, calls))
            finally:
                pace.third.set()
        killed, ready, again = replaced.result()
        with again:
            return calls.outage(pace.begin, killed, ready)


class _Pace:
    """Tells callers when to call: never faster than the rate, and lost time is not caught up."""

    def __init__(self, count: int, per_s: float, bar: Any) -> None:
        self.third = threading.Event()
        """A third of the calls has begun."""
        self.begin = time.perf_counter()
        self._count, self._interval_s, self._bar = count, 1 / per_s, bar
        self._lock = threading.Lock()
        self._next, self._due = 0, self.begin

    def turn(self) -> tuple[int, float] | None:
        """A call's number, and in how many seconds it is due; None: there are no more."""
        with self._lock:
            index = self._next
            if index == self._count:
                return None
            self._next += 1
            now = time.perf_counter()
            self._due = max(now, self._due + self._interval_s)
            self._bar.add()
            if index == self._count // 3:
                self.third.set()
            return index, self._due - now


class _Record:
    def __init__(self, count: int) -> None:
        self.begun = np.zeros(count)
        self.took = np.zeros(count)
        self.outcomes = np.full(count, -1)
        self.first_error = ""

    def keep(self, index: int, begun: float, outcome: int, error: str = "") -> None:
        self.took[index] = time.perf_counter() - begun
        self.begun[index] = begun
        self.outcomes[index] = outcome
        self.first_error = self.first_error or error

    def outage(self, begin: float, killed: float, ready: float) -> Outage:
        return Outage(
            begun_s=self.begun - begin,
            took_s=self.took,
            outcomes=self.outcomes,
            killed_s=killed - begin,
            ready_s=ready - begin,
            first_error=self.first_error,
        )


def _from_threads(address: str, pace: _Pace, calls: _Record) -> None:
    def caller() -> None:
        while (turn := pace.turn()) is not None:
            index, wait_s = turn
            time.sleep(wait_s)
            begun = time.perf_counter()
            try:
                answer = client.predict(_inputs(index), **_ASKED)
            except Exception as error:  # of any kind: there is no answer
                calls.keep(index, begun, ERROR, f"{type(error).__name__}: {error}")
            else:
                calls.keep(index, begun, outcome_of(index, answer))

    with (
        Client(address, timeout_s=TIMEOUT_S) as client,
        futures.ThreadPoolExecutor(CALLERS[THREADS]) as pool,
    ):
        for done in [pool.submit(caller) for _ in range(CALLERS[THREADS])]:
            done.result()


async def _from_tasks(address: str, pace: _Pace, calls: _Record) -> None:
    async def caller() -> None:
        while (turn := pace.turn()) is not None:
            index, wait_s = turn
            await asyncio.sleep(wait_s)
            begun = time.perf_counter()
            try:
                answer = await client.predict(_inputs(index), **_ASKED)
            except Exception as error:  # of any kind: there is no answer
                calls.keep(index, begun, ERROR, f"{type(error).__name__}: {error}")
            else:
                calls.keep(index, begun, outcome_of(index, answer))

    async with AsyncClient(address, timeout_s=TIMEOUT_S) as client:
        await asyncio.gather(*(caller() for _ in range(CALLERS[ASYNCIO])))


def _inputs(index: int) -> dict[str, Any]:
    return {"x": np.array([_x(index)], np.float32)}


def _x(index: int) -> float:
    return float(index % 101)


def outcome_of(index: int, answer: Prediction) -> int:
    """What became of a call: whether the answer is right for the version that it names."""
    y = answer["y"].tolist()
    if answer.needs_review:
        is_default = y == [DEFAULT] and answer.answered_by == "default" and answer.reason
        return STAND_IN if is_default else WRONG
    label, outcome = {1: (contract.LABEL_STABLE, STABLE), 2: (contract.LABEL_CANARY, CANARY)}.get(
        answer.version, ("", WRONG)
    )
    if answer.answered_by != f"{MODEL}/labels/{label}":
        return WRONG
    return outcome if y == [_x(index) / 2 + OFFSETS[answer.version]] else WRONG


def write(outages: dict[str, Outage], path: Path) -> None:
    """Every call, as an .npz file."""
    arrays = {
        f"{kind}.{name}": getattr(outage, name)
        for kind, outage in outages.items()
        for name in ("begun_s", "took_s", "outcomes", "killed_s", "ready_s")
    }
    write_arrays(path, arrays)
