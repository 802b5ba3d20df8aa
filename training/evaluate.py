"""How good are these settings? Trains them on every fold of the images, and with several seeds.

    make evaluate                                 five folds of the sample set, about ten minutes
    make evaluate FOLDS=10 ARGS="--data my_images/ --epochs 40"
    make evaluate ARGS="--seeds 3"                five folds by three seeds
    make evaluate ARGS="--target balanced"        answered as make decide would, on the same runs

Every image is tested once by a run that did not train on it. ARGS are flags of training.train. Each
fold is an ordinary run in build/runs, so runs/latest stays; a fold that stands there is not trained
again, so an evaluation that was interrupted goes on where it was: run the same command again.
Writes build/evaluate.json and a page.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import logging
import shlex
import sys
from typing import Any, Final

from foundation import command_line, figures, quiet_tensorflow
from foundation.command_line import InputError
from foundation.pages import page
from foundation.progress import Progress
from training import config_flags, run
from training.comparing import folds, halvings, processes
from training.comparing.folds import Spread
from training.decision import chance, slices, target
from training.decision.decision import AnyDecision

logger = logging.getLogger("training.evaluate")

FIGURES: Final = figures.BUILD_DIR / "evaluate.json"

OWN: Final = ("--runs", "--seed", "--fold", "--folds", "--resume", "--teacher")
"""Flags of training.train that are set here."""


def main(argv: list[str] | None = None) -> int:
    """The command; prints the page's path on stdout."""
    parser = command_line.Parser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --seed is a flag of training's, and not short for --seeds
    )
    parser.add_argument("--folds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument(
        "--seeds", type=int, default=1, help="repeat it with so many seeds (default: %(default)s)"
    )
    parser.add_argument(
        "--target",
        help="decide each fold's threshold by this, on its validation images, as make decide does "
        "(default: as training decides)",
    )
    parser.add_argument(
        "--teacher-flags",
        metavar="FLAGS",
        help="first train a run with these flags on the same fold, and let it teach",
    )
    typed = sys.argv[1:] if argv is None else argv
    args, flags = parser.parse_known_args(typed)
    command_line.configure_logging()
    command = shlex.join(["python", "-m", "training.evaluate", *typed])
    return command_line.run(parser.prog, lambda: _command(parser.prog, args, flags, command))


def _command(program: str, args: argparse.Namespace, flags: list[str], command: str) -> int:
    count, seeds = args.folds, args.seeds
    started = datetime.datetime.now(datetime.timezone.utc)
    if count < 2 or seeds < 1:
        raise InputError(
            f"Expected --folds of 2 or more and --seeds of 1 or more. Received: {count}, {seeds}."
        )
    if args.target is not None:
        target.check(args.target)  # before hours of training
    teacher = None if args.teacher_flags is None else _split(args.teacher_flags)
    config_flags.check(program, flags, OWN, taught=teacher is not None)
    config_flags.check(program, teacher or (), OWN)
    made = _train_all(count, seeds, flags, teacher)
    decided = folds.decisions(made, args.target)
    spreads = folds.spreads(made, decided)
    pooled = [
        folds.together(made[start : start + count], decided[start : start + count])
        for start in range(0, len(made), count)
    ]
    metrics = [one.metrics() for one in pooled]
    kept = _kept(made, args.target)
    for line in (*_told(spreads, metrics[0], len(made)), *_told_of_promises(kept)):
        logger.info("%s", line)
    for one in slices.told(metrics[0]["slices"]):
        logger.warning("worse than the rest: %s", one)
    for doubt in chance.doubts(metrics[0]):
        logger.warning("not shown to be better than guessing: %s", doubt)
    found = _as_json(made, decided, spreads, metrics)
    figures.write_json(FIGURES, found | {"kept": kept and dataclasses.asdict(kept)})
    quiet_tensorflow.import_tensorflow(keras=False)  # the page shows pictures
    from training.comparing import folds_page

    path = FIGURES.with_suffix(".html")
    folds_page.write(path, made, spreads, pooled[0], kept, page.origin(command, started))
    print(path)
    return 0


def _split(flags: str) -> list[str]:
    try:
        return shlex.split(flags)
    except ValueError as error:
        raise InputError(
            f"Expected --teacher-flags to be flags of training.train. Received: {flags} ({error})."
        ) from error


def _train_all(
    count: int, seeds: int, flags: list[str], teacher: list[str] | None
) -> list[run.Run]:
    """The runs of all folds, seed by seed."""
    made = []
    with Progress("evaluation", total=count * seeds, unit="folds") as shown:
        for seed in range(1, seeds + 1):
            for fold in range(1, count + 1):
                shown.note(f"seed {seed}, fold {fold}")
                made.append(_trained(fold, count, seed, flags, teacher))
                shown.add()
    return made


def _trained(
    fold: int, count: int, seed: int, flags: list[str], teacher: list[str] | None
) -> run.Run:
    own = ["--seed", str(seed), "--folds", str(count), "--fold", str(fold)]
    if teacher is not None:
        teaches = processes.trained(f"the teacher of fold {fold}", [*own, *teacher])
        own += ["--teacher", str(teaches.path)]
    return processes.trained(f"fold {fold}", [*own, *flags])


def _told(spreads: dict[str, Spread], metrics: dict[str, Any], count: int) -> list[str]:
    lines = [f"{count} runs, {metrics['count']} images, each tested by a run that did not see it"]
    for name, found in spreads.items():
        if found.mean is None:
            lines.append(f"{name}: none, a fold has too few images of a class")
            continue
        reach = (
            "" if found.interval is None else f" [{found.interval[0]:.3f}, {found.interval[1]:.3f}]"
        )
        spread = "" if found.deviation is None else f" ± {found.deviation:.3f}"
        lines.append(f"{name}: {found.mean:.3f}{spread}{reach}")
    lines.append(f"always the most frequent class: accuracy {metrics['most_frequent_share']:.3f}")
    return lines


def _kept(made: list[run.Run], asked: str | None) -> halvings.Kept | None:
    """How often a share that is asked for holds; None where none is, or no half can show it."""
    share = halvings.share_of(asked, len(made[0].class_names))
    try:
        return halvings.kept(made, share) if share else None
    except InputError as error:
        logger.info("how often a target holds on other images is not known: %s", error)
        return None


def _told_of_promises(kept: halvings.Kept | None) -> list[str]:
    if kept is None:
        return []
    of = f"of {kept.halvings} random halvings of the test images"
    lines = [
        f"{kept.target} at {kept.confidence:.0%}, chosen on one half, held on the other in "
        f"{kept.held} {of}",
        f"calibration error below what chance allows in {kept.calibrated} {of}",
    ]
    if kept.review_distance is not None:
        lines.append(
            f"share for review: {kept.review_distance:.1%} from the {kept.review_rate:.0%} that "
            "was asked for, on average"
        )
    return lines


def _as_json(
    made: list[run.Run],
    decided: list[AnyDecision],
    spreads: dict[str, Spread],
    metrics: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "runs": [one.id for one in made],
        "figures": {name: dataclasses.asdict(found) for name, found in spreads.items()},
        "together": metrics,
        "not_shown_better_than_guessing": chance.doubts(metrics[0]),
        "thresholds": folds.thresholds(decided),
        "doubted_labels": [
            {
                "path": doubt.path,
                "label": doubt.label,
                "said": doubt.said,
                "probability": doubt.probability,
            }
            for doubt in folds.doubted_labels(made[: len(made) // len(metrics)])
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
