"""Finds the knee: the highest rate at which a running model server holds its objectives.

    python -m loadtest.knee [--p99-ms 100] [--target localhost:8500] [--label stable] …
    python -m loadtest.knee --objectives loadtest/objectives.json

Doubles the rate until the objectives are missed, then measures around the place where they begin to
be, again and again, until the interval is narrow enough: minutes, at eight seconds a measurement.
Takes the flags of loadtest.run that say who is asked and for what. With a requests_per_s in the
objectives it is a gate: 0 only where all of the interval is above it.

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
from collections.abc import Sequence
from typing import Final

from foundation.command_line import InputError, Parser, configure_logging, run
from foundation.figures import BUILD_DIR, Figures, git_commit, machine, write_json
from loadtest.loops import running
from loadtest.loops.measuring import Measuring
from loadtest.plan.flags import parse
from loadtest.plan.settings import Settings
from loadtest.report import knee_page
from loadtest.results.point import Point
from loadtest.verdicts import knee_search
from loadtest.verdicts.knee_search import Knee, Limits
from loadtest.verdicts.objectives import Objectives

NAME: Final = "loadtest-knee"

FORMAT: Final = "loadtest-knee/1"

P99_MS: Final = 100.0

SECONDS_EACH: Final = 8.0

log = logging.getLogger("loadtest")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to."""

    knee: Knee
    points: tuple[Point, ...]
    """All measurements, in order of time."""
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    """Searches once."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = Parser(
        prog="loadtest.knee",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,  # what is loadtest.run's is read by loadtest.run's parser
    )
    add, usual = parser.add_argument, Limits()
    add("--p99-ms", type=float, help=f"the objective, without --objectives ({P99_MS:g})")
    add("--lowest", type=float, default=usual.lowest, help="requests/s to begin with (%(default)g)")
    add("--highest", type=float, default=usual.highest, help="requests/s to end at (%(default)g)")
    add("--width", type=float, default=usual.width, help="of the interval, a share (%(default)g)")
    add("--most", type=int, default=usual.most, help="measurements (%(default)s)")
    add("--seconds-each", type=float, default=SECONDS_EACH, help="measurement (%(default)g)")
    add("--seconds", type=float, default=math.inf, help="in all (no end)")
    args, rest = parser.parse_known_args(arguments)
    configure_logging()
    command = shlex.join(["python", "-m", "loadtest.knee", *arguments])
    return run("loadtest.knee", lambda: _knee(args, parse(rest), command))


def find(
    settings: Settings,
    objectives: Objectives,
    limits: Limits,
    *,
    seconds_each: float = SECONDS_EACH,
    brief: bool = False,
) -> Found:
    """Searches the knee of a running server.

    Args:
        settings: checked; rate, shape, duration, users and objectives are ignored.
        objectives: what a rate has to hold.
        limits: how far to go.
        seconds_each: of one measurement.
        brief: whether to look only, where a rough knee is enough.

    Raises:
        InputError: no server, or nothing to send.
    """
    with Measuring(settings, objectives, seconds_each=seconds_each) as measuring:
        measure = measuring.look if brief else measuring.measure
        knee = knee_search.search(measure, limits, measuring.clock, look=measuring.look)
        return Found(knee=knee, points=tuple(measuring.points), seconds=measuring.clock())


def _knee(args: argparse.Namespace, settings: Settings, command: str) -> int:
    objectives = objectives_of(args.p99_ms, settings)
    limits = Limits(
        lowest=args.lowest,
        highest=args.highest,
        width=args.width,
        most=args.most,
        seconds=args.seconds,
    )
    check(settings, limits, args.seconds_each)
    versions = running.check_server(settings)
    wanted = ", ".join(f"{name} {limit:g}" for name, limit in objectives.limits.items())
    log.info("objectives: %s (%s)", wanted, objectives.source)
    log.info("target=%s versions=%s %s", settings.target, versions, limits)
    figures = Figures(NAME, command)
    BUILD_DIR.mkdir(exist_ok=True)
    found = find(settings, objectives, limits, seconds_each=args.seconds_each)
    verdict = _verdict(found, objectives, limits.width)
    content = {
        "format": FORMAT,
        "command": command,
        "commit": git_commit(),
        "machine": machine(),
        "versions": versions,
        "objectives": dict(objectives.limits),
        "knee": dataclasses.asdict(found.knee),
        "measurements": [point.as_json() for point in found.points],
    }
    write_json(BUILD_DIR / f"{NAME}-measurements.json", content)
    page = BUILD_DIR / f"{NAME}.html"
    knee_page.write(
        page,
        verdict=verdict,
        knee=found.knee,
        points=found.points,
        objectives=objectives,
        settings={"target": settings.target, "versions": versions, "command": command},
    )
    _add(figures, found, objectives)
    code = figures.write()
    print(page)
    print(verdict)
    return 130 if found.knee.interrupted else code


def objectives_of(p99_ms: float | None, settings: Settings) -> Objectives:
    """What a rate has to hold: the settings' file, or a p99.

    Raises:
        InputError: both, or a p99 that cannot be.
    """
    given = settings.gate
    if given is None:
        p99_ms = P99_MS if p99_ms is None else p99_ms
        if not 0 < p99_ms < math.inf:
            raise InputError(f"Expected --p99-ms above 0. Received: {p99_ms:g}")
        return Objectives(limits={"p99_ms": p99_ms, "error_rate": 0.001}, source="--p99-ms")
    if p99_ms is not None:
        raise InputError("Expected --p99-ms or --objectives. Received: both; leave one out")
    return given


def check(settings: Settings, limits: Limits, seconds_each: float) -> None:
    """Refuses what no search can do.

    Raises:
        InputError: naming the first one.
    """
    for flag in ("rate", "users", "shape", "trace", "duration_s"):
        if getattr(settings, flag) is not None:
            raise InputError(
                f"Expected no --{flag.replace('_', '-')}, for the search chooses the rates. "
                f"Received: {getattr(settings, flag)}"
            )
    if settings.at:
        raise InputError("Expected no --at: a knee is that of a server left alone. Received: one")
    for flag, value in (("lowest", limits.lowest), ("width", limits.width), ("most", limits.most)):
        if not 0 < value < math.inf:
            raise InputError(f"Expected --{flag} above 0. Received: {value:g}")
    if not limits.lowest < limits.highest < math.inf:
        raise InputError(
            f"Expected --highest above --lowest, {limits.lowest:g}. Received: {limits.highest:g}"
        )
    if not 1 <= seconds_each < math.inf or not limits.seconds > 0:
        raise InputError(
            "Expected --seconds-each of 1 or more, and --seconds above 0. "
            f"Received: {seconds_each:g} and {limits.seconds:g}"
        )
    lowest = dataclasses.replace(
        settings, rate=limits.lowest, duration_s=seconds_each, objectives=None
    )
    lowest.check()


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
    if knee.low >= wanted:
        return f"objectives met, {wanted:g} requests/s wanted; {words}"
    if knee.high is not None and knee.high < wanted:
        return f"objectives missed, {wanted:g} requests/s wanted; {words}"
    return f"no verdict, {wanted:g} requests/s wanted; {words}"


def _add(figures: Figures, found: Found, objectives: Objectives) -> None:
    knee = found.knee
    figures.add("knee", knee.rate, "requests/s")
    wanted = objectives.limits.get("requests_per_s")
    figures.add("knee.low", knee.low, "requests/s", at_least=wanted)
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
