"""Calls of a server that answers at once, beside a bare gRPC stub that sends the same bytes.

Each client is in a process of its own, with a bare stub beside it: they take turns, call by call.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import sys
from collections.abc import Mapping
from pathlib import Path

from foundation import progress
from tests.bench.client import processes
from tests.bench.client.processes import OURS
from tests.bench.processes import Server
from tests.bench.samples import Samples, write_csv

THREADS, ASYNCIO = "threads", "asyncio"
"""Ours, called from a thread, and from an event loop."""

SAMPLES = 100
"""Of memory."""


@dataclasses.dataclass
class Calls:
    """What was seen."""

    samples: Samples = dataclasses.field(default_factory=Samples)
    """By who called: "threads", "asyncio" (ours) or a rival; and the stub in the same process:
    "threads.bare"."""
    memory: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    """"threads" or "asyncio" → resident MB, after the warm-up and then in equal steps."""
    calls: int = 0
    """Of each of these."""
    wrong: int = 0
    """Calls without an answer, or with a wrong one."""


def measure(
    pythons: Mapping[str, Path], folder: Path, rounds: int, pairs: int, calls: int
) -> Calls:
    """Watches the memory of fresh processes, then takes the time.

    Args:
        pythons: the rivals' interpreters.
        folder: see material.py.
        rounds: how often each has its turn.
        pairs: calls of each kind in a turn.
        calls: for the memory; a tenth more to warm up.
    """
    taken = Calls(calls=calls)
    with contextlib.ExitStack() as stack:
        server, address = answering(folder)
        stack.enter_context(server)
        own = {
            kind: processes.start(stack, (OURS,), pythons, folder)[OURS]
            for kind in (THREADS, ASYNCIO)
        }
        for kind, client in own.items():
            question = {"do": "memory", "address": address, "kind": kind, "calls": calls}
            question |= {"warm_up": calls // 10, "every": calls // SAMPLES}
            found = client.ask(question)
            taken.memory[kind] = found["resident_mb"]
            taken.wrong += found["wrong"]
        clients = own | processes.start(stack, pythons, pythons, folder)
        for number in progress.tracked(range(rounds + 1), "call", unit="rounds"):
            turn = list(clients.items())
            random.Random(number).shuffle(turn)
            for name, client in turn:
                kind = name if name in own else THREADS
                question = {"do": "calls", "address": address, "kind": kind, "pairs": pairs}
                found = client.ask(question)
                taken.wrong += found["wrong"]
                if number:  # the first one warms up
                    taken.samples.add(name, found["took_s"])
                    taken.samples.add(f"{name}.bare", found["bare_s"])
    return taken


def answering(folder: Path) -> tuple[Server, str]:
    """The server and its address."""
    command = [sys.executable, "-m", "tests.bench.client.answering", str(folder)]
    server = Server("the answering server", command, folder / "answering.log", pipes=True)
    return server, server.read_port()


def write_memory(taken: Calls, path: Path) -> None:
    """A line a sample, CSV."""
    rows = []
    for kind, resident in taken.memory.items():
        step = taken.calls / (len(resident) - 1)
        rows += [(kind, round(at * step), f"{mb:.3f}") for at, mb in enumerate(resident)]
    write_csv(path, "kind,calls,resident_mb", rows)
