"""Raw samples: kept by name and round, and written beside the figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
        write_arrays(path, rounds_of(self.rounds))


def rounds_of(rounds: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Arrays "<name>.round_<number>" of float32, one for each name and round."""
    return {
        f"{name}.round_{number}": np.asarray(values, np.float32)
        for name, each in rounds.items()
        for number, values in enumerate(each)
    }


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """As an .npz file."""
    np.savez_compressed(path, **{name: np.asarray(array) for name, array in arrays.items()})


def write_csv(path: Path, columns: str, rows: Iterable[Sequence[object]]) -> None:
    """A heading such as "round,seconds", and a line a row."""
    lines = [columns, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def p99(seconds: Sequence[float]) -> float:
    """So long that only one in a hundred took longer."""
    return float(np.percentile(seconds, 99))
