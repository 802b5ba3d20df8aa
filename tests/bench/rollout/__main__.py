"""Measures what a rollout costs those who ask: nothing, it should turn out.

    python -m tests.bench.rollout                        all of it, about ten minutes
    python -m tests.bench.rollout --parts rpc file       some of it
    python -m tests.bench.rollout --quick                a look: no bar but that of lost requests

Parts: `traffic`, 100 rounds of canary, promote, rollback and retire while callers ask by label as
fast as they can; `rpc` and `file`, rollbacks while callers ask steadily, and the time from the
start of the command to the last answer of the version that is left; `experiment`, thousands of
simulated A/B tests that are looked at after every observation.

Every command is a process of its own; so are the callers, who send nothing twice. Leaves
build/bench-rollout.json, build/bench-rollout.html and, beside them, the callers' rows. Exit code 1
if a bar does not hold.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foundation import command_line, figures
from serving.rollout.experiment import Plan
from serving.rollout.experiment.simulate import simulate
from tests.bench.rollout import report, timeline, traffic
from tests.bench.rollout.traffic import Traffic
from tests.integration.local_server_fixtures import save_line

logger = logging.getLogger("tests.bench.rollout")

PARTS = ("traffic", "rpc", "file", "experiment")

NAME = "bench-rollout"

POLL_S = 1
"""The servers' interval in the part `file`: --model_config_file_poll_wait_seconds."""

ROUND = ("canary 2", "promote", "rollback", "retire 2")

PLAN = Plan(
    experiment="bench",
    weights={"stable": 1, "canary": 1},
    baseline=0.82,
    smallest_difference=0.03,
)
"""About the sample set's accuracy, and three images in a hundred."""

ROUNDS_OF_EXPERIMENT = 10_000

HORIZON = 20_000
"""Outcomes after which a simulated experiment ends undecided."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured."""

    rounds: int = 100
    """Of canary, promote, rollback, retire."""
    rollbacks: int = 20
    """In each of the parts rpc and file."""
    requests: int = 100_000
    """At least so many, in the part traffic."""
    experiments: int = ROUNDS_OF_EXPERIMENT


QUICK = Extent(rounds=3, rollbacks=2, requests=0, experiments=200)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; prints the paths of the figures and the page on stdout."""
    parser = command_line.Parser(
        prog="bench_rollout",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="(default: all)")
    add("--quick", action="store_true", help="a look in a minute")
    add("--build", type=Path, default=figures.BUILD_DIR, help="(default: %(default)s)")
    args = parser.parse_args(argv)
    command_line.configure_logging()

    def body() -> int:
        extent = QUICK if args.quick else Extent()
        return measure(args.parts, extent, args.build, bars=not args.quick)

    return command_line.run("bench_rollout", body)


def measure(parts: Sequence[str], extent: Extent, build: Path, *, bars: bool) -> int:
    """Measures and writes; returns the exit code.

    Args:
        parts: of PARTS.
        extent: how much.
        build: where the figures go.
        bars: whether times and counts are held against their bars; losses always are.
    """
    result = figures.Figures(NAME, "python -m tests.bench.rollout")
    shown = report.Page()
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch) / "models"
        for version in (1, 2):
            save_line(models / "line" / str(version), float(version))
        for part in parts:
            if part == "experiment":
                shown.simulated = _experiment(result, extent, bars=bars)
                continue
            logger.info("%s", part)
            folder = Path(scratch) / part
            folder.mkdir()
            (folder / "models").symlink_to(models)
            found = (
                _traffic(folder, extent) if part == "traffic" else _rollbacks(folder, part, extent)
            )
            np.savez_compressed(build / f"{NAME}-{part}.npz", rows=found.rows)
            _add(result, part, found, extent, bars=bars)
            shown.traffic[part] = found
    code = result.write(build)
    shown.write(build / f"{NAME}.html", result)
    print(build / f"{NAME}.html")
    return code


def _traffic(folder: Path, extent: Extent) -> Traffic:
    verbs = ROUND * extent.rounds
    return traffic.run(folder, verbs, by="rpc", callers=8, per_s=0, pause_s=(0, 0))


def _rollbacks(folder: Path, by: str, extent: Extent) -> Traffic:
    verbs = ["canary 2", *["promote", "rollback", "canary 2"] * extent.rollbacks]
    flags = [f"--model_config_file_poll_wait_seconds={POLL_S}"] if by == "file" else []
    pause_s = (0.2, 0.2 + POLL_S)
    return traffic.run(folder, verbs, by=by, callers=4, per_s=200, pause_s=pause_s, flags=flags)


def _add(result: figures.Figures, part: str, found: Traffic, extent: Extent, *, bars: bool) -> None:
    promotions = sum(command.verb == "promote" for command in found.commands)
    rollbacks = timeline.last_answers_s(found.commands, found.rows)
    seconds = found.rows["ended"].max() - found.rows["begun"].min()
    add = result.add
    at_least = extent.requests if part == "traffic" and bars else None
    add(f"{part}.requests", len(found.rows), "requests", at_least=at_least)
    add(f"{part}.requests_per_s", len(found.rows) / seconds, "requests/s")
    add(f"{part}.promotions", promotions, "")
    add(f"{part}.rollbacks", len(rollbacks), "")
    add(f"{part}.failed", found.failed, "requests", at_most=0)
    add(f"{part}.wrong", found.wrong, "answers", at_most=0)
    unlabelled = timeline.unlabelled_answers(found.commands, found.rows)
    add(f"{part}.by_versions_without_the_label", unlabelled, "answers", at_most=0)
    bar = {"rpc": 0.5, "file": POLL_S + 1.0}.get(part) if bars else None
    add(f"{part}.last_bad_answer_median_s", float(np.median(rollbacks)), "s")
    add(f"{part}.last_bad_answer_max_s", float(rollbacks.max()), "s", at_most=bar)
    for verb in ("promote", "rollback"):
        took = [command.seconds for command in found.commands if command.verb == verb]
        add(f"{part}.{verb}_first_write_to_last_check_median_s", float(np.median(took)), "s")
    add(f"{part}.server_memory_before_mb", found.memory_mb[0], "MB")
    add(f"{part}.server_memory_after_mb", found.memory_mb[1], "MB")
    for error in found.errors[:3]:
        logger.error("%s: %s", part, error)


def _experiment(result: figures.Figures, extent: Extent, *, bars: bool) -> list[report.Simulated]:
    logger.info("experiment: %d simulated ones of each kind", extent.experiments)
    started = time.monotonic()
    rows = simulate(PLAN, experiments=extent.experiments, horizon=HORIZON, seed=0)
    for row in rows:
        bar = {"at_most": row.at_most, "at_least": row.at_least} if bars else {}
        result.add(f"experiment.{row.name}", row.value, row.unit, **bar)
    result.add("experiment.simulated", extent.experiments, "experiments")
    result.add("experiment.simulation_s", time.monotonic() - started, "s")
    return [report.Simulated(row.name, row.value) for row in rows]


if __name__ == "__main__":
    sys.exit(main())
