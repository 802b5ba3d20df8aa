"""From arrays to request bytes, and from answer bytes to arrays: ours beside the rivals.

Each client computes in a process of its own; they take turns, in an order that changes.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foundation.progress import Progress
from tests.bench.client import material, processes
from tests.bench.client.clients.frame import CASES, FORMS
from tests.bench.client.processes import OURS
from tests.bench.processes import Server
from tests.bench.samples import Samples


@dataclasses.dataclass
class Arrays:
    """What was seen of one direction."""

    samples: Samples = dataclasses.field(default_factory=Samples)
    """Of encoding: "pixels.ours", its copy "pixels.ours.copy", and "pixels.until_sent"; of
    decoding: "content.ours"."""
    wrong: int = 0
    """Requests or answers that say something else than they should."""
    memory: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Form of the answer → allocated (bytes) and lies_in_answer, of ours."""


def encode(pythons: Mapping[str, Path], folder: Path, rounds: int, repeats: int) -> Arrays:
    """Makes requests of all cases.

    Args:
        pythons: the rivals' interpreters.
        folder: see material.py.
        rounds: how often each has its turn.
        repeats: how often in each turn.
    """
    taken = Arrays()
    with contextlib.ExitStack() as stack:
        clients = processes.start(stack, (OURS, *pythons), pythons, folder)
        for case in CASES:
            for client in clients.values():
                data = base64.b64decode(client.ask({"do": "request_bytes", "case": case}))
                taken.wrong += not material.is_right_request(folder, case, data)
        for case, name, client in _turns("encode", clients, tuple(CASES), rounds):
            found = client.ask({"do": "encode", "case": case, "repeats": repeats})
            taken.samples.add(f"{case}.{name}", found["took_s"])
            taken.samples.add(f"{case}.{name}.copy", found["copy_s"])
            if name == OURS:
                sent = client.ask({"do": "until_sent", "case": case, "repeats": repeats})
                taken.samples.add(f"{case}.until_sent", sent)
    return taken


def decode(pythons: Mapping[str, Path], folder: Path, rounds: int, repeats: int) -> Arrays:
    """Reads answers of both forms; arguments as encode's."""
    taken = Arrays()
    with contextlib.ExitStack() as stack:
        clients = processes.start(stack, (OURS, *pythons), pythons, folder)
        for form in FORMS:
            for client in clients.values():
                taken.wrong += not client.ask({"do": "is_right_answer", "form": form})
            taken.memory[form] = clients[OURS].ask({"do": "memory_of", "form": form})
        for form, name, client in _turns("decode", clients, FORMS, rounds):
            found = client.ask({"do": "decode", "form": form, "repeats": repeats})
            taken.samples.add(f"{form}.{name}", found)
    return taken


def _turns(
    title: str, clients: Mapping[str, Server], cases: tuple[str, ...], rounds: int
) -> Iterator[tuple[str, str, Server]]:
    total = rounds * len(cases) * len(clients)
    with Progress(title, total=total, unit="turns") as bar:
        for number in range(rounds):
            for case in cases:
                turn = list(clients.items())
                random.Random(f"{number} {case}").shuffle(turn)
                for name, client in turn:
                    yield case, name, client
                    bar.add()
