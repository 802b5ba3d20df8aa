"""Tells whether B differs from A, at p50, p95, p99, in throughput and failures, with confidence.

    python -m loadtest.compare A B                                two runs: folders or recordings
    python -m loadtest.compare --labels stable,canary --rate 100 --duration-s 60 …
                                                                  one load on both, then compared
    python -m loadtest.compare --labels stable,canary --within build/loadtest-recording.json

The second sends every request to one of two labels, at random: both have the same seconds, and what
the machine did then falls out of their difference. Takes loadtest.run's flags. Two runs one after
the other had each its own weather, so that small differences between them mean nothing.

Leaves build/loadtest-compare.html (self-contained) and build/loadtest-compare.json (the figures),
and after a load of its own build/loadtest-compare-recording.json. Costs the load, and some seconds.
Exit code 0: B is not worse by what matters, as far as can be seen; 1: it is; 2: a mistake in the
command, or runs that cannot be compared.
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

from foundation.command_line import InputError, Parser, configure_logging, run
from foundation.figures import BUILD_DIR, Figures
from loadtest.loops import running
from loadtest.plan.flags import parse
from loadtest.plan.settings import CLOSED, Settings
from loadtest.report import compare_page
from loadtest.results import run_file
from loadtest.results.run_file import RunFile
from loadtest.results.taken import INTERRUPTED
from loadtest.verdicts import comparison
from loadtest.verdicts.comparison import LEAST, Comparison, Slices

NAME: Final = "loadtest-compare"

OF_THE_SIDES: Final = ("target", "label", "seed", "duration_s", "answers", "objectives")
"""Settings that may differ without a word: they are what is compared, or change no latency."""

log = logging.getLogger("loadtest")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """A or B."""

    name: str
    run: RunFile
    label: str | None
    """Only what asked for it; None: all of the run."""

    @property
    def slices(self) -> Slices:
        """Cut into seconds."""
        return comparison.slices(self.run.recording, label=self.label)


def main(argv: Sequence[str] | None = None) -> int:
    """Compares once."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = Parser(
        prog="loadtest.compare",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,  # what is loadtest.run's is read by loadtest.run's parser
    )
    add = parser.add_argument
    labels = any(word.partition("=")[0] == "--labels" for word in arguments)
    if not labels:  # what loadtest.run takes may follow --labels, and argparse would mix them up
        add("runs", nargs="*", type=Path, metavar="RUN", help="A and B: a recording each")
    add("--labels", metavar="A,B", help="two labels of one load")
    add("--within", type=Path, metavar="RUN", help="the load; without it, one is run")
    add("--least", type=float, default=LEAST, help="a share that matters (%(default)g)")
    add("--anyway", action="store_true", help="compare what was not loaded alike")
    parser.set_defaults(runs=[])
    args, rest = parser.parse_known_args(arguments)
    configure_logging()
    command = shlex.join(["python", "-m", "loadtest.compare", *arguments])
    return run("loadtest.compare", lambda: _compare(args, rest, command))


def _compare(args: argparse.Namespace, rest: Sequence[str], command: str) -> int:
    if not 0 < args.least < 1:
        raise InputError(f"Expected --least between 0 and 1. Received: {args.least:g}")
    figures = Figures(NAME, command)
    BUILD_DIR.mkdir(exist_ok=True)
    sides = _sides(args, rest, command)
    paired = args.labels is not None
    notes = _notes(*sides, paired=paired, anyway=args.anyway)
    try:
        found = comparison.compare(
            *(side.slices for side in sides),
            paired=paired,
            throughput=sides[0].run.loop == CLOSED and not paired,
            least=args.least,
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    for note in notes:
        log.warning("%s", note)
    page = BUILD_DIR / f"{NAME}.html"
    compare_page.write(page, found=found, sides=sides, notes=notes, command=command)
    _add(figures, found, sides)
    code = figures.write()
    print(page)
    print(f"{sides[1].name} (B) against {sides[0].name} (A): {found.words}")
    return code


def _sides(args: argparse.Namespace, rest: Sequence[str], command: str) -> tuple[Side, Side]:
    if args.labels is None:
        if len(args.runs) != 2 or args.within is not None or rest:
            raise InputError(
                "Expected two runs (A and B, each a loadtest-recording.json), or --labels A,B. "
                f"Received: {len(args.runs)} runs{' and ' + ' '.join(rest) if rest else ''}"
            )
        a, b = (
            Side(name=name, run=run_file.read(path), label=None)
            for name, path in zip(_names(*args.runs), args.runs)
        )
        return a, b
    labels = [label.strip() for label in args.labels.split(",")]
    if len(set(labels)) != 2 or not all(labels):
        raise InputError(
            f"Expected --labels A,B, two labels of one load. Received: {args.labels!r}"
        )
    if args.within is not None:
        if rest:
            raise InputError(f"Expected no flags beside --within. Received: {' '.join(rest)}")
        taken = run_file.read(args.within)
    else:
        taken = _load(rest, labels, command)
    known = {series.label for series, _ in taken.recording.series}
    if missing := [label for label in labels if label not in known]:
        raise InputError(
            f"Expected requests to {' and '.join(labels)} in the run. "
            f"Received: none to {' and '.join(missing)}"
        )
    a, b = (Side(name=label, run=taken, label=label) for label in labels)
    return a, b


def _names(a: Path, b: Path) -> tuple[str, str]:
    """What tells two paths apart."""
    names = [str(path.parent) if path.suffix else str(path) for path in (a, b)]
    return (names[0], names[1]) if len(set(names)) == 2 else (str(a), str(b))


def _load(rest: Sequence[str], labels: Sequence[str], command: str) -> RunFile:
    """One load, whose requests go to one label or the other."""
    settings = dataclasses.replace(parse(rest), label=",".join(labels))
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


def _notes(a: Side, b: Side, *, paired: bool, anyway: bool) -> list[str]:
    """What is to be known before the answers.

    Raises:
        InputError: they were not loaded alike, and nobody said --anyway.
    """
    notes = []
    for side in (a,) if paired else (a, b):
        whose = "the load" if paired else side.name
        notes += [f"{whose} is partial: {words}" for words in side.run.partial]
        if side.run.generator.limited:
            notes.append(f"{whose} was {side.run.generator.limited}")
        if side.run.events:
            notes.append(f"the servers of {whose} were changed in the middle of it")
    if paired:
        return notes
    if a.run.loop != b.run.loop:
        _unlike(f"one is a closed loop, the other an open one ({a.run.loop}, {b.run.loop})", anyway)
    keys = {*a.run.settings, *b.run.settings} - {*OF_THE_SIDES}
    differing = {
        key: (a.run.settings.get(key), b.run.settings.get(key))
        for key in sorted(keys)
        if a.run.settings.get(key) != b.run.settings.get(key)
        and not key.startswith("version of ")
        and key != "metrics"
    }
    for key, values in differing.items():
        words = f"{key} is {values[0]} in A and {values[1]} in B"
        if key in ("rate", "users", "shape", "trace", "batch", "signature"):
            _unlike(words, anyway)
        notes.append(words)
    if a.run.machine != b.run.machine:
        notes.append("A and B were loaded from different machines or systems")
    if a.run.versions == b.run.versions and a.run.settings.get("target") == b.run.settings.get(
        "target"
    ):
        notes.append(f"both runs began with the same versions, {dict(a.run.versions)}")
    return notes


def _unlike(words: str, anyway: bool) -> None:
    if not anyway:
        raise InputError(
            f"Expected runs that were loaded alike. Received: {words}; --anyway compares them"
        )


def _add(figures: Figures, found: Comparison, sides: tuple[Side, Side]) -> None:
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
    figures.add("worse", sum(row.worse for row in found.rows), "answers", at_most=0)


if __name__ == "__main__":
    sys.exit(main())
