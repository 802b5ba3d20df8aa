"""Metrics: latency, errors, retries, fallbacks and confidence, by model, version and label.

metrics = Metrics()                                # once in a process
Client("models.example:8500", observers=[metrics])  # for any number of clients
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Final

from tfs_client.answers import ImagePrediction
from tfs_client.call.observer import Call, Observer
from tfs_client.errors import CallError, RequestError, TfsError
from tfs_client.failures.fallback import DEFAULT

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as error:
    raise ImportError(
        "Expected prometheus_client. Received: no module prometheus_client; "
        "pip install 'tfs-client[prometheus]'"
    ) from error

LATENCY_BUCKETS_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)

CONFIDENCE_BUCKETS: Final = tuple(round(0.05 * step, 2) for step in range(1, 21))


class Metrics(Observer):
    """Counts calls and images; one object watches all clients of a process.

    Names begin with `namespace`_: request_seconds (histogram, of answered calls), requests_total
    (by gRPC code, or error class where there is none), attempts_failed_total, fallbacks_total,
    requests_in_flight, sent_bytes_total, received_bytes_total, images_total (by outcome) and
    image_probability (histogram).

    Args:
        registry: where they are registered.
        namespace: what their names begin with.
        latency_buckets_s: upper ends of the latency histogram's buckets, in seconds.

    Raises:
        RequestError: the registry has metrics of these names; share one object between clients.
        ValueError: Prometheus does not take the namespace or the buckets.
    """

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        namespace: str = "tfs_client",
        latency_buckets_s: Sequence[float] = LATENCY_BUCKETS_S,
    ):
        asked = ("method", "model", "label")
        answered = ("model", "version", "label")
        common: dict[str, Any] = {"namespace": namespace, "registry": None}
        self._seconds = Histogram(
            "request_seconds",
            "Answered calls, retries included.",
            ("method", *answered),
            buckets=latency_buckets_s,
            **common,
        )
        self._requests = Counter(
            "requests", "Calls that have ended, by their outcome.", (*asked, "code"), **common
        )
        self._failed = Counter(
            "attempts_failed",
            "Attempts that failed, those that were followed by another included.",
            (*asked, "code"),
            **common,
        )
        self._fallbacks = Counter(
            "fallbacks",
            'A servable could not answer, and another ("default", "nobody": none) was asked.',
            ("servable", "to", "reason"),
            **common,
        )
        self._in_flight = Gauge(
            "requests_in_flight",
            "Calls under way.",
            asked,
            multiprocess_mode="livesum",
            **common,
        )
        self._sent = Counter("sent_bytes", "Of requests, each once.", asked, **common)
        self._received = Counter("received_bytes", "Of answers.", asked, **common)
        self._images = Counter(
            "images",
            "Answered images: valid, not_valid, or default (nobody answered).",
            (*answered, "outcome", "needs_review"),
            **common,
        )
        self._probability = Histogram(
            "image_probability",
            "Probability of the positive class of two, or of the label of more; of valid images.",
            answered,
            buckets=CONFIDENCE_BUCKETS,
            **common,
        )
        self._key = f"{__name__} {id(self)}"  # in Call.state: there may be several of these
        self._register(registry)

    def call_started(self, call: Call) -> None:
        """Counts one more call under way."""
        self._in_flight.labels(*_asked(call)).inc()
        call.state[self._key] = True

    def attempt_failed(self, call: Call, error: TfsError, pause_s: float | None) -> None:
        """Counts the attempt, whether another one follows or not."""
        self._failed.labels(*_asked(call), _code(error)).inc()

    def call_ended(self, call: Call) -> None:
        """Counts the call, its bytes and its latency."""
        asked = _asked(call)
        if call.state.pop(self._key, False):
            self._in_flight.labels(*asked).dec()
        self._requests.labels(*asked, _code(call.error)).inc()
        self._sent.labels(*asked).inc(call.request_bytes)
        if call.error is None:
            self._received.labels(*asked).inc(call.answer_bytes)
            self._seconds.labels(
                call.method, call.model, str(call.version), call.label or ""
            ).observe(call.latency_s)

    def fell_back(self, servable: str, to: str, error: TfsError) -> None:
        """Counts the fallback."""
        self._fallbacks.labels(servable, to, type(error).__name__).inc()

    def images_answered(
        self, model: str, label: str | None, predictions: Sequence[ImagePrediction]
    ) -> None:
        """Counts images and observes their probabilities."""
        for one in predictions:
            answered = (model, str(one.model_version), label or "")
            outcome = "default" if one.answered_by == DEFAULT else "valid"
            if not one.valid:
                outcome = "not_valid"
            self._images.labels(*answered, outcome, str(one.needs_review).lower()).inc()
            if not math.isnan(one.probability):
                self._probability.labels(*answered).observe(one.probability)

    def _register(self, registry: CollectorRegistry) -> None:
        """All metrics or none: a registry that refuses is left as it was."""
        registered: list[Counter | Gauge | Histogram] = []
        try:
            for metric in (
                *(self._seconds, self._requests, self._failed, self._fallbacks, self._in_flight),
                *(self._sent, self._received, self._images, self._probability),
            ):
                registry.register(metric)
                registered.append(metric)
        except ValueError as error:
            for metric in registered:
                registry.unregister(metric)
            raise RequestError(
                "Expected a registry without these metrics. "
                f"Received: {error}; share one Metrics between clients, or give another namespace"
            ) from error


def _asked(call: Call) -> tuple[str, str, str]:
    return call.method, call.model, call.label or ""


def _code(error: BaseException | None) -> str:
    if error is None:
        return "OK"
    if isinstance(error, CallError):
        return error.code.name
    return "CANCELLED" if isinstance(error, asyncio.CancelledError) else type(error).__name__
