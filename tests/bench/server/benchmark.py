"""Measures the local server beside its limits and beside other servers.

    python -m tests.bench server                       all of it, about twelve minutes
    python -m tests.bench server --parts start load    without the soak, about seven
    python -m tests.bench server --quick               a short look: no bar but that of errors

Parts: `start`, readiness beside TensorFlow's own import; `load`, throughput, latencies and CPU with
1, 8 and 32 callers on the same cores, batching on and off, beside TensorFlow in process, a bare
gRPC echo server, FastAPI and MLServer (in environments made on demand under build/); `soak`, memory
over 100,000 requests. Serves the version that serving/models.config labels stable; files are those
of the sample set.

Writes build/bench-server.json, build/bench-server.html, and beside them the raw samples:
build/bench-server-latencies.npz, -rounds.jsonl, -memory.csv. Exit code 1 if a bar does not hold.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from foundation.command_line import InputError
from serving import models_config
from tests.bench.benchmark import Benchmark, Run
from tests.bench.processes import LocalServer
from tests.bench.server import contest, payloads, report, servers, soak, starts, verdict
from tests.bench.server.contest import Served
from tfs_client import contract


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured."""

    starts: int = 5
    rounds: int = 5
    seconds: float = 2.0
    """Of each measurement."""
    answers: tuple[int, int] = (10_000, 100_000)
    """Between these counts the memory may not grow."""


QUICK = Extent(starts=1, rounds=1, seconds=0.5, answers=(200, 1_000))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that only this benchmark has."""
    add = parser.add_argument
    add("--models", type=Path, default=Path("models"), help="the store (default: %(default)s)")
    add("--config", type=Path, default=Path("serving/models.config"), help="(default: %(default)s)")
    add("--rounds", type=int, help="how often each is measured (default: 5; quick: 1)")
    add("--seconds", type=float, help="of each measurement (default: 2; quick: 0.5)")


def measure(run: Run) -> None:
    """Measures the parts; adds figures and sections, writes samples."""
    extent = QUICK if run.quick else Extent()
    changed = {name: run.own[name] for name in ("rounds", "seconds") if run.own[name]}
    extent = dataclasses.replace(extent, **changed)
    models, config = run.own["models"], run.own["config"]
    served = Served(models=models, config=config, version=stable_version(config, models))
    found = report.Found()
    if "start" in run.parts:
        found.starts = starts.measure(models, config, run.folder, extent.starts)
        verdict.add_starts(run.verdict, found.starts)
    if set(run.parts) - {"start"}:
        _measure_requests(run, extent, served, found)
    run.page.sections += report.sections(found)


def _measure_requests(run: Run, extent: Extent, served: Served, found: report.Found) -> None:
    """The parts `load` and `soak`."""
    files, pixels = payloads.choose_files(), run.folder / "pixels.npy"
    with servers.in_process(run.folder, served.version, files, pixels) as worker:
        material = contest.prepare(worker, files, pixels)
        if "load" in run.parts:
            with contest.Contest(served, run.folder, worker, material) as running:
                found.measured = running.run(extent.rounds, extent.seconds)
            contest.write_latencies(found.measured, run.path("latencies.npz"))
            contest.write_rounds(found.measured, run.path("rounds.jsonl"))
            verdict.add_load(run.verdict, found.measured)
            run.page.absent = found.measured.absent
        if "soak" in run.parts:
            flags = servers.batching_flags(run.folder)
            with LocalServer(run.folder, "soak", served.models, served.config, *flags) as server:
                found.memory, errors = soak.run(server.wait(), material, extent.answers[-1])
            soak.write(found.memory, run.path("memory.csv"))
            verdict.add_soak(run.verdict, found.memory, *extent.answers)
            run.verdict.require("soak.errors", errors, "", at_most=0)


def stable_version(config: Path, models: Path) -> Path:
    """The folder of the version that the label `stable` points at.

    Raises:
        InputError: there is none, or it has not been exported.
    """
    for model in models_config.read(config).models:
        version = model.labels.get(contract.LABEL_STABLE)
        if model.name == contract.MODEL_NAME and version is not None:
            folder = models_config.folder_of(model, models) / str(version)
            if folder.is_dir():
                return folder
            raise InputError(
                f"Expected version {version} in {folder}. Received: no such folder. "
                "Export one first: make train export"
            )
    raise InputError(
        f"Expected {contract.MODEL_NAME} with the label {contract.LABEL_STABLE} in {config}. "
        "Received: neither, or one without the other."
    )


BENCHMARK = Benchmark(
    name="server",
    title="The local server, measured",
    about="""Callers and servers share the cores; each caller sends one image, waits for the answer,
    and sends the next.""",
    description=__doc__,
    parts=("start", "load", "soak"),
    measure=measure,
    add_flags=add_flags,
)
