"""Trains the same settings with several seeds and reports the spread.

    python -m training.seeds                        seeds 1 2 3 on the sample set, about six minutes
    python -m training.seeds --seeds 4 5 -- --epochs 40

Flags behind `--` are those of training.train. The runs lie in build/runs, so that runs/latest, and
with it the next export, stays what it was; runs that stand there are not made again. A seed changes
the split too, so the spread is that of the whole protocol. input_share is how much of an epoch the
model waited for its images. Writes build/training.json; exit code 1
if a bar does not hold. A bar is held against the mean of these seeds; where the mean of all seeds
lies, the 95 % interval beside it says.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys

from foundation import command_line, figures
from training import config_flags
from training.comparing import folds, processes

logger = logging.getLogger("training.seeds")

BARS = {"roc_auc": 0.82, "accuracy": 0.80}
"""Least mean over the seeds, on the sample set's test images."""

OWN = ("--runs", "--seed", "--resume")
"""Flags of training.train that are set here."""

REPORTED = ("roc_auc", "accuracy", "balanced_accuracy", "pr_auc", "f1")


def main(argv: list[str] | None = None) -> int:
    """The command; prints the path of the figures on stdout."""
    parser = command_line.Parser(
        prog="python -m training.seeds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("flags", nargs="*", help="of training.train")
    args = parser.parse_args(argv)
    command_line.configure_logging()

    def body() -> int:
        config_flags.check(parser.prog, args.flags, OWN)
        return _command(args.seeds, args.flags)

    return command_line.run(parser.prog, body)


def _command(seeds: list[int], flags: list[str]) -> int:
    runs = []
    for number, seed in enumerate(seeds, 1):
        logger.info("seed %d: %d of %d", seed, number, len(seeds))
        runs.append(processes.trained(f"seed {seed}", ["--seed", str(seed), *flags]))
    command = " ".join(["python -m training.seeds --seeds", *map(str, seeds), *flags])
    result = figures.Figures("training", command)
    tests = [made.metrics()["test"] for made in runs]
    for made, test in zip(runs, tests):
        for name in REPORTED:
            result.add(f"seed_{made.config.seed}.{name}", test[name], "")
        result.add(
            f"seed_{made.config.seed}.training_s", made.settings["timings"]["training_s"], "s"
        )
        # the first epoch reads and decodes the files; the others take them from the cache
        history = made.settings["training"]["history"]
        for name, epochs in (("first_epoch", history[:1]), ("later_epochs", history[1:])):
            waiting = [row["input_share"] for row in epochs if "input_share" in row]
            if waiting:
                share = statistics.mean(waiting)
                result.add(f"seed_{made.config.seed}.input_share.{name}", share, "of the time")
    # the bars are the default settings' on the sample set; other runs are only reported
    bars = {} if flags else BARS
    for name in REPORTED:
        found = folds.spread([test[name] for test in tests])
        result.add(f"mean.{name}", found.mean, "", at_least=bars.get(name))
        if found.interval is not None:
            result.add(f"standard_deviation.{name}", found.deviation, "")
            for end, value in zip(("low", "high"), found.interval):
                result.add(f"mean.{name}.{end}", value, "")
    return result.write()


if __name__ == "__main__":
    sys.exit(main())
