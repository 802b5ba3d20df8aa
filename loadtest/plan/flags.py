"""The settings of a load test as flags of the command line; `Settings.check` judges them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from foundation.command_line import Parser
from loadtest.plan.settings import CLOSED_DURATION_S, USERS, Settings
from loadtest.traffic import arrivals
from loadtest.traffic.workload import FORMATS, SIGNATURES
from tfs_client import contract
from tfs_client.flags import add_connection_flags

COMMAND: Final = "python -m loadtest.run"


def parse(arguments: Sequence[str], beside: Parser | None = None) -> Settings:
    """Reads a command line; ends the process with exit code 2 where it cannot be read.

    Args:
        arguments: the flags of loadtest.run.
        beside: the parser of the command that takes them beside its own.
    """
    fields = {field.name: field.default for field in dataclasses.fields(Settings)}
    fields.pop("connection")
    parser = _parser(COMMAND if beside is None else beside.prog)
    parser.set_defaults(**{**fields, "at": None})
    ours = set(fields)
    add_connection_flags(parser)
    values = vars(parser.parse_args(arguments, beside=beside))
    connection = {name: value for name, value in values.items() if name not in ours}
    if values["metrics"] is not None:
        values["metrics"] = tuple(values["metrics"])
    values["at"] = tuple(values["at"] or ())
    return Settings(
        **{name: values[name] for name in ours},
        connection=connection if any(connection.values()) else {},
    )


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        description="Load a running model server; leaves build/loadtest.html (a page), "
        "build/loadtest.json (figures), build/loadtest-recording.json (histograms) and "
        "build/loadtest-samples.csv (every request). Closed loop with --users, open loop with "
        "--rate or --trace. Exit code 0: all answers were right; 1: some were not; 2: no server, "
        "or a mistake in the command.",
    )
    _add_what_is_asked(parser)
    _add_loops(parser)
    _add_run(parser)
    return parser


def _add_what_is_asked(parser: Parser) -> None:
    """Who is asked, and for what."""
    add = parser.add_argument
    add("--target", help="host:port of the server's gRPC port (default: %(default)s)")
    add("--model", help="name of the model (default: %(default)s)")
    weights = "NAME[=WEIGHT,…]"
    add("--label", metavar=weights, help="versions to ask (default: %(default)s)")
    add(
        "--signature",
        metavar=weights,
        help=f"of {', '.join(SIGNATURES)}: files or pixels (default: %(default)s)",
    )
    add("--batch", metavar=weights, help="images in a request (default: %(default)s)")
    add("--format", metavar=weights, help=f"of {', '.join(FORMATS)} (default: %(default)s)")
    add("--size", metavar=weights, help="pixels of the longer side (default: %(default)s)")


def _add_loops(parser: Parser) -> None:
    """How requests are sent: in a closed loop, or in an open one."""
    add = parser.add_argument
    add("--users", type=int, help=f"closed loop: how many ask at once (default: {USERS})")
    add("--api", help="closed loop: grpc or rest; --target is its port (default: %(default)s)")
    add(
        "--think-time",
        metavar="SECONDS",
        help="closed loop: between an answer and the next request: 0.5, 0.2-1 or exp:0.5 (default: "
        "%(default)s)",
    )
    add("--rate", type=float, help="open loop: requests a second; stretches a trace to it")
    shapes = "; ".join(f"{name}: {words}" for name, (_, _, words) in arrivals.SHAPES.items())
    add("--shape", metavar="SHAPE", help=f"open loop: {shapes} (default: steady)")
    add("--trace", type=Path, metavar="CSV", help="open loop: seconds of recorded arrivals")
    add("--workers", type=int, help="processes that send (default: %(default)s)")
    add(
        "--remote-workers",
        type=int,
        metavar="N",
        help="closed loop: wait for so many Locust workers of other machines, which send instead",
    )
    add("--in-flight", type=int, help="at most so many at once, a worker (default: %(default)s)")


def _add_run(parser: Parser) -> None:
    """How long, with which images, and what else happens."""
    add = parser.add_argument
    usual = ", ".join(f"{name} {usual:g}" for name, (_, usual, _) in arrivals.SHAPES.items())
    add("--duration-s", type=float, help=f"seconds (default: {CLOSED_DURATION_S:g}; {usual})")
    add("--timeout-s", type=float, help="deadline of each request, seconds (default: %(default)g)")
    add("--images", type=Path, metavar="FOLDER", help="images to send (default: the sample set)")
    add("--answers", type=Path, metavar="CSV", help="right answers: a run's predictions.csv")
    add("--seed", type=int, help="of every choice (default: %(default)s)")
    add(
        "--metrics",
        action="append",
        metavar="HOST:PORT",
        help="a server's REST port, whose metrics page tells where the time goes; once a server "
        f"(default: {contract.REST_PORT} beside --target's {contract.GRPC_PORT}, if it tells)",
    )
    add(
        "--at",
        action="append",
        metavar='"SECOND:COMMAND"',
        help="run a command in the middle of the load, and show what it cost; may be repeated",
    )
    add(
        "--objectives",
        type=Path,
        metavar="JSON",
        help="hold the run against limits: exit code 0 only where all are met",
    )
