"""What was taken, in seconds: by name, a list for each round. Knows nothing about what it means."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np


class Samples:
    """Rounds of seconds by name, such as "pixels.ours"."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[Sequence[float]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.rounds

    def add(self, name: str, seconds: Sequence[float]) -> None:
        """Keeps one round's."""
        self.rounds.setdefault(name, []).append(seconds)

    def each(self, name: str, value: Callable[[Sequence[float]], float]) -> list[float]:
        """A value of each round, in microseconds."""
        return [value(seconds) * 1e6 for seconds in self.rounds[name]]

    def us(self, name: str, value: Callable[[Sequence[float]], float]) -> float:
        """The median of the rounds' values, in microseconds."""
        return statistics.median(self.each(name, value))

    def ratios(
        self, name: str, over: str, value: Callable[[Sequence[float]], float]
    ) -> list[float]:
        """What was taken in the same round, one over the other."""
        return [
            value(one) / value(other) for one, other in zip(self.rounds[name], self.rounds[over])
        ]

    def ratio(self, name: str, over: str, value: Callable[[Sequence[float]], float]) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios(name, over, value))

    def write(self, path: Path) -> None:
        """As an .npz file: seconds, an array for each name and round."""
        arrays = {
            f"{name}.round_{number}": np.array(seconds, np.float32)
            for name, rounds in self.rounds.items()
            for number, seconds in enumerate(rounds)
        }
        np.savez_compressed(path, **arrays)


def p99(seconds: Sequence[float]) -> float:
    """So long that only one in a hundred took longer."""
    return float(np.percentile(seconds, 99))
