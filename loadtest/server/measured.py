"""What the servers counted between two moments: a difference of pages as named figures.

`split` says what each metric covers.
"""

from __future__ import annotations

import dataclasses
import itertools
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from loadtest.results.percentiles import rank
from loadtest.server.pages import SESSION, Histogram, Labels, Page

PERCENTILES: Final = (50, 95, 99)

MS: Final = 1e-3
"""The pages' latencies are in microseconds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which of the server's requests are the load test's, as far as metrics' labels tell."""

    model: str
    """Name of the model; the metrics know neither version nor label nor signature."""
    apis: tuple[str, ...] = ("predict", "classify", "regress")
    """In lower case; gRPC writes Predict, REST predict. Metadata and status are not among them."""
    entrypoints: tuple[str, ...] = ("GRPC", "REST")
    """Only request_latency has it."""

    def request(self, labels: Labels) -> bool:
        """Whether a series of request_latency is wanted."""
        return self.run(labels) and labels.get("entrypoint") in self.entrypoints

    def run(self, labels: Labels) -> bool:
        """Whether a series of runtime_latency is wanted."""
        return self.status(labels) and labels.get("API", "").casefold() in self.apis

    def status(self, labels: Labels) -> bool:
        """Whether a series of request_count is wanted."""
        return labels.get("model_name") == self.model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Percentile:
    """An estimate: the truth is between `low` and `high`, the limits of a bucket."""

    share: int
    """0 to 100."""
    value: float
    low: float
    high: float
    """Infinite in the last bucket; the value is then the lower limit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distribution:
    """What was observed of a metric; latencies in ms, sizes in rows."""

    count: int
    mean: float | None
    """None where nothing was observed."""
    mean_error: float
    """How wrong the mean may be, because pages print sums with six digits."""
    percentiles: tuple[Percentile, ...]
    """Of PERCENTILES; none where nothing was observed or the page has no buckets."""

    @classmethod
    def of(cls, histogram: Histogram, unit: float = 1.0) -> Distribution:
        """From a difference of pages; `unit` turns the page's numbers into this class's."""
        value, error = histogram.mean() or (None, 0.0)
        found = ((share, histogram.percentile(share)) for share in PERCENTILES)
        return cls(
            count=round(histogram.count),
            mean=None if value is None else value * unit,
            mean_error=error * unit,
            percentiles=tuple(
                Percentile(share=share, value=at[0] * unit, low=at[1] * unit, high=at[2] * unit)
                for share, at in found
                if at is not None
            ),
        )

    @classmethod
    def of_sizes(cls, sizes: Sequence[tuple[int, int]]) -> Distribution:
        """An exact one, from (value, how often), the smallest value first."""
        count = sum(often for _, often in sizes)
        if not count:
            return cls(count=0, mean=None, mean_error=0.0, percentiles=())
        below = list(itertools.accumulate(often for _, often in sizes))
        exact = ((share, sizes[bisect_left(below, rank(share, count))][0]) for share in PERCENTILES)
        return cls(
            count=count,
            mean=sum(value * often for value, often in sizes) / count,
            mean_error=0.0,
            percentiles=tuple(
                Percentile(share=share, value=value, low=value, high=value)
                for share, value in exact
            ),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What the servers counted between two moments."""

    by_status: tuple[tuple[str, int], ...]
    """Requests of the model by the name of their gRPC code, the most frequent first."""
    request: Distribution
    """request_latency, ms."""
    runtime: Distribution
    """runtime_latency, ms."""
    queuing: Distribution
    """queuing_latency, ms; of all models. Nothing where batching is off."""
    graph_run: Distribution
    """graph_run_time_usecs_histogram, ms; of all models. """
    batch: Distribution
    """Rows a batch, padding included, exact; of all models."""
    batch_sizes: tuple[tuple[int, int], ...]
    """(rows, padding included; how many batches), exact, the smallest first."""
    padding_rows: int
    """Rows that were computed only to fill a batch."""
    other_runs: int
    """Runs of other models or APIs, which the metrics of batching do not tell apart."""

    @property
    def rows(self) -> int:
        """Rows of all batches, padding included."""
        return sum(size * count for size, count in self.batch_sizes)


def measured(page: Page, selection: Selection) -> Measured:
    """Reads a difference of pages.

    Args:
        page: the difference, or the sum of several servers'.
        selection: which requests.
    """
    statuses: dict[str, int] = {}
    for (name, labels), value in page.counters.items():
        series = dict(labels)
        if name == "serving:request_count" and selection.status(series) and value > 0:
            status = series.get("status", "")
            statuses[status] = statuses.get(status, 0) + round(value)
    sizes: dict[int, int] = {}
    for (name, labels), histogram in page.histograms.items():
        if name == f"{SESSION}padding_size" and histogram.count > 0:
            rows = int(dict(labels).get("execution_batch_size", 0))
            sizes[rows] = sizes.get(rows, 0) + round(histogram.count)
    batch_sizes = tuple(sorted(sizes.items()))
    runtime = page.histogram("serving:runtime_latency", selection.run)
    return Measured(
        by_status=tuple(sorted(statuses.items(), key=lambda item: (-item[1], item[0]))),
        request=Distribution.of(page.histogram("serving:request_latency", selection.request), MS),
        runtime=Distribution.of(runtime, MS),
        queuing=Distribution.of(page.histogram(f"{SESSION}queuing_latency"), MS),
        graph_run=Distribution.of(page.histogram("core:graph_run_time_usecs_histogram"), MS),
        batch=Distribution.of_sizes(batch_sizes),
        batch_sizes=batch_sizes,
        padding_rows=round(page.histogram(f"{SESSION}padding_size").sum),
        other_runs=round(page.histogram("serving:runtime_latency").count - runtime.count),
    )
