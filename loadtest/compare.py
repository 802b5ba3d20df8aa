"""Tells whether B differs from A, at p50, p95, p99, in throughput and failures, with confidence.

    python -m loadtest.compare A B                                two runs: folders or recordings
    python -m loadtest.compare --labels stable,canary --rate 100 --duration-s 60 …
                                                                  one load on both, then compared
    python -m loadtest.compare --labels stable,canary --within build/loadtest-recording.json

The second form takes loadtest.run's flags and sends every request to one of two labels, at random.
Both labels are asked in the same seconds, so whatever slows the machine down for a while slows both
and does not show as a difference. Two runs one after the other do not have that: small differences
between them mean nothing.

Leaves build/loadtest-compare.html (self-contained) and build/loadtest-compare.json (the figures),
and after a load of its own build/loadtest-compare-recording.json. Costs the load, and some seconds.
Exit code 0: B is not worse by what matters; 1: it is worse; 2: a mistake in the command, or runs
that cannot be compared; 3: too short to tell, and after how many seconds one could. --least says
what matters: the smaller it is, the longer it takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import logging
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from foundation.command_line import InputError, Parser, configure_logging, run, say
from foundation.figures import BUILD_DIR, Figures
from foundation.pages import page
from loadtest.loops import running
from loadtest.plan.flags import parse
from loadtest.plan.settings import CLOSED, Settings
from loadtest.report import compare_page
from loadtest.results import run_file
from loadtest.results.run_file import RunFile
from loadtest.results.taken import INTERRUPTED
from loadtest.verdicts import comparison, sides
from loadtest.verdicts.comparison import LEAST, Comparison
from loadtest.verdicts.sides import Sides

COMMAND: Final = "python -m loadtest.compare"

NAME: Final = "loadtest-compare"

TOO_SHORT: Final = 3
"""The exit code where the loads are too short to tell."""

log = logging.getLogger("loadtest")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What is compared: two runs, or two labels of one."""

    runs: tuple[Path, Path] | None
    """None: labels are compared."""
    labels: tuple[str, str] | None
    """None: runs are compared."""
    within: Path | None
    """The run whose labels are compared; None: a load is run."""
    load_flags: tuple[str, ...]
    """loadtest.run's, of that load."""
    least: float
    """A difference that matters, as a share of A."""
    anyway: bool
    """Whether to compare runs that were not loaded alike."""


def main(argv: Sequence[str] | None = None) -> int:
    """Compares once."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    labels = any(word.partition("=")[0] == "--labels" for word in arguments)
    args, rest = _parser(labels=labels).parse_known_args(arguments)
    configure_logging()
    command = shlex.join([*COMMAND.split(), *arguments])
    return run(COMMAND, lambda: _compare(_asked(args, rest), command))


def _parser(*, labels: bool) -> Parser:
    parser = Parser(
        prog=COMMAND,
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,  # loadtest.run's parser reads the flags that this one does not know
    )
    add = parser.add_argument
    if not labels:  # loadtest.run's flags may follow --labels; argparse would take their values
        add("runs", nargs="*", type=Path, metavar="RUN", help="A and B: a recording each")
    add("--labels", metavar="A,B", help="two labels of one load")
    add("--within", type=Path, metavar="RUN", help="the load; without it, one is run")
    add("--least", type=float, default=LEAST, help="a share that matters (%(default)g)")
    add("--anyway", action="store_true", help="compare what was not loaded alike")
    parser.set_defaults(runs=[])
    return parser


def _asked(args: argparse.Namespace, rest: Sequence[str]) -> Asked:
    """What was asked for.

    Raises:
        InputError: it cannot be done.
    """
    if not 0 < args.least < 1:
        raise InputError(f"Expected --least between 0 and 1. Received: {args.least:g}")
    if args.labels is None and (len(args.runs) != 2 or args.within is not None or rest):
        raise InputError(
            "Expected two runs (A and B, each a loadtest-recording.json), or --labels A,B. "
            f"Received: {len(args.runs)} runs{' and ' + ' '.join(rest) if rest else ''}"
        )
    labels = None if args.labels is None else [one.strip() for one in args.labels.split(",")]
    if labels is not None and (len(labels) != 2 or len(set(labels)) != 2 or not all(labels)):
        raise InputError(
            f"Expected --labels A,B, two labels of one load. Received: {args.labels!r}"
        )
    if args.within is not None and rest:
        raise InputError(f"Expected no flags beside --within. Received: {' '.join(rest)}")
    return Asked(
        runs=(args.runs[0], args.runs[1]) if labels is None else None,
        labels=None if labels is None else (labels[0], labels[1]),
        within=args.within,
        load_flags=tuple(rest),
        least=args.least,
        anyway=args.anyway,
    )


def _compare(asked: Asked, command: str) -> int:
    figures = Figures(NAME, command)
    BUILD_DIR.mkdir(exist_ok=True)
    compared = _sides(asked, command)
    paired = asked.labels is not None
    notes = sides.notes(compared, paired=paired, anyway=asked.anyway)
    try:
        found = comparison.compare(
            *(side.slices for side in compared),
            paired=paired,
            throughput=compared[0].run.loop == CLOSED and not paired,
            least=asked.least,
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    for note in notes:
        log.warning("%s", note)
    path = BUILD_DIR / f"{NAME}.html"
    origin = page.origin(command, figures.started)
    compare_page.write(path, found=found, sides=compared, notes=notes, origin=origin)
    _add(figures, found, compared)
    code = figures.write()
    print(path)
    say(f"{compared[1].name} (B) against {compared[0].name} (A): {found.words}")
    return TOO_SHORT if found.too_short else code


def _sides(asked: Asked, command: str) -> Sides:
    if asked.runs is not None:
        return sides.of_runs(*asked.runs)
    assert asked.labels is not None
    if asked.within is not None:
        return sides.of_labels(run_file.read(asked.within), asked.labels)
    return sides.of_labels(_load(asked.load_flags, asked.labels, command), asked.labels)


def _load(rest: Sequence[str], labels: Sequence[str], command: str) -> RunFile:
    """One load, whose requests go to one label or the other."""
    settings = dataclasses.replace(parse(rest, beside=_parser(labels=True)), label=",".join(labels))
    if settings.at or settings.objectives is not None:
        raise InputError(
            "Expected no --at and no --objectives here. Received: one; see make loadtest"
        )
    settings.check()
    versions = running.check_server(settings)
    if len(set(versions.values())) < 2:
        log.warning("both labels point at version %s", *set(versions.values()))
    log.info("%s", settings.describe_loop())
    started = datetime.datetime.now(datetime.timezone.utc)
    with tempfile.TemporaryDirectory() as folder:
        taken = running.take(settings, Path(folder) / "samples.csv")
    found = RunFile(
        command=command,
        started=started.isoformat(timespec="seconds"),
        loop=settings.loop,
        settings=_plain(settings),
        versions=versions,
        partial=tuple(taken.partial),
        generator=taken.generator(),
        recording=taken.recording,
    )
    found.write(BUILD_DIR / f"{NAME}-recording.json")
    if INTERRUPTED in taken.partial:
        raise KeyboardInterrupt
    return found


def _plain(settings: Settings) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(settings).items()
        if value is not None and name not in ("connection", "metrics", "at")
    }


def _add(figures: Figures, found: Comparison, sides: Sides) -> None:
    figures.add("a", sides[0].name, "")
    figures.add("b", sides[1].name, "")
    figures.add("paired", found.paired, "")
    figures.add("seconds", min(found.slices), "s")
    for row in found.rows:
        figures.add(f"{row.name}.a", row.a, row.unit)
        figures.add(f"{row.name}.b", row.b, row.unit)
        what = "difference" if row.name == "failures" else "ratio"
        figures.add(f"{row.name}.{what}", row.ratio, "")
        figures.add(f"{row.name}.low", row.low, "")
        figures.add(f"{row.name}.high", row.high, "")
        figures.add(f"{row.name}.p", row.p, "")
        figures.add(f"{row.name}.verdict", row.words, "")
    worse = sum(row.worse for row in found.rows)
    figures.add("worse", worse, "answers", at_most=0, unknown=found.too_short)
    figures.add("too_short", sum(row.open for row in found.rows), "answers")


if __name__ == "__main__":
    sys.exit(main())
