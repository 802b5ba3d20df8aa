"""Whether the local server's memory grows with the requests it has answered."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from foundation.progress import Progress
from tests.bench.processes import LocalServer
from tests.bench.samples import write_csv
from tests.bench.server import contest, payloads

CALLERS = 32

CHUNK_S = 2.0
"""The signatures take turns of so long."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """What the server held after so many answers."""

    answers: int
    resident_mb: float


def run(server: LocalServer, material: payloads.Material, count: int) -> tuple[list[Memory], int]:
    """Sends requests of both signatures, in turn, until so many answers have come.

    Args:
        server: fresh.
        material: what is sent.
        count: answers in all.

    Returns:
        A point for each turn, and how many answers were wrong.

    Raises:
        InputError: the server stopped answering.
    """
    targets = [
        contest.grpc_target("soak", signature, server, material)
        for signature in (contest.FILES, contest.PIXELS)
    ]
    points = [Memory(0, server.resident_mb())]
    errors = 0
    with Progress("soak", total=count, unit="answers") as bar:
        while points[-1].answers < count:
            taken = contest.ask(targets[len(points) % 2], CALLERS, CHUNK_S)
            if not taken.answered:
                raise server.failed(f"no answer: {taken.first_error}")
            errors += taken.errors
            points.append(Memory(points[-1].answers + taken.answered, server.resident_mb()))
            bar.add(taken.answered)
    return points, errors


def resident_after(points: list[Memory], answers: int) -> float:
    """What the server held once it had given so many answers, in MB."""
    return next(point.resident_mb for point in points if point.answers >= answers)


def write(points: list[Memory], path: Path) -> None:
    """A line a point, CSV."""
    rows = [(at.answers, f"{at.resident_mb:.1f}") for at in points]
    write_csv(path, "answers,resident_mb", rows)
