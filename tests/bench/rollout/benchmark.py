"""Measures what a rollout costs callers: it should lose no request and give no wrong answer.

    python -m tests.bench rollout                        all of it, about ten minutes
    python -m tests.bench rollout --parts rpc file       some of it
    python -m tests.bench rollout --quick                a look in a minute: no bar but losses

Parts: `traffic`, 100 rounds of canary, promote, rollback and retire while callers ask by label as
fast as they can; `rpc` and `file`, rollbacks while callers ask steadily, and the time from the
start of the command to the last answer of the version that is left; `experiment`, thousands of
simulated A/B tests that are looked at after every observation.

Every command is a process of its own; so are the callers, who send nothing twice. Writes
build/bench-rollout.json, build/bench-rollout.html and, beside them, the callers' rows. Exit code 1
if a bar does not hold.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path

from serving.rollout.experiment.simulate import simulate
from tests.bench import line_model
from tests.bench.benchmark import Benchmark, Run
from tests.bench.rollout import report, traffic, verdict
from tests.bench.rollout.traffic import Callers, Traffic
from tests.bench.rollout.verdict import PLAN, POLL_S
from tests.bench.samples import write_arrays

logger = logging.getLogger("tests.bench.rollout")

ROUND = ("canary 2", "promote", "rollback", "retire 2")

HORIZON = 20_000
"""Outcomes after which a simulated experiment ends undecided."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured."""

    rounds: int = 100
    """Of canary, promote, rollback, retire."""
    rollbacks: int = 20
    """In each of the parts rpc and file."""
    experiments: int = 10_000


QUICK = Extent(rounds=3, rollbacks=2, experiments=200)


def measure(run: Run) -> None:
    """Measures the parts; adds figures and sections, writes samples."""
    extent = QUICK if run.quick else Extent()
    models = run.folder / "models"
    if set(run.parts) - {"experiment"}:
        line_model.write(models, {version: float(version) for version in (1, 2)})
    found = report.Found()
    for part in run.parts:
        if part == "experiment":
            found.simulated = _experiment(run, extent)
            continue
        logger.info("%s", part)
        folder = run.folder / part
        folder.mkdir()
        (folder / "models").symlink_to(models)
        taken = _traffic(folder, extent) if part == "traffic" else _rollbacks(folder, part, extent)
        write_arrays(run.path(f"{part}.npz"), {"rows": taken.rows})
        verdict.add_traffic(run.verdict, part, taken)
        for error in taken.errors[:3]:
            logger.error("%s: %s", part, error)
        found.traffic[part] = taken
    run.page.sections += report.sections(found)


def _traffic(folder: Path, extent: Extent) -> Traffic:
    return traffic.run(folder, ROUND * extent.rounds, by="rpc", callers=Callers(8))


def _rollbacks(folder: Path, by: str, extent: Extent) -> Traffic:
    verbs = ["canary 2", *["promote", "rollback", "canary 2"] * extent.rollbacks]
    flags = [f"--model_config_file_poll_wait_seconds={POLL_S}"] if by == "file" else []
    pause_s = (0.2, 0.2 + POLL_S)
    return traffic.run(
        folder, verbs, by=by, callers=Callers(4, per_s=200), pause_s=pause_s, flags=flags
    )


def _experiment(run: Run, extent: Extent) -> dict[str, float | int | None]:
    logger.info("experiment: %d simulated ones of each kind", extent.experiments)
    started = time.monotonic()
    rows = simulate(PLAN, experiments=extent.experiments, horizon=HORIZON, seed=0)
    add = run.verdict.add
    for row in rows:
        name = f"experiment.{row.name}"
        add(name, row.value, row.unit, at_most=row.at_most, at_least=row.at_least)
    add("experiment.simulated", extent.experiments, "experiments")
    add("experiment.simulation_s", time.monotonic() - started, "s")
    return {row.name: row.value for row in rows}


BENCHMARK = Benchmark(
    name="rollout",
    title="The rollout, measured",
    about="Server, callers and commands share the cores.",
    description=__doc__,
    parts=("traffic", "rpc", "file", "experiment"),
    measure=measure,
)
