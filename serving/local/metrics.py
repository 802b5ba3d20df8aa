"""TensorFlow Serving's metrics, and the page that Prometheus reads.

One registry a process, as in TensorFlow Serving. Names, labels, units and buckets are TensorFlow
Serving's, so that one dashboard and one alert hold for both servers.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

DEFAULT_PATH: Final = "/monitoring/prometheus/metrics"
"""Where the page lies unless the configuration names another path."""

CONTENT_TYPE: Final = "text/plain"

OTHER: Final = "(other)"
"""The model_name of requests for models that are not served, once there are too many of those."""


class Counter:
    """A number for each combination of labels, which only grows.

    Args:
        name: as TensorFlow Serving registers it, with slashes.
        labels: names of the labels.
    """

    def __init__(self, name: str, *labels: str) -> None:
        self.name: Final = _page_name(name)
        self._labels = labels
        self._lock = threading.Lock()
        self._values: dict[tuple[str, ...], int] = {}

    def increment(self, *labels: str, by: int = 1) -> None:
        """Adds to the number of these labels' values."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + by

    def lines(self) -> Iterator[str]:
        """The metric as it stands on the page."""
        with self._lock:
            values = sorted(self._values.items())
        yield f"# TYPE {self.name} counter"
        for labels, value in values:
            yield f"{self.name}{{{_pairs(self._labels, labels)}}} {value}"


class Histogram:
    """A distribution for each combination of labels.

    Args:
        name: as TensorFlow Serving registers it, with slashes.
        limits: upper limits of the buckets, growing; a last one without a limit is added.
        labels: names of the labels.
    """

    def __init__(self, name: str, limits: Sequence[float], *labels: str) -> None:
        self.name: Final = _page_name(name)
        self._labels = labels
        self._limits = list(limits)
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Adds a value to the distribution of these labels' values."""
        # TensorFlow puts a value that equals a limit into the bucket above it.
        bucket = bisect_right(self._limits, value)
        with self._lock:
            buckets = self._buckets.get(labels)
            if buckets is None:
                buckets = self._buckets[labels] = [0] * (len(self._limits) + 1)
                self._sums[labels] = 0
            buckets[bucket] += 1
            self._sums[labels] += value

    def lines(self) -> Iterator[str]:
        """The metric as it stands on the page."""
        with self._lock:
            found = sorted(
                (labels, list(buckets), self._sums[labels])
                for labels, buckets in self._buckets.items()
            )
        limits = [*(f"{limit:g}" for limit in self._limits), "+Inf"]
        yield f"# TYPE {self.name} histogram"
        for labels, buckets, total in found:
            pairs = _pairs(self._labels, labels)
            start = f"{self.name}_bucket{{{pairs}{',' if pairs else ''}"
            count = 0
            for limit, added in zip(limits, buckets):
                count += added
                yield f'{start}le="{limit}"}} {count}'
            yield f"{self.name}_sum{{{pairs}}} {total}"
            yield f"{self.name}_count{{{pairs}}} {count}"


def exponential(scale: float, growth: float, count: int) -> list[float]:
    """Limits of buckets, each `growth` times the one before."""
    limits = [scale]
    while len(limits) < count:
        limits.append(limits[-1] * growth)
    return limits


def page() -> str:
    """What Prometheus reads: all metrics by name, also those that have no value yet."""
    return "\n".join(line for metric in _ALL for line in metric.lines()) + "\n"


def count_request(model: str, status: str, *, known: bool) -> None:
    """Counts a request in REQUEST_COUNT.

    Args:
        model: the name that the request has.
        status: the name of its gRPC code.
        known: whether a model of that name is configured. Callers may make up any number of other
            names; the page has room for some of them, all further ones are counted as `OTHER`.
            TensorFlow Serving's page grows without a limit.
    """
    if not known and model:
        with _unknown_lock:
            if len(model) > _LONGEST_UNKNOWN or (
                model not in _unknown and len(_unknown) >= _MOST_UNKNOWN
            ):
                model = OTHER
            else:
                _unknown.add(model)
    REQUEST_COUNT.increment(model, status)


_MOST_UNKNOWN: Final = 100
_LONGEST_UNKNOWN: Final = 200
_unknown: Final[set[str]] = set()
_unknown_lock: Final = threading.Lock()


def _page_name(name: str) -> str:
    return name.replace("/", ":")


def _pairs(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_MICROSECONDS: Final = exponential(10, 1.8, 33)
_SIZES: Final = exponential(1, 2, 14)

REQUEST_COUNT: Final = Counter("/tensorflow/serving/request_count", "model_name", "status")
"""Requests by the name of their gRPC code. All REST requests are counted; of gRPC's, Predict,
Classify and Regress."""

REQUEST_LATENCY: Final = Histogram(
    "/tensorflow/serving/request_latency", _MICROSECONDS, "model_name", "API", "entrypoint"
)
"""Microseconds of requests that succeed. API: Predict, Classify or Regress with the entrypoint
GRPC; predict, classify, regress or nothing with REST."""

RUNTIME_LATENCY: Final = Histogram(
    "/tensorflow/serving/runtime_latency", _MICROSECONDS, "model_name", "API", "runtime"
)
"""Microseconds in TensorFlow's run (and in the batching queue), where it succeeds. API: Predict,
Classify or Regress; runtime: TF1."""

REQUEST_EXAMPLE_COUNTS: Final = Histogram(
    "/tensorflow/serving/request_example_counts", exponential(1, 2, 15), "model"
)
"""tf.Examples of each MultiInference that was run."""

REQUEST_EXAMPLE_COUNT_TOTAL: Final = Counter(
    "/tensorflow/serving/request_example_count_total", "model"
)
"""The sum of REQUEST_EXAMPLE_COUNTS."""

MODEL_WARMUP_LATENCY: Final = Histogram(
    "/tensorflow/serving/model_warmup_latency", _MICROSECONDS, "model_path", "status"
)
"""Microseconds of a whole warm-up that had a file and did not fail; status: `OK`."""

LOAD_ATTEMPT_COUNT: Final = Counter(
    "/tensorflow/cc/saved_model/load_attempt_count", "model_path", "status"
)
"""Attempts to load, warm-up not among them; status: success or fail."""

LOAD_LATENCY: Final = Counter("/tensorflow/cc/saved_model/load_latency", "model_path")
"""Microseconds spent in attempts to load."""

GRAPH_RUN_TIME: Final = Histogram(
    "/tensorflow/core/graph_run_time_usecs_histogram", exponential(1000, 2, 20)
)
"""Microseconds of each run of a session that did not fail: of a request, or of a merged batch.
TensorFlow counts the runs that load a version as well."""

BATCH_INPUT_SIZE: Final = Histogram("/tensorflow/serving/batching_session/input_batch_size", _SIZES)
"""Rows of each request that goes into the queue."""

BATCH_PROCESSED_SIZE: Final = Histogram(
    "/tensorflow/serving/batching_session/processed_batch_size", _SIZES
)
"""Rows of each merged batch, padding included."""

BATCH_PADDING_SIZE: Final = Histogram(
    "/tensorflow/serving/batching_session/padding_size", _SIZES, "execution_batch_size"
)
"""Rows that were added to a merged batch; execution_batch_size: its rows with them."""

BATCH_QUEUING_LATENCY: Final = Histogram(
    "/tensorflow/serving/batching_session/queuing_latency",
    exponential(100, 1.2, 52),
    "thread_pool_name",
)
"""Microseconds that a request waited in the queue; thread_pool_name: empty."""

BATCH_WRAPPED_RUN_COUNT: Final = Counter("/tensorflow/serving/batching_session/wrapped_run_count")
"""Runs of merged batches that did not fail."""

_ALL: Final[list[Counter | Histogram]] = sorted(
    (found for found in list(globals().values()) if isinstance(found, (Counter, Histogram))),
    key=lambda metric: metric.name,
)
