"""Finds the knee: the highest rate at which a running model server holds its objectives.

    python -m loadtest.knee [--p99-ms 100] [--target localhost:8500] [--label stable] …
    python -m loadtest.knee --objectives loadtest/objectives.json

Doubles the rate until the objectives are missed, then measures around that rate until the interval
is narrow enough. Takes minutes, at eight seconds a measurement. Takes the flags of loadtest.run
that say who is asked and for what. With a requests_per_s in the objectives it is a gate: exit code
0 only where the whole interval is above it.

Leaves build/loadtest-knee.html (self-contained), build/loadtest-knee.json (the figures) and
build/loadtest-knee-measurements.json (every measurement, with its HdrHistograms). Exit code 0: a
knee, or a rate that it is above, was found; 1: the objectives cannot be met, or the search did not
finish; 2: no server, or a mistake in the command; 130: interrupted, and what there is was written.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from foundation.command_line import Parser, configure_logging, run, say
from foundation.figures import BUILD_DIR, Figures, git_commit, machine, write_json
from foundation.pages import page
from loadtest.loops import running, searching
from loadtest.loops.searching import Found
from loadtest.plan.flags import parse
from loadtest.plan.search import P99_MS, SECONDS_EACH, Search, objectives_of
from loadtest.report import knee_page
from loadtest.verdicts.knee_search import Knee, Limits
from loadtest.verdicts.objectives import Objectives

COMMAND: Final = "python -m loadtest.knee"

NAME: Final = "loadtest-knee"

FORMAT: Final = "loadtest-knee/1"

log = logging.getLogger("loadtest")


def main(argv: Sequence[str] | None = None) -> int:
    """Searches once."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    args, rest = _parser().parse_known_args(arguments)
    configure_logging()
    command = shlex.join([*COMMAND.split(), *arguments])
    return run(COMMAND, lambda: _knee(_search(args, rest), command))


def _parser() -> Parser:
    parser = Parser(
        prog=COMMAND,
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,  # loadtest.run's parser reads the flags that this one does not know
    )
    add, usual = parser.add_argument, Limits()
    add("--p99-ms", type=float, help=f"the objective, without --objectives ({P99_MS:g})")
    add("--lowest", type=float, default=usual.lowest, help="requests/s to begin with (%(default)g)")
    add("--highest", type=float, default=usual.highest, help="requests/s to end at (%(default)g)")
    add("--width", type=float, default=usual.width, help="of the interval, a share (%(default)g)")
    add("--most", type=int, default=usual.most, help="measurements (%(default)s)")
    add("--seconds-each", type=float, default=SECONDS_EACH, help="measurement (%(default)g)")
    add("--seconds", type=float, default=math.inf, help="in all (no end)")
    return parser


def _search(args: argparse.Namespace, rest: Sequence[str]) -> Search:
    """What was asked for, checked.

    Raises:
        InputError: it cannot be done.
    """
    settings = parse(rest, beside=_parser())
    search = Search(
        settings=settings,
        objectives=objectives_of(args.p99_ms, settings),
        limits=Limits(
            lowest=args.lowest,
            highest=args.highest,
            width=args.width,
            most=args.most,
            seconds=args.seconds,
        ),
        seconds_each=args.seconds_each,
    )
    search.check()
    return search


def _knee(search: Search, command: str) -> int:
    settings, objectives = search.settings, search.objectives
    versions = running.check_server(settings)
    wanted = ", ".join(f"{name} {limit:g}" for name, limit in objectives.limits.items())
    log.info("objectives: %s (%s)", wanted, objectives.source)
    log.info("target=%s versions=%s %s", settings.target, versions, search.limits)
    figures = Figures(NAME, command)
    BUILD_DIR.mkdir(exist_ok=True)
    found = searching.find(search)
    verdict = _verdict(found, objectives, search.limits.width)
    _keep(BUILD_DIR / f"{NAME}-measurements.json", found, objectives, versions, command)
    path = BUILD_DIR / f"{NAME}.html"
    knee_page.write(
        path,
        verdict=verdict,
        knee=found.knee,
        points=found.points,
        objectives=objectives,
        settings={"target": settings.target, "versions": versions},
        origin=page.origin(command, figures.started),
    )
    _add(figures, found, objectives)
    code = figures.write()
    print(path)
    say(verdict)
    return 130 if found.knee.interrupted else code


def _keep(
    path: Path, found: Found, objectives: Objectives, versions: Mapping[str, int], command: str
) -> None:
    """Writes every measurement, with its histograms."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "command": command,
        "commit": git_commit(),
        "machine": machine(),
        "versions": versions,
        "objectives": dict(objectives.limits),
        "knee": dataclasses.asdict(found.knee),
        "measurements": [point.as_json() for point in found.points],
    }
    write_json(path, content)


def _verdict(found: Found, objectives: Objectives, width: float) -> str:
    """In one line."""
    knee = found.knee
    limits = ", ".join(
        f"{name.removesuffix('_ms').replace('_', '.')} <= {limit:g} ms"
        for name, limit in objectives.limits.items()
        if name.endswith("_ms")
    )
    spent = f"{knee.measurements} measurements, {found.seconds:.0f} s"
    words = f"knee at {limits}: {knee.words}; {spent}"
    wide = knee.high is not None and knee.high > knee.low * (1 + width)
    if knee.rate is not None and knee.complete and wide:
        words += f"; {knee.why}"
    wanted = objectives.limits.get("requests_per_s")
    if wanted is None:
        return words
    if not knee.complete:
        return f"no verdict, {wanted:g} requests/s wanted, for the search is partial; {words}"
    if _unknown(knee, wanted):
        cure = f"a narrower --width than {width:g}, or more than --most measurements, may tell"
        return f"no verdict, {wanted:g} requests/s wanted; {words}; {cure}"
    if knee.low >= wanted:
        return f"objectives met, {wanted:g} requests/s wanted; {words}"
    return f"objectives missed, {wanted:g} requests/s wanted; {words}"


def _unknown(knee: Knee, wanted: float | None) -> bool:
    """Whether the interval does not tell that so many requests a second are held, nor that not."""
    if wanted is None:
        return False
    missed = knee.high is not None and knee.high < wanted
    return not knee.complete or not (missed or knee.low >= wanted)


def _add(figures: Figures, found: Found, objectives: Objectives) -> None:
    knee = found.knee
    figures.add("knee", knee.rate, "requests/s")
    wanted = objectives.limits.get("requests_per_s")
    figures.add("knee.low", knee.low, "requests/s", at_least=wanted, unknown=_unknown(knee, wanted))
    figures.add("knee.high", knee.high, "requests/s")
    figures.add("found", knee.low > 0, "", at_least=1)
    figures.add("finished", knee.complete, "", at_least=1)
    figures.add("why", knee.why, "")
    for name, limit in objectives.limits.items():
        figures.add(f"objective.{name}", limit, "")
    figures.add("measurements", knee.measurements, "")
    figures.add("limited", sum(bool(point.limited) for point in found.points), "measurements")
    figures.add("seconds", found.seconds, "s")


if __name__ == "__main__":
    sys.exit(main())
