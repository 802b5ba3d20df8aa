"""Requests a second that one generator process can send, beside a bare stub in a loop.

They take turns at the same server, which answers at once, and share the cores with it.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from foundation import progress
from loadtest.loops import open_loop
from loadtest.loops.job import Job
from loadtest.traffic import images, workload
from loadtest.traffic.arrivals import Plan
from tests.bench.loadtest import servers
from tests.bench.loadtest.truth import AT_ONCE
from tests.environments import ROOT
from tfs_client import contract

FASTER_THAN_ANY_PER_S = 50_000.0
"""Arrivals are due faster than they can be sent, so that sending never waits."""

IN_FLIGHT = 16


@dataclasses.dataclass
class Throughput:
    """An entry a round."""

    bare_per_s: list[float] = dataclasses.field(default_factory=list)
    bare_cpu_us: list[float] = dataclasses.field(default_factory=list)
    """Processor time of a request, in the sending process."""
    ours_per_s: list[float] = dataclasses.field(default_factory=list)
    ours_cpu_us: list[float] = dataclasses.field(default_factory=list)
    server_cpu_us: list[float] = dataclasses.field(default_factory=list)
    """Of a request of ours, in the server."""
    failures: int = 0


def measure(folder: Path, rounds: int, requests: int) -> Throughput:
    """Takes turns.

    Args:
        folder: receives logs.
        rounds: turns of each.
        requests: in a turn.
    """
    taken = Throughput()
    (picture,) = images.choose(None, seed=0, limit=1)
    with servers.delaying(AT_ONCE, folder) as (server, target):
        for number in progress.tracked(range(rounds + 1), "throughput", unit="rounds"):
            command = [sys.executable, "-m", "tests.bench.loadtest.bare", target]
            done = subprocess.run(
                [*command, str(requests), str(picture)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
            bare = json.loads(done.stdout)
            job = Job(
                target=target,
                model=contract.MODEL_NAME,
                mix=workload.Mix(),
                plan=Plan(
                    rate_per_s=FASTER_THAN_ANY_PER_S, duration_s=requests / FASTER_THAN_ANY_PER_S
                ),
                in_flight=IN_FLIGHT,
                timeout_s=60.0,
            )
            server_cpu_s = server.cpu_s()
            with tempfile.TemporaryDirectory() as name:
                ours = open_loop.run(job, Path(name))
            if not number:
                continue  # it warms up
            server_cpu_s = server.cpu_s() - server_cpu_s
            right = [one for one in ours.samples if one.code == "OK"]
            taken.failures += len(ours.samples) - len(right) + len(ours.partial)
            ends_s = [one.start_s + one.latency_ms / 1000 for one in right]
            first_s = min(one.start_s + one.late_ms / 1000 for one in right)
            taken.ours_per_s.append(len(right) / (max(ends_s) - first_s))
            taken.ours_cpu_us.append(1e6 * ours.states[0].cpu_s / len(right))
            taken.server_cpu_us.append(1e6 * server_cpu_s / len(right))
            taken.bare_per_s.append(requests / bare["took_s"])
            taken.bare_cpu_us.append(1e6 * bare["cpu_s"] / requests)
    return taken
