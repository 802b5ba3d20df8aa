"""When requests are due: a Poisson process whose rate follows a shape, or a recorded trace.

The same plan gives the same times on every machine: the random bits are Philox's, which numpy
promises not to change, and the rest is arithmetic.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foundation.command_line import InputError

MOST: Final = 20_000_000
"""Arrivals of one run; each costs every worker 8 bytes."""

TRACE_COLUMNS: Final = ("seconds", "start_s")
"""Names that the column of times may have; the second is that of a load test's own samples."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of time with a constant rate."""

    duration_s: float
    rate_per_s: float


Shape = Callable[[float, float], tuple[Piece, ...]]


def _steady(rate_per_s: float, duration_s: float) -> tuple[Piece, ...]:
    return (Piece(duration_s=duration_s, rate_per_s=rate_per_s),)


def _smoke(rate_per_s: float, duration_s: float) -> tuple[Piece, ...]:
    return _steady(rate_per_s / 10, duration_s)


def _step(rate_per_s: float, duration_s: float) -> tuple[Piece, ...]:
    return tuple(
        Piece(duration_s=duration_s / 5, rate_per_s=rate_per_s * stair / 5) for stair in range(1, 6)
    )


def _spike(rate_per_s: float, duration_s: float) -> tuple[Piece, ...]:
    return tuple(
        Piece(duration_s=share * duration_s, rate_per_s=times * rate_per_s)
        for share, times in ((0.4, 1), (0.2, 3), (0.4, 1))
    )


SHAPES: Final[dict[str, tuple[Shape, float, str]]] = {
    "steady": (_steady, 20.0, "the rate throughout"),
    "smoke": (_smoke, 10.0, "a tenth of the rate: does all of it work?"),
    "step": (_step, 50.0, "five stairs up to the rate: where does it bend?"),
    "spike": (
        _spike,
        30.0,
        "the rate, thrice as much for a fifth of the time, the rate again",
    ),
    "soak": (_steady, 3600.0, "the rate for an hour: does anything grow?"),
}
"""Name → pieces from (rate, duration), usual duration in seconds, description."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Which arrivals a run has. Either a shape at a rate, or a trace."""

    rate_per_s: float | None = None
    """Of the shape; with a trace, its mean rate after stretching (None: as it was recorded)."""
    shape: str = "steady"
    duration_s: float | None = None
    """None: the shape's usual one. A trace has its own."""
    trace: Path | None = None
    """CSV: a time in seconds a line, ascending; or with a column `seconds` or `start_s`."""
    seed: int = 0

    @property
    def seconds(self) -> float:
        """How long a shape lasts."""
        return SHAPES[self.shape][1] if self.duration_s is None else self.duration_s

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The shape's rates, in order."""
        assert self.rate_per_s is not None
        return SHAPES[self.shape][0](self.rate_per_s, self.seconds)

    @property
    def mean_per_s(self) -> float:
        """The shape's mean rate."""
        requests = sum(piece.duration_s * piece.rate_per_s for piece in self.pieces)
        return requests / self.seconds

    def check(self) -> None:
        """Refuses plans that cannot be.

        Raises:
            InputError: naming the first reason.
        """
        if self.shape not in SHAPES:
            raise InputError(f"Expected a shape of {', '.join(SHAPES)}. Received: {self.shape}")
        if self.rate_per_s is None and self.trace is None:
            raise InputError("Expected --rate or --trace. Received: neither; give one of them")
        for flag, value in (("--rate", self.rate_per_s), ("--duration-s", self.duration_s)):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"Expected {flag} above 0. Received: {value}")
        if self.seed < 0:
            raise InputError(f"Expected --seed of 0 or more. Received: {self.seed}")
        if self.trace is None:
            most = sum(piece.duration_s * piece.rate_per_s for piece in self.pieces)
            if most > MOST:
                raise InputError(
                    f"Expected at most {MOST:,} requests. Received: about {most:,.0f}; "
                    "lower --rate or --duration-s"
                )


def times(plan: Plan) -> NDArray[np.float64]:
    """All arrivals of a plan.

    Args:
        plan: checked.

    Returns:
        Seconds since the begin, float64 [requests], ascending. May be empty at a low rate.

    Raises:
        InputError: the trace cannot be used.
    """
    if plan.trace is not None:
        return _stretched(read_trace(plan.trace), plan.rate_per_s)
    return poisson(plan.pieces, plan.seed)


def of_worker(arrivals: NDArray[np.float64], worker: int, workers: int) -> NDArray[np.int64]:
    """The numbers of the requests that one of several workers sends.

    Every request belongs to exactly one worker, so that all of them together send the same process
    as one alone would.
    """
    return np.arange(worker, len(arrivals), workers)


def poisson(pieces: Sequence[Piece], seed: int) -> NDArray[np.float64]:
    """A Poisson process with piecewise constant rate.

    It is a process of rate 1 whose time is stretched by the cumulative rate, so the same seed gives
    the same process, stretched, at every rate.

    Args:
        pieces: one after the other from second 0 on; a rate of 0 is a pause.
        seed: 0 or more.

    Returns:
        Seconds, float64 [requests], ascending.
    """
    ends_s = np.cumsum([0.0, *(piece.duration_s for piece in pieces)])
    ends = np.cumsum([0.0, *(piece.duration_s * piece.rate_per_s for piece in pieces)])
    bits = np.random.Philox(key=seed)
    found: list[NDArray[np.float64]] = []
    last = 0.0
    while last < ends[-1]:
        uniform = (bits.random_raw(4096) >> np.uint64(11)) * 2.0**-53  # in [0, 1)
        steps = last + np.cumsum(-np.log1p(-uniform))
        found.append(steps)
        last = float(steps[-1])
    unit = np.concatenate(found) if found else np.empty(0)
    unit = unit[unit < ends[-1]]
    at = np.searchsorted(ends, unit, side="right") - 1
    rates = np.array([piece.rate_per_s for piece in pieces])
    seconds: NDArray[np.float64] = ends_s[at] + (unit - ends[at]) / rates[at]
    return seconds


def read_trace(path: Path) -> NDArray[np.float64]:
    """Recorded arrivals; the first one becomes second 0.

    Raises:
        InputError: no such file, a line without a time, times that go back, or fewer than two.
    """
    if not path.is_file():
        raise InputError(f"Expected a CSV file of seconds as --trace. Received: {path}, not a file")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if row]
    column = 0
    if rows and not _is_number(rows[0][1][0]):
        header = rows.pop(0)[1]
        named = [header.index(name) for name in TRACE_COLUMNS if name in header]
        if not named:
            raise InputError(
                f"Expected a column {' or '.join(TRACE_COLUMNS)} in {path}. "
                f"Received: {', '.join(header)[:100]}"
            )
        column = named[0]
    for number, row in rows:
        if len(row) <= column or not _is_number(row[column]):
            text = ",".join(row)[:60]
            raise InputError(f"Expected seconds in line {number} of {path}. Received: {text!r}")
    seconds = np.array([float(row[column]) for _, row in rows])
    if not 2 <= len(seconds) <= MOST:
        raise InputError(f"Expected 2 to {MOST:,} times in {path}. Received: {len(seconds)}")
    back = np.flatnonzero(np.diff(seconds) < 0)
    if back.size:
        raise InputError(
            f"Expected ascending seconds in {path}. Received: line {rows[back[0] + 1][0]} goes "
            "back; sort the file"
        )
    since_first: NDArray[np.float64] = seconds - seconds[0]
    return since_first


def _stretched(seconds: NDArray[np.float64], rate_per_s: float | None) -> NDArray[np.float64]:
    if rate_per_s is None:
        return seconds
    if not seconds[-1]:
        raise InputError("Expected a trace that takes time, to stretch it to --rate. Received: 0 s")
    stretched: NDArray[np.float64] = seconds * ((len(seconds) - 1) / seconds[-1] / rate_per_s)
    return stretched


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
