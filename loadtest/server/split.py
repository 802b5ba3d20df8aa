"""Where a request's time goes: the server's own metrics beside the callers' measurements.

    client's mean latency
      = client            the generator's lateness: from the intended start to the sending
      + network           everything between the caller and the server's handler
      + handler           the handler without the model: lookup, tensors from and to messages
      + queue             waiting until a batch is full or due, and a batch thread is free
      + batch             merging, padding and taking apart      } "batch and model" where the
      + model             the session's run                      } server does not tell them apart

Means are differences of means, and they add up. Percentiles do not add up, and are never
subtracted here: the slowest request in the queue is not the one that is slowest in the network.

What each metric covers (read in tensorflow_serving's source; *seen* on a real 2.19.1 page or on the
local server):

- request_latency{model_name,API,entrypoint}: the whole handler, of successes only *(seen)*. With
  gRPC (prediction_service_impl.cc) it begins after gRPC has parsed the request message, and ends
  before the answer is serialised: both, and the waiting for a gRPC thread, are "network" here. With
  REST the JSON is parsed and written within the handler *(seen on the local server)*; the body is
  read before it (http_server.cc).
- runtime_latency{model_name,API,runtime}: around Session::Run (predict_util.cc, util.cc), of
  successes only. With batching that is the batching session: the wait in the queue and the whole
  batch's run are in it *(seen: mean 184.9 ms where the queue's is 112.4 ms)*. It does not name the
  entrypoint, and warm-up requests are counted too (saved_model_warmup.cc runs the same code).
- batching_session:queuing_latency{thread_pool_name}: from Run() to the moment its batch is taken
  (batching_session.cc), of every task: those of all models, also of batches that fail then *(seen:
  17 tasks, 12 answers)*; a request that is split counts once a part.
- batching_session:padding_size{execution_batch_size}: of each batch, before it runs. The label is
  the exact size with padding *(seen: 4 batches of 4 and 8 of 8 are the 12 batches and 80 rows of
  processed_batch_size, whose own buckets are powers of two)*.
- core:graph_run_time_usecs_histogram: of each run of a session (direct_session.cc), so of each
  batch, not of each request *(seen on a 2.19.1 and on the local server)*. Where it counts as many
  runs as there were batches, "batch" and "model" are told apart: an estimate, for a mean over
  batches stands in for a mean over requests. It counts more where a version was loaded meanwhile.
  In a second of the run it also differs by the batches that are under way when a page is read, so
  that each second has the parts of the whole run.
- request_count{model_name,status}: of all, also of failures. REST's metadata and status are among
  them; gRPC's are not *(seen on the local server)*.

"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from loadtest.server.measured import Measured

MEANINGS: Final = {
    "client": "the generator was late: from the intended start to the sending",
    "network": "between the caller and the server's handler, gRPC's work on both sides included",
    "handler": "the handler without the model: lookup, tensors from and to messages, JSON",
    "queue": "waiting until a batch is full or due, and a batch thread is free",
    "batch": "merging, padding and taking apart",
    "model": "the session's run",
    "batch and model": "merging, the session's run, and taking apart",
}

CLOSE: Final = 0.01
"""Counts that differ by no more than this share are taken for the same requests."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the mean latency."""

    name: str
    """client, network, handler, queue, batch, model or "batch and model"."""
    mean_ms: float
    """Below 0 where the two sides did not measure the same requests."""
    error_ms: float
    """The largest error, because pages print sums with six digits; without that of chance."""
    share: float
    """Of the whole, 0 to 1 unless a part is below 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """The mean latency in parts, in the order a request meets them; they add up to the whole."""

    of: str
    """Whose mean is split: "client", or "server" where the callers' mean is not known."""
    whole_ms: float
    parts: tuple[Part, ...]

    def share(self, *names: str) -> float:
        """The share of these parts together; 0 for a part that this split does not have."""
        return sum(part.share for part in self.parts if part.name in names)

    @property
    def apart(self) -> bool:
        """Whether batch and model are told apart."""
        return any(part.name == "batch" for part in self.parts)


def split(
    seen: Measured,
    *,
    client_ms: float | None = None,
    late_ms: float | None = None,
    apart: bool | None = None,
) -> Split | None:
    """Splits the mean latency.

    Args:
        seen: what the servers measured.
        client_ms: mean latency of the right answers, as the callers measured it.
        late_ms: the mean lateness, which is the part of client_ms before the sending; None where it
            is not measured, or where latency counts from the sending.
        apart: whether to tell batch and model apart; None does where the counts of runs and batches
            agree. In a part of a run they differ by the batches that were under way at its edges.

    Returns:
        None where no request was answered.
    """
    server, runtime = seen.request.mean, seen.runtime.mean
    if server is None or runtime is None:
        return None
    rows: list[tuple[str, float, float]] = []
    if client_ms is not None:
        if late_ms is not None:
            rows.append(("client", late_ms, 0.0))
        network_ms = client_ms - (late_ms or 0.0) - server
        rows.append(("network", network_ms, seen.request.mean_error))
    rows.append(("handler", server - runtime, seen.request.mean_error + seen.runtime.mean_error))
    rows += _session(seen, runtime, apart)
    whole_ms = server if client_ms is None else client_ms
    return Split(
        of="server" if client_ms is None else "client",
        whole_ms=whole_ms,
        parts=tuple(
            Part(
                name=name,
                mean_ms=mean_ms,
                error_ms=error_ms,
                share=mean_ms / whole_ms if whole_ms else 0.0,
            )
            for name, mean_ms, error_ms in rows
        ),
    )


def _session(
    seen: Measured, runtime_ms: float, apart: bool | None
) -> list[tuple[str, float, float]]:
    """Parts of runtime_latency: (name, mean, error), both in ms."""
    error, queuing = seen.runtime.mean_error, seen.queuing
    if queuing.mean is None:
        return [("model", runtime_ms, error)]
    rest, rest_error = runtime_ms - queuing.mean, error + queuing.mean_error
    parts = [("queue", queuing.mean, queuing.mean_error)]
    graph = seen.graph_run
    told = graph.count == seen.batch.count if apart is None else apart
    if graph.mean is None or not told:
        return [*parts, ("batch and model", rest, rest_error)]
    return [
        *parts,
        ("batch", rest - graph.mean, rest_error + graph.mean_error),
        ("model", graph.mean, graph.mean_error),
    ]


def doubts(seen: Measured, parts: Split | None) -> list[str]:
    """Why a split may mislead, a sentence each."""
    found = []
    answers, runs, tasks = seen.request.count, seen.runtime.count, seen.queuing.count
    if not answers:
        found.append("no request of this model was answered while the pages were read")
    if runs and _differ(answers, runs):
        found.append(
            f"{runs} runs for {answers} answers: warm-ups, other entrypoints or what failed after "
            "the run are in runtime_latency"
        )
    if tasks and seen.other_runs:
        found.append(
            f"queue and batches are those of all models: {seen.other_runs} runs were not this one's"
        )
    elif tasks and _differ(tasks, runs):
        found.append(
            f"{tasks} tasks in the queue for {runs} runs: failed batches, split requests or "
            "signatures without batching are in the difference"
        )
    found += [
        f"{part.name} comes out below 0 ({part.mean_ms:.3g} ms): the two means that it is the "
        "difference of are of different requests"
        for part in (parts.parts if parts else ())
        if part.mean_ms + part.error_ms < 0
    ]
    return found


def _differ(a: int, b: int) -> bool:
    return not math.isclose(a, b, rel_tol=CLOSE)
