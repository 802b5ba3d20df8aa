"""What a hostile row costs the process that answers it: memory, processor time, neighbours.

    for name, burden in measure(ask, good, hostile.FILES, Meter(os.getpid())):
        ...

Each row stands in one batch between two good ones. The memory is the process's highest, beyond what
it held before, as Linux counts it.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from export.hostile import FRAME_FACTOR, MEMORY_BYTES, SECONDS

Ask = Callable[[list[bytes]], dict[str, np.ndarray]]
"""Rows -> the outputs of a signature by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Burden:
    """What one row cost."""

    memory_bytes: int | None
    """beyond what the process held before; None where the system does not tell"""
    seconds: float | None
    """of the processor, on all cores together; None where the system does not tell"""
    harmed: str
    """the first output in which a good neighbour's answer changed; empty if none did"""

    def faults(self, own_bytes: int = 0) -> list[str]:
        """In words what is beyond the bounds.

        Args:
            own_bytes: what the row itself takes once it is read, which cannot be saved.
        """
        faults = []
        allowed = MEMORY_BYTES + FRAME_FACTOR * own_bytes
        if self.memory_bytes is not None and self.memory_bytes > allowed:
            faults.append(f"{self.memory_bytes / 2**20:.0f} MiB of memory")
        if self.seconds is not None and self.seconds > SECONDS:
            faults.append(f"{self.seconds:.1f} s of processor time")
        if self.harmed:
            faults.append(f"another {self.harmed} for its neighbours")
        return faults


class Meter:
    """Counts what a process on this machine takes between two moments.

    Args:
        pid: the process; None counts nothing, as for a server elsewhere.
    """

    def __init__(self, pid: int | None):
        self._folder = None if pid is None else Path(f"/proc/{pid}")
        self._held: int | None = None
        self._spent: float | None = None

    def start(self) -> None:
        """Begins to count; the highest memory is counted anew."""
        self._held, self._spent = None, self._seconds()
        if self._folder is not None:
            try:
                (self._folder / "clear_refs").write_text("5", encoding="ascii")
            except OSError:
                return
            self._held = self._memory("VmRSS")

    def stop(self) -> tuple[int | None, float | None]:
        """Bytes of memory and seconds of the processor since start()."""
        highest, spent = self._memory("VmHWM"), self._seconds()
        memory = None if highest is None or self._held is None else max(0, highest - self._held)
        return memory, None if spent is None or self._spent is None else spent - self._spent

    def _memory(self, line: str) -> int | None:
        found = re.search(rf"{line}:\s+(\d+) kB", self._read("status"))
        return int(found[1]) * 1024 if found else None

    def _seconds(self) -> float | None:
        # behind the program's name, which may hold anything but a closing bracket and a space
        fields = self._read("stat").rpartition(") ")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") if fields else None

    def _read(self, name: str) -> str:
        if self._folder is None:
            return ""
        try:
            return (self._folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def measure(
    ask: Ask, good: bytes, rows: Mapping[str, Callable[[], bytes]], meter: Meter
) -> Iterator[tuple[str, Burden]]:
    """Asks with each row between two good ones.

    Args:
        ask: raises if the signature refuses the batch.
        good: a row that is answered well.
        rows: hostile ones, each made when its turn comes.
        meter: of the process that answers.
    """
    alone = ask([good, good])
    for name, make in rows.items():
        batch = [good, make(), good]
        meter.start()
        answers = ask(batch)
        memory_bytes, seconds = meter.stop()
        harmed = first_difference(alone, {key: value[::2] for key, value in answers.items()})
        yield name, Burden(memory_bytes=memory_bytes, seconds=seconds, harmed=harmed)


def first_difference(alone: dict[str, np.ndarray], beside: dict[str, np.ndarray]) -> str:
    """The first output that is not the same; empty if all are."""
    for name, expected in alone.items():
        close = (
            np.allclose(beside[name], expected, rtol=0, atol=1e-5, equal_nan=True)
            if expected.dtype.kind == "f"
            else np.array_equal(beside[name], expected)
        )
        if not close:
            return name
    return ""
