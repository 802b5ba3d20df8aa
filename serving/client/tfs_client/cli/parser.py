"""The commands and their flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfs_client import contract
from tfs_client.cli import bench, shadow_report, verbs
from tfs_client.client import DEFAULT_TARGET, DEFAULT_TIMEOUT_S
from tfs_client.flags import add_connection_flags

_INPUTS_HELP = (
    "arrays by input name, in place of images: JSON such as '{\"x\": [1, 2]}', or a .json or .npz "
    "file"
)


def make_parser() -> argparse.ArgumentParser:
    """The parser; it sets `command` to the function of the chosen command."""
    parser = argparse.ArgumentParser(
        prog="tfs",
        description="Ask a model server. Exit code 0: all is well; 1: an image is not valid, or a "
        "call of bench failed; 2: no answer, or a mistake in the command.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], does: str) -> Any:
        verb = commands.add_parser(name, help=does, description=does)
        verb.set_defaults(command=command)
        verb.add_argument(
            "--target", default=DEFAULT_TARGET, help="host:port of gRPC (default: %(default)s)"
        )
        verb.add_argument(
            "--model", default=contract.MODEL_NAME, help="the model's name (default: %(default)s)"
        )
        verb.add_argument("--json", action="store_true", help="JSON in place of the table")
        add_connection_flags(verb)
        return verb

    verb = add("predict", verbs.predict, "Classify images; one line an image.")
    _add_images(verb)
    _add_version(verb)
    _add_timeout(verb, DEFAULT_TIMEOUT_S, "deadline of each request")
    _add_whole(verb, "--batch-size", 1, "images in one request")
    _add_whole(verb, "--concurrency", 1, "requests at once")

    verb = add("metadata", verbs.metadata, "Show the signatures of a version.")
    _add_version(verb)
    _add_timeout(verb, DEFAULT_TIMEOUT_S, "deadline of the request")

    verb = add("status", verbs.status, "Show the state of every version.")
    _add_timeout(verb, DEFAULT_TIMEOUT_S, "deadline of the request")

    verb = add("wait-ready", verbs.wait_ready, "Wait until a version can answer predictions.")
    _add_version(verb)
    _add_timeout(verb, 60.0, "how long to wait")

    verb = add(
        "bench",
        bench.bench,
        "Measure a server with one request after the other from each of several callers, for a "
        "while. Sends the images or inputs given, or random ones that fit the signature.",
    )
    _add_images(verb)
    _add_version(verb)
    _add_timeout(verb, DEFAULT_TIMEOUT_S, "deadline of each request")
    _add_whole(verb, "--batch-size", 1, "rows in one request")
    _add_whole(verb, "--concurrency", 4, "callers at once")
    verb.add_argument(
        "--duration-s",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="how long, after one request that is not counted (default: %(default)g)",
    )
    does = "Compare a shadow's answers with the callers', from the files of a ShadowLog."
    verb = commands.add_parser("shadow-report", help=does, description=does)
    verb.set_defaults(command=shadow_report.shadow_report)
    verb.add_argument("file", nargs="+", type=Path, metavar="FILE", help="lines of comparisons")
    verb.add_argument("--json", action="store_true", help="JSON in place of the tables")
    return parser


def _add_images(verb: Any) -> None:
    verb.add_argument(
        "image", nargs="*", type=Path, metavar="IMAGE", help="an image file, or a folder of them"
    )
    verb.add_argument("--inputs", metavar="JSON|FILE", help=_INPUTS_HELP)
    verb.add_argument("--signature", help="of the model, for inputs (default: serving_default)")


def _add_version(verb: Any) -> None:
    either = verb.add_mutually_exclusive_group()
    either.add_argument(
        "--label", help=f"the version with this label (default: {contract.LABEL_STABLE})"
    )
    either.add_argument("--version", type=int, help="this version, in place of a label")


def _add_timeout(verb: Any, default: float, what: str) -> None:
    verb.add_argument(
        "--timeout-s",
        type=float,
        default=default,
        metavar="SECONDS",
        help=f"{what}, in seconds (default: %(default)g)",
    )


def _add_whole(verb: Any, flag: str, default: int, what: str) -> None:
    verb.add_argument(
        flag, type=_above_zero, default=default, metavar="N", help=f"{what} (default: %(default)d)"
    )


def _above_zero(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, received {number}")
    return number
