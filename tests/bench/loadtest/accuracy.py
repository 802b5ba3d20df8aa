"""What the open loop reports of a server of known slowness, beside what is true of it.

The truth is the sum of three times. First, the model's latency from the intended start (truth.py).
Second, how late the server sent this very answer after the time that the model set, which the
server records: it shares two cores with all others, and after a stall dozens of its threads wake at
once. Third, the road: what an answer takes that is given at once, as the median that one thread of
an otherwise idle process sees meanwhile. The road is measured with the client, since that is what
a calling service waits for, and with a bare stub, which is shown beside it and is ghz's. The
generator's lateness, its threads' waiting and its bookkeeping are no part of the truth: they are
what is measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from loadtest.loops import closed_loop, open_loop
from loadtest.loops.job import Job
from loadtest.plan.settings import Settings
from loadtest.results.generator import summarise
from loadtest.traffic import images, workload
from loadtest.traffic.arrivals import Plan
from tests.bench.loadtest import delaying, servers
from tests.bench.loadtest.truth import Slowness, percentiles_ms
from tfs_client import Client, contract
from tfs_client.protocol import METHODS

SHARES = (50.0, 99.0, 99.9)

LOOPS = ("open", "closed", "ghz")

USERS = 1
"""Of the closed loop: at this slowness it asks about as often as the open loop."""

PROTO = """\
syntax = "proto3";
package tensorflow.serving;
message Nothing {}
service PredictionService { rpc Predict(Nothing) returns (Nothing); }
"""
"""For ghz, which then sends nothing and reads nothing; the server looks at no request."""


@dataclasses.dataclass(kw_only=True)
class Seen:
    """One generator's run against a fresh server."""

    latencies_s: Any
    """As it saw them: float64 [requests]."""
    reported_ms: list[float]
    """Its percentiles, for SHARES."""
    model_ms: list[float]
    """The model's, of the requests as they should have come, and how late the server was."""
    late_ms: float
    """How late it was, at the median; part of model_ms."""
    road_ms: float
    """What an answer that is given at once took meanwhile; part of the truth."""
    bare_road_ms: float
    """The same with a bare stub."""
    failures: int = 0
    late_p99_ms: float | None = None
    limited: str = ""
    per_s: float = 0.0

    @property
    def truth_ms(self) -> list[float]:
        """Model and road."""
        return [value + self.road_ms for value in self.model_ms]


@dataclasses.dataclass
class Accuracy:
    """All generators; None: not on this machine."""

    open: Seen
    closed: Seen
    ghz: Seen | None
    slowness: Slowness
    rate_per_s: float

    @property
    def loops(self) -> dict[str, Seen]:
        """Those that ran, by the names of LOOPS."""
        every = zip(LOOPS, (self.open, self.closed, self.ghz))
        return {name: seen for name, seen in every if seen is not None}


def measure(folder: Path, rate_per_s: float, duration_s: float) -> Accuracy:
    """Runs one after the other."""
    slowness = Slowness()
    ours = _open(folder, slowness, rate_per_s, duration_s)
    return Accuracy(
        open=ours,
        closed=_closed(folder, slowness, duration_s, ours),
        ghz=_ghz(folder, slowness, rate_per_s, duration_s),
        slowness=slowness,
        rate_per_s=rate_per_s,
    )


def _open(folder: Path, slowness: Slowness, rate_per_s: float, duration_s: float) -> Seen:
    with servers.delaying(slowness, folder) as (server, target), _walked(target) as road:
        job = Job(
            target=target,
            model=contract.MODEL_NAME,
            mix=workload.Mix(),
            plan=Plan(rate_per_s=rate_per_s, duration_s=duration_s),
        )
        with tempfile.TemporaryDirectory() as name:
            taken = open_loop.run(job, Path(name))
        late_s = server.ask({})
    reported = [one.value_ms for one in taken.recording.percentiles(SHARES)]
    state = summarise(taken.states, reported[1])
    due_s = np.array([one.start_s for one in taken.samples])
    return Seen(
        latencies_s=np.array([one.latency_ms / 1000 for one in taken.samples]),
        reported_ms=reported,
        model_ms=percentiles_ms(slowness.latencies_s(due_s) + late_s, SHARES),
        late_ms=1000 * statistics.median(late_s),
        road_ms=road.client_ms,
        bare_road_ms=road.bare_ms,
        failures=sum(one.code != "OK" for one in taken.samples) + len(taken.partial),
        late_p99_ms=state.late_p99_ms,
        limited=state.limited,
        per_s=len(due_s) / duration_s,
    )


def _closed(folder: Path, slowness: Slowness, duration_s: float, ours: Seen) -> Seen:
    """Locust's users; the truth is that of requests that come when they like, as ours."""
    settings = Settings(users=USERS, duration_s=duration_s)
    with servers.delaying(slowness, folder) as (_, target), _walked(target) as road:
        csv = folder / "closed.csv"
        csv.unlink(missing_ok=True)
        taken = closed_loop.run(dataclasses.replace(settings, target=target), csv)
    return Seen(
        latencies_s=np.array([one.latency_ms / 1000 for one in taken.samples]),
        reported_ms=[one.value_ms for one in taken.recording.percentiles(SHARES)],
        model_ms=ours.model_ms,
        late_ms=ours.late_ms,
        road_ms=road.client_ms,
        bare_road_ms=road.bare_ms,
        failures=sum(one.code != "OK" for one in taken.samples) + len(taken.partial),
        per_s=len(taken.samples) / duration_s,
    )


def _ghz(folder: Path, slowness: Slowness, rate_per_s: float, duration_s: float) -> Seen | None:
    """A foreign judge at the same rate, evenly spaced; its truth is of when it says it sent."""
    ghz = shutil.which("ghz")
    if ghz is None:
        return None
    (folder / "predict.proto").write_text(PROTO)
    with servers.delaying(slowness, folder) as (server, target), _walked(target) as road:
        done = subprocess.run(
            [
                *(ghz, "--insecure", "--proto", str(folder / "predict.proto"), "--async"),
                *("--call", "tensorflow.serving.PredictionService.Predict", "-d", "{}"),
                *("--rps", f"{rate_per_s:g}", "--concurrency", "50", "--format", "json"),
                *("--total", str(round(rate_per_s * duration_s)), target),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        late_s = server.ask({})
    rows = json.loads(done.stdout)["details"]
    latencies_s = np.array([row["latency"] / 1e9 for row in rows])
    ended_s = np.array([_unix_s(row["timestamp"]) for row in rows])
    return Seen(
        latencies_s=latencies_s,
        reported_ms=percentiles_ms(latencies_s, SHARES),
        model_ms=percentiles_ms(
            slowness.latencies_s(np.sort(ended_s - latencies_s)) + late_s, SHARES
        ),
        late_ms=1000 * statistics.median(late_s),
        road_ms=road.bare_ms,
        bare_road_ms=road.bare_ms,
        failures=sum(row["status"] != "OK" for row in rows),
        per_s=len(rows) / duration_s,
    )


def _unix_s(text: str) -> float:
    """Of a time as Go writes it, with up to nine digits after the point."""
    whole, _, rest = text.replace("Z", "+00:00").partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    zone = rest[len(digits) :]
    return datetime.fromisoformat(whole + zone).timestamp() + float(f"0.{digits or 0}")


@dataclasses.dataclass
class _Road:
    """Seconds that answers took that are given at once."""

    client_s: list[float] = dataclasses.field(default_factory=list)
    bare_s: list[float] = dataclasses.field(default_factory=list)

    @property
    def client_ms(self) -> float:
        return 1000 * statistics.median(self.client_s)

    @property
    def bare_ms(self) -> float:
        return 1000 * statistics.median(self.bare_s)


@contextlib.contextmanager
def _walked(target: str) -> Iterator[_Road]:
    """Measures the road 20 times a second, in this process, which does nothing else meanwhile."""
    (picture,) = images.choose(None, seed=0, limit=1)
    content = picture.read_bytes()
    asked = delaying.request(content)
    inputs = {contract.INPUT_IMAGE_BYTES: np.array([content], object)}
    road = _Road()
    ended = threading.Event()

    def keep_asking() -> None:
        with (
            grpc.insecure_channel(target) as channel,
            Client(target, retry=None, breaker=None, check_inputs=False) as client,
        ):
            echo = channel.unary_unary(METHODS["Predict"])
            at_once = ((delaying.AT_ONCE_KEY, "1"),)

            def bare() -> None:
                echo(asked, timeout=30, metadata=at_once)

            def through_client() -> None:
                client.predict(inputs, label=contract.LABEL_STABLE, metadata=at_once)

            for ask, taken in itertools.cycle(
                ((bare, road.bare_s), (through_client, road.client_s))
            ):
                start = time.perf_counter()
                ask()
                taken.append(time.perf_counter() - start)
                if ended.wait(0.05):
                    return

    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        yield road
    finally:
        ended.set()
        thread.join()
