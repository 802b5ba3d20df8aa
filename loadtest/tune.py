"""Finds batching parameters: those with which a server carries most within its objectives.

    python -m loadtest.tune [--p99-ms 100] [--batch-sizes 8,32] [--timeouts-us 0,2000] …

Starts a server for each combination, and one without batching, as `make serve` does, and searches
each one's knee; the best, and the one without, are searched again, longer and in another order.
Then the best with batching and the one without stand side by side and are loaded in turns, at a
rate between their knees: batching is recommended only where it is surely better there. Takes the
flags of loadtest.run that say what is sent: tune with the requests that will come. Takes
minutes a combination.

Leaves build/batching.config where batching is recommended, with its evidence in it (copy it beside
models.config and start the server again), build/tune.html (self-contained) and build/tune.json.
Exit code 0: there is a recommendation; 1: no combination holds the objectives, or it was broken
off; 2: a mistake in the command.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import random
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import tqdm

from foundation import files
from foundation.command_line import InputError, Parser, configure_logging, run
from foundation.figures import BUILD_DIR, Figures
from loadtest import knee
from loadtest.loops.measuring import Measuring
from loadtest.plan.flags import parse
from loadtest.plan.settings import Settings
from loadtest.report import tune_page
from loadtest.results.taken import INTERRUPTED
from loadtest.tuning import candidates, in_turns, recommendation, servers
from loadtest.tuning.candidates import OFF, Candidate
from loadtest.tuning.in_turns import InTurns
from loadtest.tuning.recommendation import Tried
from loadtest.verdicts.knee_search import Limits, LostError
from loadtest.verdicts.objectives import Objectives

NAME: Final = "tune"

FIRST: Final = Limits(width=0.3, most=14)
"""Enough to leave out what is far behind."""

LAST: Final = Limits(width=0.1, most=30)

log = logging.getLogger("loadtest")


def main(argv: Sequence[str] | None = None) -> int:
    """Tunes once."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = Parser(
        prog="loadtest.tune",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,  # what is loadtest.run's is read by loadtest.run's parser
    )
    add, numbers = parser.add_argument, "N,N,…"
    add("--p99-ms", type=float, help=f"the objective, without --objectives ({knee.P99_MS:g})")
    add("--batch-sizes", default="8,32", metavar=numbers, help="max_batch_size (%(default)s)")
    add("--timeouts-us", default="0,2000", metavar=numbers, help="batch_timeout (%(default)s)")
    usual = ",".join(map(str, candidates.usual_threads()))
    add("--threads", default=usual, metavar=numbers, help="num_batch_threads (%(default)s)")
    add("--seconds-each", type=float, default=4.0, help="measurement (%(default)g)")
    add("--most", type=int, default=LAST.most, help="measurements of a last search (%(default)s)")
    add("--server", choices=("auto", "container", "local"), default="auto")
    add("--models", type=Path, default=Path("models"), help="the store (%(default)s)")
    add("--config", type=Path, default=Path("serving/models.config"), help="(%(default)s)")
    args, rest = parser.parse_known_args(arguments)
    configure_logging()
    command = shlex.join(["python", "-m", "loadtest.tune", *arguments])
    return run("loadtest.tune", lambda: _tune(args, parse(rest), command))


def _tune(args: argparse.Namespace, settings: Settings, command: str) -> int:
    objectives = knee.objectives_of(args.p99_ms, settings)
    grid = candidates.grid(
        _numbers("--batch-sizes", args.batch_sizes),
        _numbers("--timeouts-us", args.timeouts_us),
        _numbers("--threads", args.threads),
    )
    last = dataclasses.replace(LAST, most=args.most)
    knee.check(settings, last, args.seconds_each)
    if not args.config.is_file() or not args.models.is_dir():
        raise InputError(
            f"Expected a store and a models.config. Received: {args.models}, {args.config}"
        )
    largest = max(int(size) for size in settings.mix.batches)
    if refused := [one.name for one in grid if (one.max_batch_size or largest) < largest]:
        raise InputError(
            f"Expected batches that a request of {largest} images fits into. "
            f"Received: {'; '.join(refused)}"
        )
    figures = Figures(NAME, command)
    BUILD_DIR.mkdir(exist_ok=True)
    tried: list[Tried] = []
    turns: InTurns | None = None
    broken = ""
    try:
        order = random.Random(settings.seed)
        for one in _progress(order.sample(grid, len(grid)), "first look"):
            # What was tried is kept, whatever comes next.
            tried.append(_try(one, args, settings, objectives, FIRST, last=False))  # noqa: PERF401
        again = recommendation.finalists(tried)
        for one in _progress(order.sample(again, len(again)), "last look"):
            tried.append(_try(one, args, settings, objectives, last, last=True))  # noqa: PERF401
        if rivals := recommendation.rivals(tried):
            turns = _in_turns(*rivals, args, settings, objectives)
    except KeyboardInterrupt:
        broken = INTERRUPTED
    except InputError as error:
        if not tried:
            raise
        broken = str(error)
    return _report(tried, turns, broken, objectives, settings, figures, command)


def _report(
    tried: Sequence[Tried],
    turns: InTurns | None,
    broken: str,
    objectives: Objectives,
    settings: Settings,
    figures: Figures,
    command: str,
) -> int:
    chosen = None if broken else recommendation.choose(tried, turns)
    verdict = f"partial: {broken}" if broken else recommendation.words(chosen, tried, turns)
    target = BUILD_DIR / "batching.config"
    target.unlink(missing_ok=True)
    if chosen is not None and chosen.candidate != OFF:
        evidence = recommendation.evidence(chosen, tried, turns, objectives, settings, command)
        files.write(target, chosen.candidate.text(evidence))
    page = BUILD_DIR / f"{NAME}.html"
    tune_page.write(
        page,
        verdict=verdict,
        tried=tried,
        turns=turns,
        chosen=chosen,
        objectives=objectives,
        command=command,
    )
    for one in tried:
        of = f"{'last' if one.last else 'first'}.{one.candidate.name}"
        figures.add(f"{of}.knee", one.found.knee.rate, "requests/s")
        figures.add(f"{of}.low", one.found.knee.low, "requests/s")
        figures.add(f"{of}.high", one.found.knee.high, "requests/s")
    if turns is not None:
        figures.add("in_turns.rate", turns.rate, "requests/s")
        figures.add("in_turns.pairs", len(turns.pairs), "pairs")
        figures.add("in_turns.better", turns.better, "pairs")
        figures.add("in_turns.chance", turns.chance, "")
    figures.add("recommended", chosen.candidate.name if chosen else None, "")
    figures.add("found", chosen is not None, "", at_least=1)
    code = figures.write()
    print(page)
    if target.exists():
        print(target)
    print(verdict)
    return 130 if broken == INTERRUPTED else code


def _try(
    candidate: Candidate,
    args: argparse.Namespace,
    settings: Settings,
    objectives: Objectives,
    limits: Limits,
    *,
    last: bool,
) -> Tried:
    """Starts a server, and searches its knee.

    Raises:
        InputError: it does not start, or is lost.
        KeyboardInterrupt: Ctrl-C.
    """
    with _serving(candidate, args) as started:
        asked = dataclasses.replace(settings, target=started.grpc)
        found = knee.find(asked, objectives, limits, seconds_each=args.seconds_each, brief=not last)
    if found.knee.interrupted:
        raise KeyboardInterrupt
    if not found.knee.complete:
        raise InputError(f"{candidate.name}: {found.knee.why}")
    log.info("%s: %s", candidate.name, found.knee.words)
    return Tried(candidate=candidate, found=found, last=last)


def _in_turns(
    best: Tried,
    off: Tried,
    args: argparse.Namespace,
    settings: Settings,
    objectives: Objectives,
) -> InTurns:
    """Starts both servers side by side, and loads them in turns. Raises as `_try`."""
    rate = in_turns.middle((best.order, off.order))
    log.info("%s beside no batching, in turns at %.4g requests/s", best.candidate.name, rate)
    with contextlib.ExitStack() as stack:

        def measuring(candidate: Candidate) -> Measuring:
            started = stack.enter_context(_serving(candidate, args))
            asked = dataclasses.replace(settings, target=started.grpc)
            return stack.enter_context(Measuring(asked, objectives, seconds_each=args.seconds_each))

        first, second = measuring(best.candidate), measuring(off.candidate)
        try:
            found = in_turns.compare(first, second, objectives, rate, seed=settings.seed)
        except LostError as lost:
            raise InputError(str(lost)) from lost
    log.info("%s", found.words)
    return found


@contextlib.contextmanager
def _serving(candidate: Candidate, args: argparse.Namespace) -> Iterator[servers.Started]:
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.serving(
            candidate,
            config=args.config,
            models=args.models,
            server=args.server,
            folder=Path(folder),
        ) as started,
    ):
        yield started


def _numbers(flag: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"Expected {flag} as numbers N,N,N. Received: {text!r}") from None


def _progress(what: Sequence[Candidate], words: str) -> Iterable[Candidate]:
    shown: Iterable[Candidate] = tqdm.tqdm(what, desc=words, unit="server", disable=None)
    return shown


if __name__ == "__main__":
    sys.exit(main())
