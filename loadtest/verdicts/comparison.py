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
blocks say little about their own spread. The intervals of all questions hold together with 95 %
(Bonferroni), so that an answer says exactly what its interval shows.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final, Literal, TypeAlias

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

LEAST_FAILURES: Final = 0.01
"""More failures of B that could still be there when no harm is said to be shown, as a share of the
requests. However few they are, failures that are surely more are worse."""

LONGEST_S: Final = 86_400.0
"""A load that would have to take longer is not named."""

Outcome: TypeAlias = Literal["worse", "better", "no_harm", "too_short", "not_asked"]


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
    """Of the interval of the ratio; those of all questions hold together with 95 %."""
    high: float | None
    p: float | None
    """Below ALPHA exactly where the interval leaves out that there is no difference; None: not
    tested, see `words`."""
    outcome: Outcome
    words: str
    """The answer."""

    @property
    def worse(self) -> bool:
        """Surely, and as it looks by as much as matters."""
        return self.outcome == "worse"

    @property
    def better(self) -> bool:
        """Surely, and as it looks by as much as matters."""
        return self.outcome == "better"

    @property
    def open(self) -> bool:
        """Whether B may be worse by as much as matters, or not: too short to tell."""
        return self.outcome == "too_short"


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
    def too_short(self) -> bool:
        """Whether it cannot be told that B is worse, nor that it is not."""
        return not self.worse and any(row.open for row in self.rows)

    @property
    def words(self) -> str:
        """In one line."""
        if self.worse:
            return f"B is worse: {self._said('worse')}"
        better = f"B is better: {self._said('better')}" if self._said("better") else ""
        if self.too_short:
            found = f"too short to tell: {self._said('too_short')}"
            return f"{found}. {better}" if better else found
        return better or f"B is not worse by what matters: {self._said('no_harm')}"

    def _said(self, outcome: Outcome) -> str:
        return "; ".join(f"{row.name} {row.words}" for row in self.rows if row.outcome == outcome)


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
    asked = [name for name in found if throughput or name != THROUGHPUT]
    return Comparison(
        rows=tuple(
            _row(one, least, len(asked) if name in asked else None, min(a.count, b.count))
            for name, one in found.items()
        ),
        paired=paired,
        slices=(a.count, b.count),
        block=block,
    )


def _questions(
    a: Slices, b: Slices, drawn: tuple[NDArray[np.float64], NDArray[np.float64]], blocks: int
) -> dict[str, dict[str, Any]]:
    """All questions by name: two values, and how surely their difference is known.

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
        known = _Known(math.log(value_b / value_a), float(logs.std(ddof=1)), blocks)
        found[f"p{share:g}"] = {**values, "known": known}
    per_s_a, per_s_b = (float(side.counts.sum()) / side.count for side in (a, b))
    logs = np.log(_right(b, drawn[1]) / _right(a, drawn[0]))
    values = {"name": THROUGHPUT, "unit": "right answers/s", "a": per_s_a, "b": per_s_b}
    known = _Known(math.log(per_s_b / per_s_a), float(logs.std(ddof=1)), blocks)
    found[THROUGHPUT] = {**values, "known": known}
    share_a, share_b = float(_failed(a, every_a)[0]), float(_failed(b, every_b)[0])
    differences = _failed(b, drawn[1]) - _failed(a, drawn[0])
    values = {"name": FAILURES, "unit": "of requests", "a": share_a, "b": share_b}
    known = _Known(share_b - share_a, float(differences.std(ddof=1)), blocks)
    found[FAILURES] = {**values, "known": known}
    return found


@dataclasses.dataclass(frozen=True)
class _Known:
    """A difference, how surely it is known, and from how many blocks."""

    middle: float
    error: float
    blocks: int

    def half(self, questions: int) -> float:
        """Half the width of its interval, if those of so many questions hold together."""
        freedom = max(1, self.blocks - 1)
        return float(stats.t.ppf(1 - ALPHA / questions / 2, freedom)) * self.error

    def p(self, questions: int) -> float:
        """The probability of such a difference by chance, for so many questions together."""
        if self.error == 0:
            return 1.0 if self.middle == 0 else 0.0
        freedom = max(1, self.blocks - 1)
        return min(1.0, questions * 2 * float(stats.t.sf(abs(self.middle) / self.error, freedom)))


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


def _row(found: dict[str, Any], least: float, questions: int | None, seconds: int) -> Row:
    """One answer.

    Args:
        found: as `_questions` gives it.
        least: a difference that matters, as a share of A.
        questions: that are asked together; None: this one is not asked.
        seconds: of the shorter side.
    """
    name, known = found["name"], found["known"]
    half = known.half(questions or 1)
    low, high = known.middle - half, known.middle + half
    row = {key: found[key] for key in ("name", "unit", "a", "b")}
    if name == FAILURES:
        row |= {"ratio": known.middle, "low": low, "high": high}
        words = f"{known.middle:+.3%} of the requests ({low:+.3%} to {high:+.3%})"
        if found["a"] == found["b"] == 0:
            return Row(**row, p=1.0, outcome="no_harm", words="none on either side")
        outcome, more = _outcome(low, known.middle, high, 0.0, LEAST_FAILURES)
        if outcome == "no_harm":
            words = f"no harm shown (could be up to {high:+.3%} of the requests)"
    else:
        row |= {"ratio": math.exp(known.middle), "low": math.exp(low), "high": math.exp(high)}
        if questions is None:
            words = "set by the rate, not by the servers"
            return Row(**row, p=None, outcome="not_asked", words=words)
        words = f"{row['ratio'] - 1:+.1%} ({row['low'] - 1:+.1%} to {row['high'] - 1:+.1%})"
        if name == THROUGHPUT:  # less of it is worse
            matters = -math.log1p(-least)
            outcome, more = _outcome(-high, -known.middle, -low, matters, matters)
        else:
            outcome, more = _outcome(low, known.middle, high, math.log1p(least), math.log1p(least))
        if outcome == "no_harm" and (low > 0 or high < 0):
            words += f", less than the {least:.0%} that matter"
    if outcome == "too_short":
        words += f", {_longer(seconds * more)}"
    return Row(**row, p=known.p(questions or 1), outcome=outcome, words=words)


def _outcome(
    low: float, middle: float, high: float, matters: float, harmless: float
) -> tuple[Outcome, float]:
    """What an interval shows; positive is worse.

    Args:
        low: of the interval.
        middle: of it.
        high: of it.
        matters: a difference that is surely there is worse, or better, if it looks as large.
        harmless: below, no harm is shown.

    Returns:
        the outcome, and of "too_short" how many times as long would tell, if all stays as it is:
        the interval's width falls with the square root of the time.
    """
    if low > 0 and middle >= matters:
        return "worse", 1.0
    if high < 0 and -middle >= matters:
        return "better", 1.0
    if high <= harmless:
        return "no_harm", 1.0
    distance = harmless - middle if middle < harmless else middle
    return "too_short", ((high - middle) / distance) ** 2


def _longer(seconds: float) -> str:
    """For how long both sides would have to be loaded."""
    if seconds > LONGEST_S:
        return "and a day would not tell"
    step = 10 ** max(0, math.floor(math.log10(seconds)) - 1)
    return f"about {math.ceil(seconds / step) * step:,g} s would tell"
