"""Finds batching parameters: those with which a server carries most within its objectives.

    python -m loadtest.tune [--p99-ms 100] [--batch-sizes 8,32] [--timeouts-us 0,2000] …

Starts a server for each combination, and one without batching, as `make serve` does, and searches
the knee of each. The best ones, and the one without batching, are searched again, longer and in
another order. Then the best one with batching and the one without run side by side and are loaded
in turns, at a rate between their knees: batching is recommended only where it is surely better
there. Takes the flags of loadtest.run that say what is sent: give those of your real requests.
Takes minutes for each combination.

Leaves build/batching.config where batching is recommended, with its evidence in it (copy it beside
models.config and start the server again), build/tune.html (self-contained) and build/tune.json.
Exit code 0: there is a recommendation; 1: no combination holds the objectives, or the tuning was
broken off; 2: a mistake in the command; 130: interrupted, and what there is was written.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import random
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from foundation import files, progress
from foundation.command_line import InputError, Parser, configure_logging, run, say
from foundation.figures import BUILD_DIR, Figures
from foundation.pages import page
from loadtest.loops import searching
from loadtest.loops.measuring import Measuring
from loadtest.plan.flags import parse
from loadtest.plan.search import P99_MS, Search, objectives_of
from loadtest.plan.settings import Settings
from loadtest.report import tune_page
from loadtest.results.taken import INTERRUPTED
from loadtest.tuning import candidates, in_turns, recommendation, servers
from loadtest.tuning.candidates import OFF, Candidate
from loadtest.tuning.in_turns import InTurns
from loadtest.tuning.recommendation import Tried
from loadtest.tuning.servers import Deployment
from loadtest.verdicts.knee_search import Limits, LostError

COMMAND: Final = "python -m loadtest.tune"

NAME: Final = "tune"

FIRST: Final = Limits(width=0.3, most=14)
"""Enough to leave out what is far behind."""

LAST: Final = Limits(width=0.1, most=30)

log = logging.getLogger("loadtest")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
    """What is asked for."""

    search: Search
    """The last look at a candidate; a first look differs by its limits, FIRST."""
    grid: tuple[Candidate, ...]
    deployment: Deployment
    """What is served with each candidate's parameters."""


@dataclasses.dataclass(kw_only=True)
class Outcome:
    """What was seen; it grows while the command runs."""

    tried: list[Tried] = dataclasses.field(default_factory=list)
    turns: InTurns | None = None
    """The result of loading the rivals in turns, if they were."""
    broken: str = ""
    """Why the command was broken off; empty if it was not."""


def main(argv: Sequence[str] | None = None) -> int:
    """Tunes once."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    args, rest = _parser().parse_known_args(arguments)
    configure_logging()
    command = shlex.join([*COMMAND.split(), *arguments])
    return run(COMMAND, lambda: _tune(_tuning(args, parse(rest, beside=_parser())), command))


def _parser() -> Parser:
    parser = Parser(
        prog=COMMAND,
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,  # loadtest.run's parser reads the flags that this one does not know
    )
    add, numbers = parser.add_argument, "N,N,…"
    add("--p99-ms", type=float, help=f"the objective, without --objectives ({P99_MS:g})")
    add("--batch-sizes", default="8,32", metavar=numbers, help="max_batch_size (%(default)s)")
    add("--timeouts-us", default="0,2000", metavar=numbers, help="batch_timeout (%(default)s)")
    usual = ",".join(map(str, candidates.usual_threads()))
    add("--threads", default=usual, metavar=numbers, help="num_batch_threads (%(default)s)")
    add("--seconds-each", type=float, default=4.0, help="measurement (%(default)g)")
    add("--most", type=int, default=LAST.most, help="measurements of a last search (%(default)s)")
    add("--server", choices=("auto", "container", "local"), default="auto")
    add("--models", type=Path, default=Path("models"), help="the store (%(default)s)")
    add("--config", type=Path, default=Path("serving/models.config"), help="(%(default)s)")
    return parser


def _tuning(args: argparse.Namespace, settings: Settings) -> Tuning:
    """What was asked for, checked.

    Raises:
        InputError: it cannot be done.
    """
    tuning = Tuning(
        search=Search(
            settings=settings,
            objectives=objectives_of(args.p99_ms, settings),
            limits=dataclasses.replace(LAST, most=args.most),
            seconds_each=args.seconds_each,
        ),
        grid=candidates.grid(
            _numbers("--batch-sizes", args.batch_sizes),
            _numbers("--timeouts-us", args.timeouts_us),
            _numbers("--threads", args.threads),
        ),
        deployment=Deployment(config=args.config, models=args.models, server=args.server),
    )
    tuning.search.check()
    if not args.config.is_file() or not args.models.is_dir():
        raise InputError(
            f"Expected a store and a models.config. Received: {args.models}, {args.config}"
        )
    largest = max(int(size) for size in settings.mix.batches)
    if refused := [one.name for one in tuning.grid if (one.max_batch_size or largest) < largest]:
        raise InputError(
            f"Expected batches that a request of {largest} images fits into. "
            f"Received: {'; '.join(refused)}"
        )
    return tuning


def _tune(tuning: Tuning, command: str) -> int:
    figures = Figures(NAME, command)
    BUILD_DIR.mkdir(exist_ok=True)
    outcome = Outcome()
    try:
        _look(tuning, outcome)
    except KeyboardInterrupt:
        outcome.broken = INTERRUPTED
    except InputError as error:
        if not outcome.tried:
            raise
        outcome.broken = str(error)
    return _report(tuning, outcome, figures, command)


def _look(tuning: Tuning, outcome: Outcome) -> None:
    """Looks at all candidates, at the best again, and at the rivals in turns.

    What was seen stays in `outcome`, however this ends.

    Raises:
        InputError: a server does not start, or is lost.
        KeyboardInterrupt: Ctrl-C.
    """
    order = random.Random(tuning.search.settings.seed)
    for one in _progress(order.sample(tuning.grid, len(tuning.grid)), "first look"):
        outcome.tried.append(_try(one, tuning, last=False))
    again = recommendation.finalists(outcome.tried)
    for one in _progress(order.sample(again, len(again)), "last look"):
        outcome.tried.append(_try(one, tuning, last=True))
    if rivals := recommendation.rivals(outcome.tried):
        outcome.turns = _in_turns(*rivals, tuning)


def _report(tuning: Tuning, outcome: Outcome, figures: Figures, command: str) -> int:
    tried, turns, broken = outcome.tried, outcome.turns, outcome.broken
    chosen = None if broken else recommendation.choose(tried, turns)
    verdict = f"partial: {broken}" if broken else recommendation.words(chosen, tried, turns)
    target = BUILD_DIR / "batching.config"
    target.unlink(missing_ok=True)
    if chosen is not None and chosen.candidate != OFF:
        evidence = recommendation.evidence(
            chosen, tried, turns, tuning.search.objectives, tuning.search.settings, command
        )
        files.write(target, chosen.candidate.text(evidence))
    path = BUILD_DIR / f"{NAME}.html"
    tune_page.write(
        path,
        verdict=verdict,
        tried=tried,
        turns=turns,
        chosen=chosen,
        objectives=tuning.search.objectives,
        origin=page.origin(command, figures.started),
    )
    _add(figures, outcome, chosen)
    code = figures.write()
    print(path)
    if target.exists():
        print(target)
    say(verdict)
    return 130 if broken == INTERRUPTED else code


def _add(figures: Figures, outcome: Outcome, chosen: Tried | None) -> None:
    for one in outcome.tried:
        of = f"{'last' if one.last else 'first'}.{one.candidate.name}"
        figures.add(f"{of}.knee", one.found.knee.rate, "requests/s")
        figures.add(f"{of}.low", one.found.knee.low, "requests/s")
        figures.add(f"{of}.high", one.found.knee.high, "requests/s")
    turns = outcome.turns
    if turns is not None:
        figures.add("in_turns.rate", turns.rate, "requests/s")
        figures.add("in_turns.pairs", len(turns.pairs), "pairs")
        figures.add("in_turns.better", turns.better, "pairs")
        figures.add("in_turns.chance", turns.chance, "")
    figures.add("recommended", chosen.candidate.name if chosen else None, "")
    figures.add("found", chosen is not None, "", at_least=1)


def _try(candidate: Candidate, tuning: Tuning, *, last: bool) -> Tried:
    """Starts a server, and searches its knee.

    Raises:
        InputError: it does not start, or is lost.
        KeyboardInterrupt: Ctrl-C.
    """
    limits = tuning.search.limits if last else FIRST
    with servers.serving(candidate, tuning.deployment) as target:
        settings = dataclasses.replace(tuning.search.settings, target=target)
        search = dataclasses.replace(tuning.search, settings=settings, limits=limits)
        found = searching.find(search, brief=not last)
    if found.knee.interrupted:
        raise KeyboardInterrupt
    if not found.knee.complete:
        raise InputError(f"{candidate.name}: {found.knee.why}")
    log.info("%s: %s", candidate.name, found.knee.words)
    return Tried(candidate=candidate, found=found, last=last)


def _in_turns(best: Tried, off: Tried, tuning: Tuning) -> InTurns:
    """Starts both servers side by side, and loads them in turns. Raises as `_try`."""
    search, rate = tuning.search, in_turns.middle((best.order, off.order))
    log.info("%s beside no batching, in turns at %.4g requests/s", best.candidate.name, rate)
    with contextlib.ExitStack() as stack:

        def measuring(candidate: Candidate) -> Measuring:
            target = stack.enter_context(servers.serving(candidate, tuning.deployment))
            asked = dataclasses.replace(search.settings, target=target)
            return stack.enter_context(
                Measuring(asked, search.objectives, seconds_each=search.seconds_each)
            )

        first, second = measuring(best.candidate), measuring(off.candidate)
        try:
            found = in_turns.compare(
                first, second, search.objectives, rate, seed=search.settings.seed
            )
        except LostError as lost:
            raise InputError(str(lost)) from lost
    log.info("%s", found.words)
    return found


def _numbers(flag: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"Expected {flag} as numbers N,N,N. Received: {text!r}") from None


def _progress(what: Sequence[Candidate], words: str) -> Iterable[Candidate]:
    return progress.tracked(what, words, unit="servers", lines=False)  # each is logged


if __name__ == "__main__":
    sys.exit(main())
