"""Says what an A/B experiment shows, and what it would take to show something.

    python -m serving.rollout.experiment verdict PLAN --exposures F... --outcomes F... [--json]
    python -m serving.rollout.experiment plan PLAN
    python -m serving.rollout.experiment simulate PLAN [--experiments 10000] [--horizon 20000]

`verdict` prints a table and, last, one sentence; it leaves build/experiment.html (self-contained)
and build/experiment.json (the figures), and costs about 10 s a million exposures. `plan` costs some
seconds, `simulate` about a minute; it leaves build/experiment-simulation.json. Exit code 0: done,
whatever the verdict is; 1: a bar of `simulate` does not hold; 2: a mistake in the command or a
file, and nothing was written.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from foundation.command_line import InputError, Parser, configure_logging, one_line, run, say
from foundation.figures import BUILD_DIR, Figures
from serving.rollout.experiment import page, trials, words
from serving.rollout.experiment.evaluation import evaluate
from serving.rollout.experiment.plan import Plan, read_plan
from serving.rollout.experiment.reading import read_records
from serving.rollout.experiment.simulate import fixed_sizes, simulate, stopping
from serving.rollout.experiment.verdict import Verdict

COMMAND: Final = "python -m serving.rollout.experiment"

_log = logging.getLogger("serving.rollout.experiment")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb."""
    typed = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(typed)
    configure_logging()
    command = shlex.join([*COMMAND.split(), *typed])
    verb = {"verdict": _verdict, "plan": _plan, "simulate": _simulate}[arguments.verb]
    return run(COMMAND, lambda: verb(arguments, command))


def _parser() -> Parser:
    parser = Parser(prog=COMMAND, description="What an A/B experiment shows.")
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=Parser)
    verdict = verbs.add_parser("verdict", help="what exposures and outcomes show by now")
    verdict.add_argument("plan", help="JSON file with the plan")
    for name, hold in (
        ("--exposures", "what ExposureLog wrote: JSONL, rotated or .gz too"),
        ("--outcomes", "JSONL or CSV with request_id, truth or correct, perhaps time_s"),
    ):
        verdict.add_argument(
            name, nargs="+", required=True, metavar="FILE", help=f"files or globs; {hold}"
        )
    verdict.add_argument(
        "--now-s", type=float, help="Unix time; later records are left out (default: now)"
    )
    verdict.add_argument("--json", action="store_true", help="print the verdict as JSON")
    verdict.add_argument(
        "--page",
        type=Path,
        default=BUILD_DIR / "experiment.html",
        help="page to write, its figures beside it (default: %(default)s)",
    )
    for verb, told, experiments in (
        ("plan", "how many outcomes a verdict takes", 2_000),
        ("simulate", "how often a verdict is wrong, and how soon right", 10_000),
    ):
        one = verbs.add_parser(verb, help=told)
        one.add_argument("plan", help="JSON file with the plan")
        one.add_argument(
            "--experiments", type=int, default=experiments, help="made up (default: %(default)s)"
        )
        one.add_argument(
            "--horizon",
            type=int,
            help="outcomes of each, both sides (default: ten times the fixed-horizon test's)"
            if verb == "plan"
            else "outcomes of each, both sides (default: 20000)",
        )
        one.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    return parser


def _verdict(arguments: argparse.Namespace, command: str) -> int:
    path: Path = arguments.page
    figures = Figures(path.stem, command)
    plan = read_plan(arguments.plan)
    now_s = time.time() if arguments.now_s is None else arguments.now_s
    if not math.isfinite(now_s):
        raise InputError(
            f"Expected a Unix time in seconds. Received: --now-s {now_s}; give a finite number"
        )
    _log.info(
        "experiment=%s control=%s treatment=%s until %s",
        *(plan.experiment, plan.control, plan.treatment, words.moment(now_s)),
    )
    records = read_records(plan, arguments.exposures, arguments.outcomes)
    verdict = evaluate(plan, records, now_s)
    path.parent.mkdir(parents=True, exist_ok=True)
    _add(figures, verdict)
    page.write(path, plan=plan, verdict=verdict, figures=figures)
    figures.write(path.parent, told=False)
    _log.info("page: %s, figures: %s", path, path.with_suffix(".json"))
    if arguments.json:
        print(json.dumps(dataclasses.asdict(verdict), indent=2, allow_nan=False))
    else:
        say("\n".join([*map(one_line, words.table(verdict)), "", one_line(verdict.reason)]))
    return 0


def _add(figures: Figures, verdict: Verdict) -> None:
    figures.add("verdict", verdict.kind, "")
    figures.add("difference.estimate", verdict.estimate, "share")
    figures.add("difference.lower", verdict.lower, "share")
    figures.add("difference.upper", verdict.upper, "share")
    for key, side in zip(("control", "treatment"), verdict.sides):
        for field in ("units", "exposures", "outcomes"):
            figures.add(f"{key}.{field}", getattr(side, field), field)
        figures.add(f"{key}.share_right", side.share_right, "share")
        figures.add(f"{key}.latency", side.latency_s, "s")
    figures.add("latency_ratio", verdict.latency_ratio, "")
    for row in verdict.guardrails:
        figures.add(f"guardrail.{row.name}.control", row.control, "share")
        figures.add(f"guardrail.{row.name}.treatment", row.treatment, "share")
        figures.add(f"guardrail.{row.name}.lower", row.lower, "share")
        figures.add(f"guardrail.{row.name}.upper", row.upper, "share")
        figures.add(f"guardrail.{row.name}.state", row.state, "")
        figures.add(f"guardrail.{row.name}.broken", row.broken is not None, "")
    figures.add("srm.log10_bayes_factor", verdict.mismatch.log10_bayes_factor, "")
    figures.add("srm.broken", verdict.mismatch.broken is not None, "")
    for field, count in dataclasses.asdict(verdict.counts).items():
        figures.add(f"count.{field}", count, "")


def _plan(arguments: argparse.Namespace, command: str) -> int:
    plan = read_plan(arguments.plan)
    control, treatment = fixed_sizes(plan)
    fixed = control + treatment
    horizon = arguments.horizon or 10 * fixed
    _check(plan, arguments.experiments, horizon)
    real = trials.stopped(
        plan,
        np.random.default_rng(arguments.seed),
        plan.improved,
        experiments=arguments.experiments,
        horizon=horizon,
    )
    figures = {row.name.rpartition("_")[2]: row.value for row in stopping(plan, real)}
    share = trials.ended(real.sequential)
    wanted = f"{plan.baseline:.1%} against {plan.improved:.1%} right"
    say(f"{plan.experiment}: {wanted}, alpha {plan.alpha:g}, power {plan.power:g}")
    say(f"{'outcomes':<34}{plan.control:>12}{plan.treatment:>12}{'both':>12}")
    print(f"{'one test at the end':<34}{control:>12,}{treatment:>12,}{fixed:>12,}")
    for name in ("mean", "median", "p90", "max", "power"):
        both = figures[name]
        if both is not None:
            treated = both * plan.treatment_share
            row = f"{both - treated:>12,.0f}{treated:>12,.0f}{both:>12,.0f}"
            which = f"for power {plan.power:g}" if name == "power" else name
            print(f"{f'a look after every one: {which}':<34}{row}")
    print(
        f"{share:.1%} of {arguments.experiments:,} made-up experiments saw the difference within "
        f"{horizon:,} outcomes."
    )
    return 0


def _simulate(arguments: argparse.Namespace, command: str) -> int:
    plan = read_plan(arguments.plan)
    horizon = arguments.horizon or 20_000
    _check(plan, arguments.experiments, horizon)
    figures = Figures("experiment-simulation", command)
    for row in simulate(
        plan, experiments=arguments.experiments, horizon=horizon, seed=arguments.seed
    ):
        figures.add(row.name, row.value, row.unit, at_most=row.at_most, at_least=row.at_least)
    return figures.write()


def _check(plan: Plan, experiments: int, horizon: int) -> None:
    if experiments < 1:
        raise InputError(
            f"Expected at least one experiment. Received: --experiments {experiments}; give more"
        )
    least = 2 * plan.min_outcomes
    if not least <= horizon <= 10_000_000:
        raise InputError(
            f"Expected a horizon from {least} (min_outcomes on each side) to 10,000,000 outcomes. "
            f"Received: {horizon}; give --horizon within that"
        )


if __name__ == "__main__":
    sys.exit(main())
