"""The verb itself: looks once, or again and again until Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from dataclasses import dataclass
from time import sleep
from typing import TYPE_CHECKING, Any, Final

from foundation.command_line import InputError, explained, say
from serving.fleet.fleet import Fleet
from serving.rollout.where import Where

# What looks is imported where it looks: a rollback must not wait for it.
if TYPE_CHECKING:
    from serving.rollout.status.looking import Status

_log = logging.getLogger("serving.rollout")

PROMETHEUS: Final = "http://localhost:9090"
"""Where a compose stack has it, and a `kubectl port-forward` puts it."""

WINDOW_S: Final = 300
"""Seconds of traffic to look back."""

SHORTEST_S: Final = 60
LONGEST_S: Final = 31 * 86400

_EVERY_S: Final = 5.0

_CLEAR: Final = "\x1b[2J\x1b[H"
"""Empties a terminal and goes to its first line."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What status is told."""

    as_json: bool = False
    prometheus: str = ""
    """The one to ask about the traffic; empty where it is not asked for."""
    window_s: int = WINDOW_S
    every_s: float | None = None
    """Seconds between two looks; None looks once."""


def add_flags(verb: Any) -> None:
    """Adds --traffic and --watch, with the flags that belong to them."""
    group = verb.add_argument_group("traffic")
    group.add_argument(
        "--traffic",
        action="store_true",
        help="share, errors and latency by version, as a Prometheus has them",
    )
    group.add_argument("--prometheus", metavar="URL", help=f"its address (default: {PROMETHEUS})")
    group.add_argument(
        "--window-s",
        type=int,
        metavar="SECONDS",
        help=f"how far it looks back (default: {WINDOW_S})",
    )
    group = verb.add_argument_group("again and again")
    group.add_argument("--watch", action="store_true", help="look again until Ctrl-C")
    group.add_argument(
        "--every-s",
        type=float,
        metavar="SECONDS",
        help=f"between two looks (default: {_EVERY_S:g})",
    )


def request(arguments: argparse.Namespace) -> Request:
    """What the flags say.

    Raises:
        InputError: flags without the one that they belong to, or values that make no sense.
    """
    for flag, needed in (("prometheus", "traffic"), ("window_s", "traffic"), ("every_s", "watch")):
        if getattr(arguments, flag) is not None and not getattr(arguments, needed):
            typed = flag.replace("_", "-")
            raise InputError(f"Expected --{needed} with --{typed}. Received: --{typed} alone.")
    window_s = WINDOW_S if arguments.window_s is None else arguments.window_s
    if not SHORTEST_S <= window_s <= LONGEST_S:
        raise InputError(
            f"Expected --window-s from {SHORTEST_S} (four scrapes of 15 s) to "
            f"{LONGEST_S}. Received: {window_s}."
        )
    every_s = _EVERY_S if arguments.every_s is None else arguments.every_s
    if not (math.isfinite(every_s) and 0 < every_s <= LONGEST_S):
        raise InputError(f"Expected --every-s above 0, and finite. Received: {every_s:g}.")
    url = ""
    if arguments.traffic:
        from serving.rollout.status import prometheus

        given = PROMETHEUS if arguments.prometheus is None else arguments.prometheus
        url = prometheus.checked(given)
    return Request(
        as_json=arguments.json,
        prometheus=url,
        window_s=window_s,
        every_s=every_s if arguments.watch else None,
    )


def status(where: Where, asked: Request) -> int:
    """Shows it.

    Returns:
        0 where every server serves what the file says, and the traffic was found if asked for.
    """
    from serving.rollout.status import shown

    with where.fleet() as fleet:
        if asked.every_s is None:
            found = _look(where, fleet, asked)
            say(shown.as_json_text(found) if asked.as_json else shown.as_text(found))
            known = found.traffic is None or not found.traffic.error
            return 0 if found.agrees and known else 1
        found = _look(where, fleet, asked)  # where nothing can be read at all, it ends here
        trouble = ""
        while True:
            _show(found, asked, asked.every_s, trouble)
            sleep(asked.every_s)
            try:
                found, trouble = _look(where, fleet, asked), ""
            except (InputError, OSError) as error:
                trouble = explained(error) or str(error)  # it may be readable at the next look


def _look(where: Where, fleet: Fleet, asked: Request) -> Status:
    from serving.rollout.status import looking

    return looking.look(where, fleet, prometheus=asked.prometheus, window_s=asked.window_s)


def _show(found: Status, asked: Request, every_s: float, trouble: str) -> None:
    """Prints one look of many; where it could not be made, the one before, and why."""
    from serving.rollout.status import shown

    if asked.as_json:
        if trouble:
            _log.warning("%s", trouble)
        else:
            say(shown.as_json_text(found, in_one_line=True))
        return
    if sys.stdout.isatty():
        sys.stdout.write(_CLEAR)
    head = f"seen at {found.time}, every {every_s:g} s until Ctrl-C"
    if trouble:
        head = f"NOT SEEN NOW: {trouble}\nwhat was {head}"
    say(f"{head}\n{shown.as_text(found)}\n")
