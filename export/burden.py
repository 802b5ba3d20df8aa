"""What a hostile file costs the process that answers it: memory, processor time, neighbours.

    for name, burden in measure(ask, good, hostile.FILES):
        ...

Each file stands in one batch between two good ones. The memory is the process's highest, beyond
what it held before, as Linux counts it.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from export.hostile import MEMORY_BYTES, SECONDS

Ask = Callable[[list[bytes]], dict[str, np.ndarray]]
"""Rows -> the outputs of a signature by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Burden:
    """What one file cost."""

    memory_bytes: int | None
    """beyond what the process held before; None where the system does not tell"""
    seconds: float
    """of the processor, on all cores together"""
    harmed: str
    """the first output in which a good neighbour's answer changed; empty if none did"""

    def faults(self) -> list[str]:
        """In words what is beyond the bounds."""
        faults = []
        if self.memory_bytes is not None and self.memory_bytes > MEMORY_BYTES:
            faults.append(f"{self.memory_bytes / 2**20:.0f} MiB of memory")
        if self.seconds > SECONDS:
            faults.append(f"{self.seconds:.1f} s of processor time")
        if self.harmed:
            faults.append(f"another {self.harmed} for its neighbours")
        return faults


def measure(
    ask: Ask, good: bytes, rows: Mapping[str, Callable[[], bytes]]
) -> Iterator[tuple[str, Burden]]:
    """Asks with each row between two good ones.

    Args:
        ask: raises if the signature refuses the batch.
        good: a row that is answered well.
        rows: hostile ones, each made when its turn comes.
    """
    alone = ask([good, good])
    for name, make in rows.items():
        batch = [good, make(), good]
        before, begun = _start_counting(), time.process_time()
        answers = ask(batch)
        seconds, highest = time.process_time() - begun, _memory("VmHWM")
        yield (
            name,
            Burden(
                memory_bytes=None
                if before is None or highest is None
                else max(0, highest - before),
                seconds=seconds,
                harmed=_first_difference(
                    alone, {key: value[::2] for key, value in answers.items()}
                ),
            ),
        )


def _first_difference(alone: dict[str, np.ndarray], beside: dict[str, np.ndarray]) -> str:
    for name, expected in alone.items():
        close = (
            np.allclose(beside[name], expected, rtol=0, atol=1e-5)
            if expected.dtype.kind == "f"
            else np.array_equal(beside[name], expected)
        )
        if not close:
            return name
    return ""


def _start_counting() -> int | None:
    """Bytes that the process holds; from here on the highest is counted anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    return _memory("VmRSS")


def _memory(line: str) -> int | None:
    try:
        found = re.search(rf"{line}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
