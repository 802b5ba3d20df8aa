"""TensorFlow Serving's metrics pages: read, subtracted and added up.

How a page is to be read, from TensorFlow Serving's source (prometheus_exporter.cc,
batching_util.h) and the recorded page of 2.19.1:

- All values only grow while the process lives, so what happened between two pages is their
  difference. A process that was started again begins at 0.
- A bucket holds its lower limit and not its upper one (a batch of 8 rows is in le="16").
- Sums are of whole microseconds or rows, and are printed with six digits: exact below a million,
  then rounded. On a server that has run for days the rounding is larger than what a second adds,
  so each sum comes with its largest error.
- Only families that have been counted at least once have samples; the others have a TYPE line only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from foundation.command_line import InputError

PREFIX: Final = ":tensorflow:"
SESSION: Final = "serving:batching_session:"
FAMILIES: Final = (
    "serving:request_count",
    "serving:request_latency",
    "serving:runtime_latency",
    *(f"{SESSION}{name}" for name in ("queuing_latency", "padding_size")),
    "core:graph_run_time_usecs_histogram",
    "cc:saved_model:load_attempt_count",
    "cc:saved_model:load_latency",
)
"""The families that are read; names without the common prefix."""

_STARTS: Final = tuple(start + PREFIX + family for family in FAMILIES for start in ("", "# TYPE "))

Labels = Mapping[str, str]
Key = tuple[str, frozenset[tuple[str, str]]]
"""A family and the values of its labels."""


@dataclasses.dataclass(frozen=True)
class Histogram:
    """A distribution as a page has it, or the difference or sum of several."""

    limits: tuple[float, ...] = ()
    """Upper limits of the buckets, the last one infinite; none where a page has no buckets."""
    counts: tuple[float, ...] = ()
    """Of each bucket alone, not cumulative."""
    sum: float = 0.0
    sum_error: float = 0.0
    """How wrong the sum may be, because it was printed with six digits."""
    count: float = 0.0

    def minus(self, earlier: Histogram) -> Histogram:
        """What was added since."""
        return self._with(earlier, -1)

    def plus(self, other: Histogram) -> Histogram:
        """Both together; without buckets where they have different ones."""
        return self._with(other, 1)

    def _with(self, other: Histogram, sign: int) -> Histogram:
        if not self.count and not self.limits and sign > 0:
            return other
        counts: tuple[float, ...]
        limits, counts = self.limits, self.counts
        if other.limits == limits:
            counts = tuple(a + sign * b for a, b in zip(self.counts, other.counts))
        elif other.count or other.limits:
            limits, counts = (), ()
        return Histogram(
            limits,
            counts,
            self.sum + sign * other.sum,
            self.sum_error + other.sum_error,
            self.count + sign * other.count,
        )

    def mean(self) -> tuple[float, float] | None:
        """Mean and its largest error, from the sum and from the limits of the buckets."""
        if self.count <= 0:
            return None
        value, error = self.sum / self.count, self.sum_error / self.count
        if not error or not self.limits:
            return value, error
        edges = list(zip((0.0, *self.limits), self.limits, self.counts))
        lowest = sum(low * count for low, _, count in edges) / self.count
        highest = sum(high * count for _, high, count in edges if count) / self.count
        low, high = max(value - error, lowest), min(value + error, highest)
        return ((low + high) / 2, (high - low) / 2) if low <= high else (value, error)

    def percentile(self, share: float) -> tuple[float, float, float] | None:
        """A percentile: interpolated in its bucket, and that bucket's lower and upper limit.

        The true value, by the nearest rank, is between the limits; interpolation assumes that a
        bucket is evenly filled. In the last bucket, which has no upper limit, the value is the
        lower limit.

        Args:
            share: 0 to 100.
        """
        if not self.limits or self.count <= 0:
            return None
        rank, below, low = self.count * share / 100, 0.0, 0.0
        for limit, count in zip(self.limits, self.counts):
            if count and below + count >= rank:
                inside = 0.0 if math.isinf(limit) else (limit - low) * (rank - below) / count
                return low + inside, low, limit
            below, low = below + count, limit
        return None  # bucket counts that do not make up the count: pages that were cut


@dataclasses.dataclass(frozen=True)
class Page:
    """One server's page, or the difference or sum of several; what is missing is 0."""

    counters: Mapping[Key, float] = dataclasses.field(default_factory=dict)
    histograms: Mapping[Key, Histogram] = dataclasses.field(default_factory=dict)

    def since(self, earlier: Page) -> Page:
        """What was counted since."""
        none = Histogram()
        return Page(
            {key: value - earlier.counters.get(key, 0.0) for key, value in self.counters.items()},
            {
                key: value.minus(earlier.histograms.get(key, none))
                for key, value in self.histograms.items()
            },
        )

    def plus(self, other: Page) -> Page:
        """Both together."""
        counters, histograms = dict(self.counters), dict(self.histograms)
        for key, value in other.counters.items():
            counters[key] = counters.get(key, 0.0) + value
        for key, histogram in other.histograms.items():
            histograms[key] = histograms.get(key, Histogram()).plus(histogram)
        return Page(counters, histograms)

    def restarted_since(self, earlier: Page, *, gap: bool) -> bool:
        """Whether another process counts now: a value fell, or a load took another time.

        Args:
            earlier: an earlier page of the same address.
            gap: whether pages between the two are missing. Only then are the loads compared, for
                a page that was made in the middle of a load could mislead.
        """
        if any(value > self.counters.get(key, 0.0) for key, value in earlier.counters.items()):
            return True
        none = Histogram()
        for key, before in earlier.histograms.items():
            if before.count > self.histograms.get(key, none).count:
                return True
        return gap and any(
            name == "cc:saved_model:load_latency"
            and value != self.counters.get((name, labels), 0.0)
            and self._attempts(labels) == earlier._attempts(labels)
            for (name, labels), value in earlier.counters.items()
        )

    def _attempts(self, path: frozenset[tuple[str, str]]) -> float:
        name = "cc:saved_model:load_attempt_count"
        return self.counter(name, lambda labels: path <= labels.items())

    def counter(self, family: str, wanted: Callable[[Labels], bool] = lambda _: True) -> float:
        """The sum of a family's counters whose labels are wanted."""
        return sum(
            value
            for (name, labels), value in self.counters.items()
            if name == family and wanted(dict(labels))
        )

    def histogram(
        self, family: str, wanted: Callable[[Labels], bool] = lambda _: True
    ) -> Histogram:
        """The sum of a family's distributions whose labels are wanted."""
        total = Histogram()
        for (name, labels), histogram in self.histograms.items():
            if name == family and wanted(dict(labels)):
                total = total.plus(histogram)
        return total


def parse(text: str) -> Page:
    """Reads a page.

    Raises:
        InputError: it is not TensorFlow Serving's metrics page.
    """
    lines = text.splitlines()
    if not any(line.startswith(f"# TYPE {PREFIX}") for line in lines):
        raise InputError(
            f"Expected TensorFlow Serving's metrics. Received: {text[:60]!r}. Is the address that "
            "of the REST port, and does the server run with --monitoring_config_file?"
        )
    # On a page with many models most lines are not needed, and the parser is slow.
    wanted = "\n".join(line for line in lines if line.startswith(_STARTS)) + "\n"
    counters: dict[Key, float] = {}
    histograms: dict[Key, Histogram] = {}
    try:
        for family in text_string_to_metric_families(wanted):
            name = family.name.removeprefix(PREFIX)
            if name not in FAMILIES:
                continue
            series: dict[Key, dict[str, float]] = {}
            for sample in family.samples:
                labels = dict(sample.labels)
                what = labels.pop("le", sample.name.removeprefix(family.name))
                found = series.setdefault((name, frozenset(labels.items())), {})
                found[what] = found.get(what, 0.0) + sample.value
            if family.type == "histogram":
                histograms |= {key: _histogram(found) for key, found in series.items()}
            else:
                counters |= {key: sum(found.values()) for key, found in series.items()}
    except (ValueError, IndexError, KeyError) as error:  # the parser's, for broken lines
        raise InputError(
            f"Expected Prometheus' text format. Received: {' '.join(str(error).split())[:200]}"
        ) from error
    return Page(counters, histograms)


def _histogram(found: Mapping[str, float]) -> Histogram:
    """From `_sum`, `_count` and an entry for each limit, with the count of all values below it."""
    limits = sorted(float(what) for what in found if not what.startswith("_"))
    below = {float(what): value for what, value in found.items() if not what.startswith("_")}
    counts = [
        below[limit] - (below[limits[at - 1]] if at else 0) for at, limit in enumerate(limits)
    ]
    total = found.get("_sum", 0.0)
    return Histogram(
        tuple(limits), tuple(counts), total, printing_error(total), found.get("_count", 0.0)
    )


def printing_error(total: float) -> float:
    """The largest error of a sum of whole numbers that was printed with six digits."""
    if abs(total) < 1e6 or float(f"{total:.6g}") != total:
        return 0.0  # exact, or of a server that prints all digits
    return 0.5 * float(10 ** (math.floor(math.log10(abs(total))) - 5))
