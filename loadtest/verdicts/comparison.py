"""Whether B differs from A, at p50, p95, p99, in throughput and in failures, and how surely.

Seconds are resampled, not requests: the requests of one second share whatever slowed the machine
down then, so that thousands of them say hardly more than the second. Each run is cut into slices of
one second. Blocks of consecutive slices are drawn with replacement, wrapping around the end
(circular block bootstrap: Politis and Romano, 1992, in Exploring the Limits of Bootstrap), and
every figure is computed from the requests of the drawn slices. Where A and B had the same seconds
(two labels in one load), the same slices are drawn for both, so that what slowed both down does not
widen the interval of their ratio.

The standard deviation of the logarithm of B/A over the draws is its standard error. Interval and p
value come from Student's t with one degree of freedom less than there are blocks, because so few
blocks say little about their own spread. The p values of all questions are adjusted together (Holm,
Scandinavian Journal of Statistics 6, 1979).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from loadtest.results.histograms import distribution
from loadtest.results.percentiles import of_counts
from loadtest.results.recording import Recording

SHARES: Final = (50.0, 95.0, 99.0)

THROUGHPUT, FAILURES = "throughput", "failures"

DRAWS: Final = 2000

ALPHA: Final = 0.05
"""The probability that any question is answered with a difference where there is none."""

FEWEST: Final = 20
"""Slices that a run must have; the spread of fewer cannot be estimated."""

LEAST: Final = 0.05
"""A difference that matters, as a share of A."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slices:
    """One side, cut into seconds."""

    values_us: NDArray[np.int64]
    """Distinct latencies, ascending [values]."""
    counts: NDArray[np.float64]
    """Right answers of each slice by latency [slices, values]."""
    failures: NDArray[np.float64]
    """[slices]"""

    @property
    def count(self) -> int:
        """Slices."""
        return len(self.failures)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One question."""

    name: str
    """p50, p95, p99, throughput or failures."""
    unit: str
    a: float
    b: float
    ratio: float | None
    """B / A; of failures the difference of their shares, B - A."""
    low: float | None
    """Of the 95 % interval of the ratio, not adjusted."""
    high: float | None
    p: float | None
    """Adjusted; None: not tested, see `words`."""
    worse: bool
    """Significantly, and by at least as much as matters."""
    better: bool
    words: str
    """The answer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """All answers."""

    rows: tuple[Row, ...]
    paired: bool
    slices: tuple[int, int]
    block: int
    """How many slices are drawn together."""

    @property
    def worse(self) -> bool:
        """Whether B is worse in anything."""
        return any(row.worse for row in self.rows)

    @property
    def words(self) -> str:
        """In one line."""
        worse = [row for row in self.rows if row.worse]
        better = [row for row in self.rows if row.better]
        shown = worse or better
        if not shown:
            seen = "; ".join(f"{row.name}: {row.words}" for row in self.rows if row.p is not None)
            return f"no difference that matters was found ({seen})"
        found = "; ".join(f"{row.name} {row.words}" for row in shown)
        if worse:
            return f"B is worse: {found}"
        return f"B is better: {found}"


def slices(recording: Recording, *, label: str | None = None) -> Slices:
    """Cuts a run into its seconds, without the last one, which is not whole.

    Args:
        recording: of the run.
        label: takes only the requests to it; None: all.
    """
    right = recording.by_second(label=label)
    every = recording.by_second(None, label=label)
    last = max(every, default=0)
    rows = [distribution(right[second]) if second in right else None for second in range(last)]
    values = np.unique(np.concatenate([row[0] for row in rows if row] or [np.zeros(0, np.int64)]))
    counts = np.zeros((last, len(values)))
    for at, row in enumerate(rows):
        if row is not None:
            counts[at, np.searchsorted(values, row[0])] = row[1]
    totals = np.array(
        [every[s].get_total_count() if s in every else 0 for s in range(last)], np.float64
    )
    return Slices(values_us=values, counts=counts, failures=totals - counts.sum(axis=1))


def compare(
    a: Slices,
    b: Slices,
    *,
    paired: bool,
    throughput: bool = True,
    least: float = LEAST,
    seed: int = 0,
) -> Comparison:
    """Compares.

    Args:
        a: the side that B is compared with.
        b: the side that is judged.
        paired: whether both had the same seconds.
        throughput: whether the servers decide it; in open loops of one rate they do not.
        least: a difference that matters, as a share of A.
        seed: of the draws.

    Raises:
        ValueError: too few slices, or a side without a right answer.
    """
    if paired:
        a, b = _cut(a, min(a.count, b.count)), _cut(b, min(a.count, b.count))
    if min(a.count, b.count) < FEWEST:
        raise ValueError(
            f"Expected runs of {FEWEST} s or more. Received: {a.count} and {b.count} whole seconds"
        )
    if not (a.counts.sum() and b.counts.sum()):
        raise ValueError("Expected right answers on both sides. Received: none on one")
    random = np.random.default_rng(seed)
    block = _block(min(a.count, b.count), paired=paired)
    drawn_a = _draw(random, a.count, block)
    drawn_b = drawn_a if paired else _draw(random, b.count, block)
    found = _questions(a, b, (drawn_a, drawn_b), blocks=min(a.count, b.count) // block)
    if not throughput:
        found[THROUGHPUT]["p"] = None
    for one, p in zip(found.values(), holm([one["p"] for one in found.values()])):
        one["p"] = p
    return Comparison(
        rows=tuple(_row(one, least) for one in found.values()),
        paired=paired,
        slices=(a.count, b.count),
        block=block,
    )


def _questions(
    a: Slices, b: Slices, drawn: tuple[NDArray[np.float64], NDArray[np.float64]], blocks: int
) -> dict[str, dict[str, Any]]:
    """All questions by name: values, ratio or difference, interval and p, not adjusted.

    Args:
        a: one side.
        b: the other.
        drawn: how often each slice of A and of B is in each draw, [DRAWS, slices] each.
        blocks: how many blocks the shorter side has.
    """
    found: dict[str, dict[str, Any]] = {}
    every_a, every_b = np.ones((1, a.count)), np.ones((1, b.count))
    plain = zip(_percentiles(a, every_a)[:, 0].tolist(), _percentiles(b, every_b)[:, 0].tolist())
    spread = np.log(_percentiles(b, drawn[1]) / _percentiles(a, drawn[0]))
    for share, (value_a, value_b), logs in zip(SHARES, plain, spread):
        values = {"name": f"p{share:g}", "unit": "ms", "a": value_a / 1000, "b": value_b / 1000}
        found[f"p{share:g}"] = {**values, **_ratio(value_a, value_b, logs, blocks)}
    per_s_a, per_s_b = (float(side.counts.sum()) / side.count for side in (a, b))
    logs = np.log(_right(b, drawn[1]) / _right(a, drawn[0]))
    values = {"name": THROUGHPUT, "unit": "right answers/s", "a": per_s_a, "b": per_s_b}
    found[THROUGHPUT] = {**values, **_ratio(per_s_a, per_s_b, logs, blocks)}
    share_a, share_b = float(_failed(a, every_a)[0]), float(_failed(b, every_b)[0])
    differences = _failed(b, drawn[1]) - _failed(a, drawn[0])
    values = {"name": FAILURES, "unit": "of requests", "a": share_a, "b": share_b}
    found[FAILURES] = {**values, **_difference(share_a, share_b, differences, blocks)}
    return found


def holm(values: list[float | None]) -> list[float | None]:
    """Adjusts p values together; None stands for a question that is not tested."""
    asked = sorted((p, at) for at, p in enumerate(values) if p is not None)
    adjusted, worst = list(values), 0.0
    for rank, (p, at) in enumerate(asked):
        worst = max(worst, min(1.0, p * (len(asked) - rank)))
        adjusted[at] = worst
    return adjusted


def _cut(side: Slices, count: int) -> Slices:
    return dataclasses.replace(side, counts=side.counts[:count], failures=side.failures[:count])


def _block(count: int, *, paired: bool) -> int:
    """How many slices a block has.

    Blocks grow with the third root of the run's length, as theory asks, and last a few seconds,
    like a garbage collection or another process's burst. A short run has few blocks. Two separate
    loads get longer ones: only the blocks show how much the machine's speed changes by itself.
    """
    return int(max(1, min(round(1.5 * count ** (1 / 3)), count // (8 if paired else 5))))


def _draw(random: np.random.Generator, count: int, block: int) -> NDArray[np.float64]:
    """How often each slice is in each draw: [DRAWS, count]."""
    starts = random.integers(0, count, (DRAWS, math.ceil(count / block)))
    chosen = ((starts[:, :, None] + np.arange(block)) % count).reshape(DRAWS, -1)[:, :count]
    weights = np.zeros((DRAWS, count))
    np.add.at(weights, (np.arange(DRAWS)[:, None], chosen), 1.0)
    return weights


def _percentiles(side: Slices, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """In microseconds: [SHARES, draws]."""
    return of_counts(side.values_us, weights @ side.counts, SHARES)


def _right(side: Slices, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Right answers in a slice, [draws]; never 0."""
    found: NDArray[np.float64] = np.maximum(weights @ side.counts.sum(axis=1), 0.5)
    return found / side.count


def _failed(side: Slices, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Failures as a share of the requests, [draws]."""
    wrong = weights @ side.failures
    found: NDArray[np.float64] = wrong / np.maximum(wrong + weights @ side.counts.sum(axis=1), 1.0)
    return found


def _ratio(a: float, b: float, logs: NDArray[np.float64], blocks: int) -> dict[str, Any]:
    middle, half, p = _student(math.log(b / a), float(logs.std(ddof=1)), blocks)
    low, high = math.exp(middle - half), math.exp(middle + half)
    return {"ratio": b / a, "low": low, "high": high, "p": p}


def _difference(
    a: float, b: float, differences: NDArray[np.float64], blocks: int
) -> dict[str, Any]:
    middle, half, p = _student(b - a, float(differences.std(ddof=1)), blocks)
    return {"ratio": middle, "low": middle - half, "high": middle + half, "p": p}


def _student(middle: float, error: float, blocks: int) -> tuple[float, float, float]:
    """The middle, half the width of its 95 % interval, and the p value of its being 0."""
    if error == 0:
        return middle, 0.0, 1.0 if middle == 0 else 0.0
    freedom = max(1, blocks - 1)
    p = 2 * float(stats.t.sf(abs(middle) / error, freedom))
    return middle, float(stats.t.ppf(1 - ALPHA / 2, freedom)) * error, p


def _row(found: dict[str, Any], least: float) -> Row:
    name, ratio, low, high, p = (found[key] for key in ("name", "ratio", "low", "high", "p"))
    if name == FAILURES:
        sure = p < ALPHA
        words = f"{ratio:+.3%} of the requests ({low:+.3%} to {high:+.3%})"
        worse, better = sure and ratio > 0, sure and ratio < 0
        if not sure:
            words = "none on either side" if found["a"] == found["b"] == 0 else f"not sure: {words}"
        return Row(**found, worse=worse, better=better, words=words)
    if p is None:
        return Row(**found, worse=False, better=False, words="set by the rate, not by the servers")
    words = f"{ratio - 1:+.1%} ({low - 1:+.1%} to {high - 1:+.1%})"
    if p >= ALPHA:
        seen = max(high / ratio, ratio / low) - 1
        blind = ": too short to see what matters" if seen > 2 * least else ""
        words = f"not sure, {words}; would have seen {seen:.1%}{blind}"
        return Row(**found, worse=False, better=False, words=words)
    if abs(ratio - 1) < least:
        words = f"{words}, less than the {least:.0%} that matter"
        return Row(**found, worse=False, better=False, words=words)
    up = ratio > 1
    bad = up if name != THROUGHPUT else not up
    return Row(**found, worse=bad, better=not bad, words=words)
