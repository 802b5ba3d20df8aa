"""How much each version answers, how often it fails and how long it takes, asked of Prometheus.

TensorFlow Serving counts by model: none of its metrics of requests has a version or a label. So
what is said of a version is what the callers have counted (tfs_client.observers.prometheus). They
know which version has answered. Of a call that failed they know the label alone, which tells the
version as long as one version alone answers for that label.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from serving.rollout.states import State
from serving.rollout.status.prometheus import Prometheus, Sample, only, quoted, selector

_METHODS: Final = 'method=~"Predict|Classify|Regress|MultiInference"'
_NO_ERRORS: Final = ("OK", "CANCELLED")
_NOT_THE_SERVERS: Final = (*_NO_ERRORS, "INVALID_ARGUMENT", "OUT_OF_RANGE")
"""As in serving/monitoring/rules.yaml: what the caller got wrong, or gave up."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The calls of one version, or of all of them. None: not known."""

    version: int | None
    """None for all versions, as the servers count them."""
    labels: tuple[str, ...] = ()
    """What its callers asked for; "" is a call without a label."""
    share: float | None = None
    """Of the calls that were answered."""
    per_s: float = 0.0
    """Calls a second; of a version, those that it has answered."""
    errors: float | None = None
    """Share of the calls that failed."""
    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What Prometheus knows of one model's traffic."""

    prometheus: str
    """Its address."""
    window_s: int
    versions: tuple[Row, ...] = ()
    """As the callers count; those that are served first, in their order."""
    servers: Row | None = None
    """As the servers count, all versions together; None where they are not scraped."""
    notes: tuple[str, ...] = ()
    """What cannot be had, and why."""
    error: str = ""
    """Why nothing is known."""


@dataclass(kw_only=True)
class _Callers:
    """What the callers have counted, a second."""

    answered: dict[tuple[int, str], float] = field(default_factory=dict)
    """By version and label."""
    asked: dict[str, float] = field(default_factory=dict)
    """By label."""
    failed: dict[str, float] = field(default_factory=dict)
    """By label."""
    without_version: int = 0
    """Series whose version is no number."""

    def versions(self, label: str) -> list[int]:
        """Those that have answered for a label in this time."""
        return sorted(at for (at, asked), rate in self.answered.items() if asked == label and rate)


def look(
    prometheus: Prometheus,
    *,
    model: str,
    namespace: str,
    state: State,
    window_s: int,
) -> Traffic:
    """Asks for everything.

    Args:
        prometheus: whom to ask.
        model: the servable.
        namespace: of the servers in a cluster; empty elsewhere. Callers have their own.
        state: what models.config says.
        window_s: seconds to look back.

    Raises:
        PrometheusError: it does not answer, or not as a Prometheus does.
    """
    over = f"[{window_s}s]"
    notes: list[str] = []
    callers = _callers(prometheus, model, over)
    calls = selector({"model": model}, _METHODS, 'version!="0"')
    buckets = f"sum by (version, le) (rate(tfs_client_request_seconds_bucket{calls}{over}))"
    p50, p95 = (
        only(prometheus.query(f"histogram_quantile({share}, {buckets})"), "version")
        for share in (0.5, 0.95)
    )
    rows = _rows(callers, state, p50, p95, notes)
    if not rows:
        counted = f"count(tfs_client_requests_total{selector({'model': model})})"
        notes.append(
            f"no caller of {model} has made a call in this time"
            if prometheus.query(counted)
            else f"no caller of {model} is scraped (tfs_client.observers.prometheus), so share, "
            "errors and times by version cannot be had: TensorFlow Serving's own metrics have no "
            "version"
        )
    servers = _servers(prometheus, model, namespace, over)
    if servers is None:
        where = f" in the namespace {namespace}" if namespace else ""
        notes.append(f"no server's count of requests to {model}{where}: not scraped, or not asked")
    return Traffic(
        prometheus=prometheus.url,
        window_s=window_s,
        versions=rows,
        servers=servers,
        notes=(*notes, *(f"Prometheus warns: {text}" for text in prometheus.warnings)),
    )


def _callers(prometheus: Prometheus, model: str, over: str) -> _Callers:
    found = _Callers()
    calls = selector({"model": model}, _METHODS, 'version!="0"')
    counted = f"sum by (version, label) (rate(tfs_client_request_seconds_count{calls}{over}))"
    answered: dict[tuple[int, str], float] = collections.defaultdict(float)
    for one in prometheus.query(counted):
        version = one.labels.get("version", "")
        if not (version.isascii() and version.isdigit()):
            found.without_version += 1
            continue
        answered[int(version), one.labels.get("label", "")] += one.value
    found.answered = dict(answered)
    every = selector({"model": model}, _METHODS)
    ended = f"sum by (label, code) (rate(tfs_client_requests_total{every}{over}))"
    found.asked, found.failed = _by_label(prometheus.query(ended))
    return found


def _by_label(samples: Sequence[Sample]) -> tuple[dict[str, float], dict[str, float]]:
    """All calls, and those that failed."""
    asked: dict[str, float] = collections.defaultdict(float)
    failed: dict[str, float] = collections.defaultdict(float)
    for one in samples:
        label = one.labels.get("label", "")
        asked[label] += one.value
        if one.labels.get("code") not in _NO_ERRORS:
            failed[label] += one.value
    return dict(asked), dict(failed)


def _rows(
    callers: _Callers,
    state: State,
    p50: Mapping[str, float | None],
    p95: Mapping[str, float | None],
    notes: list[str],
) -> tuple[Row, ...]:
    """A row for each version that is served or has answered; none where nobody has called."""
    if not any(callers.answered.values()) and not any(callers.asked.values()):
        return ()
    of_version: dict[int, dict[str, float]] = {version: {} for version in state.versions}
    for (version, label), rate in callers.answered.items():
        if rate or version in of_version:
            of_version.setdefault(version, {})[label] = rate
    whose: dict[str, int] = {}
    for label, rate in sorted(callers.asked.items()):
        seen = callers.versions(label)
        errors = callers.failed.get(label, 0.0) / rate if rate else 0.0
        if not label:
            if errors:
                notes.append(
                    f"of the calls without a label {percent(errors)} fail, of which no version is "
                    "known"
                )
        elif len(seen) > 1:
            versions = " and ".join(map(str, seen))
            notes.append(
                f"versions {versions} have answered for {label} in this time: its errors, "
                f"{percent(errors)}, are of both"
            )
        elif seen or label in state.labels:
            # A label of which every call fails has no answer to tell the version by.
            whose[label] = seen[0] if seen else state.labels[label]
        elif errors:
            notes.append(f"of the calls by {label} {percent(errors)} fail, and none is answered")
    if callers.without_version:
        notes.append(f"left out, for their version is no number: {callers.without_version} series")
    everything = sum(callers.answered.values())
    rows = []
    for version, rates in of_version.items():
        labels = [label for label, at in whose.items() if at == version]
        asked = sum(callers.asked[label] for label in labels)
        failed = sum(callers.failed.get(label, 0.0) for label in labels)
        answered = sum(rates.values())
        key = str(version)
        if answered and any(found.get(key, 0.0) is None for found in (p50, p95)):
            notes.append(f"several series say how long {version} takes: left out")
        rows.append(
            Row(
                version=version,
                labels=tuple(sorted({*(label for label, rate in rates.items() if rate), *labels})),
                share=answered / everything if everything else None,
                per_s=answered,
                errors=failed / asked if asked else None,
                p50_ms=_milliseconds(p50.get(key), 1e3),
                p95_ms=_milliseconds(p95.get(key), 1e3),
            )
        )
    return tuple(rows)


def _servers(prometheus: Prometheus, model: str, namespace: str, over: str) -> Row | None:
    """All versions together, as the servers count; their latencies are of successes alone."""
    matches = {"model_name": model, **({"namespace": namespace} if namespace else {})}
    counted = f":tensorflow:serving:request_count{selector(matches)}"
    by_status = prometheus.query(f"sum by (status) (rate({counted}{over}))")
    if not by_status:
        return None
    every = sum(one.value for one in by_status)
    theirs = sum(one.value for one in by_status if one.labels.get("status") not in _NOT_THE_SERVERS)
    bucket = f":tensorflow:serving:request_latency_bucket{selector(matches, 'API!=' + quoted(''))}"
    p50, p95 = (
        prometheus.query(f"histogram_quantile({q}, sum by (le) (rate({bucket}{over})))")
        for q in (0.5, 0.95)
    )
    return Row(
        version=None,
        per_s=every,
        errors=theirs / every if every else None,
        p50_ms=_milliseconds(p50[0].value if len(p50) == 1 else None, 1e-3),
        p95_ms=_milliseconds(p95[0].value if len(p95) == 1 else None, 1e-3),
    )


def _milliseconds(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def percent(share: float) -> str:
    """A share in percent; a small one is not rounded to nothing."""
    if 0 < share < 0.0001:
        return "<0.01 %"
    return f"{100 * share:.2f} %"
