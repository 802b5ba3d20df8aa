"""Measures the client beside a bare gRPC stub and beside the clients of others.

    python -m tests.bench client                       all of it, about four minutes
    python -m tests.bench client --parts import call   some of it
    python -m tests.bench client --quick               a short look: no bar but that of errors

Parts: `import`, time and memory beside grpcio, numpy and protobuf; `encode`, from arrays to request
bytes beside one copy of the data; `decode`, from answer bytes to arrays, and what that allocates;
`call`, latency beside a bare stub, from a thread and from an event loop, and memory; `outage`, a
local server killed and restarted in the middle of 20,000 calls with retries and fallbacks.
tensorflow-serving-api and ovmsclient are measured in the same rounds, in environments made on
demand under build/.

Writes build/bench-client.json, build/bench-client.html, and beside them the raw samples:
build/bench-client-imports.csv, -encode.npz, -decode.npz, -calls.npz, -memory.csv, -outage.npz. Exit
code 1 if a bar does not hold.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from tests.bench import environments
from tests.bench.benchmark import Benchmark, Run
from tests.bench.client import arrays, calls, imports, material, outage, report, verdict

logger = logging.getLogger("tests.bench.client")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured."""

    imports: int = 40
    """Pairs of imports."""
    rounds: int = 10
    """Turns of each client, in each part."""
    repeats: int = 50
    """Requests and answers in a turn, the best of which counts."""
    pairs: int = 500
    """Calls in a turn, and as many of the bare stub."""
    calls: int = 10_000
    """While memory is watched."""
    outage_calls: int = 20_000
    outage_per_s: float = 1_000.0
    """The callers' rate, all together."""


QUICK = Extent(
    imports=2, rounds=2, repeats=5, pairs=50, calls=500, outage_calls=2_000, outage_per_s=200
)


def measure(run: Run) -> None:
    """Measures the parts; adds figures and sections, writes samples."""
    # A server is killed on purpose: the client's warnings about it are expected.
    logging.getLogger("tfs_client").setLevel(logging.ERROR)
    extent = QUICK if run.quick else Extent()
    found = report.Found()
    rivals: dict[str, Path] = {}
    if set(run.parts) - {"outage"}:
        rivals, run.page.absent = environments.make_all(environments.RIVAL_CLIENTS)
        verdict.add_rivals(run.verdict, run.page.absent)
    material.make(run.folder)
    if "import" in run.parts:
        found.imports = imports.measure(rivals, extent.imports)
        imports.write(found.imports, run.path("imports.csv"))
        verdict.add_imports(run.verdict, found.imports)
    if "encode" in run.parts:
        found.encoded = arrays.encode(rivals, run.folder, extent.rounds, extent.repeats)
        found.encoded.samples.write(run.path("encode.npz"))
        verdict.add_encode(run.verdict, found.encoded)
    if "decode" in run.parts:
        found.decoded = arrays.decode(rivals, run.folder, extent.rounds, extent.repeats)
        found.decoded.samples.write(run.path("decode.npz"))
        verdict.add_decode(run.verdict, found.decoded)
    if "call" in run.parts:
        found.calls = calls.measure(rivals, run.folder, extent.rounds, extent.pairs, extent.calls)
        found.calls.samples.write(run.path("calls.npz"))
        calls.write_memory(found.calls, run.path("memory.csv"))
        verdict.add_calls(run.verdict, found.calls)
    if "outage" in run.parts:
        found.outages = _outages(run, extent)
    run.page.sections += report.sections(found)


def _outages(run: Run, extent: Extent) -> dict[str, outage.Outage]:
    """From threads, then from tasks."""
    outage.make_store(run.folder)
    outages = {
        kind: outage.run(run.folder, kind, extent.outage_calls, extent.outage_per_s)
        for kind in outage.CALLERS
    }
    outage.write(outages, run.path("outage.npz"))
    for kind, taken in outages.items():
        verdict.add_outage(run.verdict, kind, taken)
        if taken.first_error:
            logger.error("%s: %s", kind, taken.first_error)
    return outages


BENCHMARK = Benchmark(
    name="client",
    title="The client, measured",
    about="""Clients and servers share the cores; all clients stand on the same gRPC, protobuf and
    numpy.""",
    description=__doc__,
    parts=("import", "encode", "decode", "call", "outage"),
    measure=measure,
)
