"""Which settings are better? Trains variants with several seeds and ranks them by validation.

    make sweep ARGS="--vary learning_rate=0.0005,0.001,0.002 --vary architecture=cnn,cnn_batch_norm"
    make sweep ARGS="--vary flip-horizontal=yes,no --seeds 5 -- --data my_images/"
    make sweep ARGS="--variants training/recipes.json"         the table of training/README.md

Flags behind `--` are those of training.train, for all variants. A variant meets the same splits as
the others, seed by seed, so differences are told in pairs. Test figures stand beside and are not
ranked by. Each run is an ordinary one in build/runs; those that stand are not trained again, so a
sweep that was interrupted goes on where it was. Writes build/sweep.json and a page.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from foundation import command_line, figures
from foundation.command_line import InputError
from foundation.pages import page
from foundation.progress import Progress
from training import config_flags, run
from training.comparing import processes
from training.sweeping import ranking, variants
from training.sweeping.variants import Variant

logger = logging.getLogger("training.sweep")

FIGURES: Final = figures.BUILD_DIR / "sweep.json"

MOST_SEEDS: Final = 100


def main(argv: list[str] | None = None) -> int:
    """The command; prints the table and the page's path on stdout."""
    parser = command_line.Parser(
        prog="python -m training.sweeping.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--vary",
        action="append",
        metavar="SETTING=X,Y",
        help="a setting and its values; given several times, all combinations",
    )
    what.add_argument("--variants", metavar="FILE", help="a JSON list of variants by name")
    parser.add_argument("--seeds", type=int, default=3, help="1 to so many (default: %(default)s)")
    parser.add_argument(
        "--by",
        default="roc_auc",
        choices=ranking.FIGURES,
        help="figure of validation (default: %(default)s)",
    )
    parser.add_argument("flags", nargs="*", help="of training.train")
    typed = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(typed)
    command_line.configure_logging()
    command = shlex.join(["python", "-m", "training.sweeping.sweep", *typed])

    def body() -> int:
        if not 1 <= args.seeds <= MOST_SEEDS:
            raise InputError(f"Expected --seeds of 1 to {MOST_SEEDS}. Received: {args.seeds}.")
        file = args.variants
        tried = variants.of_file(Path(file)) if file else variants.of_grid(args.vary)
        for one in tried:
            flags = [*args.flags, *one.flags]
            config_flags.check(parser.prog, flags, variants.OWN, taught=one.teacher is not None)
        return _command(tried, args.seeds, args.by, args.flags, command)

    return command_line.run(parser.prog, body)


def _command(tried: Sequence[Variant], seeds: int, by: str, flags: list[str], command: str) -> int:
    started = datetime.datetime.now(datetime.timezone.utc)
    made = _train_all(tried, seeds, flags)
    rows = ranking.rank([(one, made[one.name]) for one in tried], by)
    figures.write_json(
        FIGURES,
        {"by": by, "seeds": seeds, "flags": flags, "rows": [row.as_json() for row in rows]},
    )
    from training.sweeping import sweep_page  # matplotlib: not before there is something to draw

    path = FIGURES.with_suffix(".html")
    sweep_page.write(path, rows, by, page.origin(command, started))
    for line in ranking.told(rows, by):
        print(line)
    print(path)
    return 0


def _train_all(tried: Sequence[Variant], seeds: int, flags: list[str]) -> dict[str, list[run.Run]]:
    """The runs of each variant, seed by seed: after the first seed there is a first ranking."""
    made: dict[str, list[run.Run]] = {one.name: [] for one in tried}
    logger.info("%d variants, %d seeds: %d runs", len(tried), seeds, len(tried) * seeds)
    with Progress("sweep", total=len(tried) * seeds, unit="runs") as shown:
        for seed in range(1, seeds + 1):
            for one in tried:
                shown.note(f"seed {seed}, {one.name}")
                own = ["--seed", str(seed)]
                if one.teacher is not None:
                    own += ["--teacher", str(made[one.teacher][-1].path)]
                name = f"{one.name}, seed {seed}"
                made[one.name].append(processes.trained(name, [*own, *flags, *one.flags]))
                shown.add()
    return made


if __name__ == "__main__":
    sys.exit(main())
