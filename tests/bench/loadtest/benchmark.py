"""Measures the load test: how much one process can send, and whether what it reports is true.

    python -m tests.bench loadtest                          all of it, about fifteen minutes
    python -m tests.bench loadtest --parts accuracy         one part
    python -m tests.bench loadtest --quick                  a short look: no bar but that of errors

Parts: `throughput`, requests a second of one generator process to a server that answers at once,
beside a bare gRPC stub in a loop; `accuracy`, the open loop's percentiles at a server of known
slowness with stalls, beside the truth, a closed loop, and ghz where it is on the PATH
(go install github.com/bojand/ghz/cmd/ghz@v0.120.0); `knee`, the search for the knee, beside an
exhaustive sweep.

Writes build/bench-loadtest.json, build/bench-loadtest.html and build/bench-loadtest-latencies.npz.
Exit code 1 if a bar does not hold.
"""

from __future__ import annotations

from tests.bench.benchmark import Benchmark, Run
from tests.bench.loadtest import accuracy, knee, report, throughput, verdict
from tests.bench.samples import write_arrays


def measure(run: Run) -> None:
    """Measures the parts; adds figures and sections, writes samples."""
    if "throughput" in run.parts:
        rounds, requests = (2, 500) if run.quick else (10, 5000)
        sent = throughput.measure(run.folder, rounds, requests)
        verdict.add_throughput(run.verdict, sent)
        run.page.sections.append(report.throughput(sent))
    if "accuracy" in run.parts:
        seen = accuracy.measure(run.folder, 200.0, 12.0 if run.quick else 60.0)
        verdict.add_accuracy(run.verdict, seen)
        latencies_s = {name: one.latencies_s for name, one in seen.loops.items()}
        write_arrays(run.path("latencies.npz"), latencies_s)
        run.page.sections.append(report.tails(seen))
        if seen.ghz is None:
            run.page.absent["ghz"] = verdict.NO_GHZ
    if "knee" in run.parts:
        searches, rungs, seconds = (1, 3, 1.0) if run.quick else (3, 10, 2.5)
        knees = knee.measure(run.folder, searches=searches, rungs=rungs, seconds_each=seconds)
        verdict.add_knees(run.verdict, knees)
        run.page.sections.append(report.knees(knees))


BENCHMARK = Benchmark(
    name="loadtest",
    title="The load test, measured",
    about="Generator and server share the cores.",
    description=__doc__,
    parts=("throughput", "accuracy", "knee"),
    measure=measure,
)
