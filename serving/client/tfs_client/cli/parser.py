"""The commands and their flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import tfs_client
from tfs_client import contract
from tfs_client.cli import bench, completion, predict, shadow_report, verbs
from tfs_client.cli.arguments import Parser, add_variable
from tfs_client.cli.inputs import place
from tfs_client.client import DEFAULT_TIMEOUT_S
from tfs_client.flags import add_connection_flags

_INPUTS_HELP: Final = (
    "arrays by input name, in place of images: JSON such as '{\"x\": [1, 2]}' (bytes as "
    '{"b64": "…"}), a .json or .npz file, or - for JSON from standard input'
)

Command = Callable[[argparse.Namespace], int]


def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser, which sets `command` to the chosen command's function, and those of its verbs."""
    parser = Parser(
        prog="tfs",
        description="Ask a model server. Exit code 0: all is well; 1: an image is not valid, or a "
        "call of bench failed; 2: no answer, or a mistake in the command.",
        epilog="TFS_TARGET and TFS_MODEL in the environment stand in for --target and --model; a "
        "flag wins.",
    )
    version = f"tfs {tfs_client.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    found: dict[str, Parser] = {}

    def add(name: str, command: Command, does: str) -> Any:
        verb = found[name] = commands.add_parser(name, help=does, description=does)
        verb.set_defaults(command=command)
        return verb

    def add_call(name: str, command: Command, does: str) -> Any:
        verb = add(name, command, does)
        add_variable(verb, "target")
        add_variable(verb, "model")
        add_connection_flags(verb)
        return verb

    _add_predict(add_call("predict", predict.predict, "Classify images; one line an image."))

    verb = add_call("metadata", verbs.metadata, "Show the signatures of a version.")
    _add_version(verb)
    _add_timeout(verb, DEFAULT_TIMEOUT_S, "deadline of the request")
    _add_json(verb)

    verb = add_call("status", verbs.status, "Show the state of every version.")
    _add_timeout(verb, DEFAULT_TIMEOUT_S, "deadline of the request")
    _add_json(verb)

    verb = add_call("wait-ready", verbs.wait_ready, "Wait until a version can answer predictions.")
    _add_version(verb)
    _add_timeout(verb, 60.0, "how long to wait")
    _add_json(verb)

    does = (
        "Measure a server with one request after the other from each of several callers, for a "
        "while. Sends the images or inputs given, or random ones that fit the signature."
    )
    _add_bench(add_call("bench", bench.bench, does))

    does = "Compare a shadow's answers with the callers', from the files of a ShadowLog."
    verb = add("shadow-report", shadow_report.shadow_report, does)
    verb.add_argument("file", nargs="+", type=Path, metavar="FILE", help="lines of comparisons")
    _add_json(verb)

    does = "Print what makes a shell complete tfs: source <(tfs completion bash)"
    verb = add("completion", completion.completion, does)
    verb.add_argument("shell", choices=completion.SHELLS, help="the shell to print it for")
    verb.set_defaults(parsers=(parser, found))
    return parser, found


def _add_predict(verb: Any) -> None:
    _add_images(verb)
    verb.add_argument(
        "--outputs",
        type=_names,
        metavar="NAME,NAME",
        help="the outputs wanted, for inputs (default: all)",
    )
    _add_version(verb)
    _add_timeout(verb, DEFAULT_TIMEOUT_S, "deadline of each request")
    _add_whole(verb, "--batch-size", 1, "images in one request")
    _add_whole(verb, "--concurrency", 1, "requests at once")
    shape = verb.add_mutually_exclusive_group()
    _add_json(shape)
    shape.add_argument("--csv", action="store_true", help="CSV in place of the table")


def _add_bench(verb: Any) -> None:
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
    _add_json(verb)


def _add_json(verb: Any) -> None:
    verb.add_argument("--json", action="store_true", help="JSON in place of the table")


def _add_images(verb: Any) -> None:
    verb.add_argument(
        "image",
        nargs="*",
        type=place,
        metavar="IMAGE",
        help="an image file, a folder of them, or - for a file from standard input",
    )
    verb.add_argument("--inputs", metavar="JSON|FILE|-", help=_INPUTS_HELP)
    verb.add_argument("--signature", help="of the model, for inputs (default: serving_default)")


def _add_version(verb: Any) -> None:
    either = verb.add_mutually_exclusive_group()
    either.add_argument(
        "--label", help=f"the version with this label (default: {contract.LABEL_STABLE})"
    )
    either.add_argument("--version", type=int, help="this version, in place of a label")
    either.add_argument(
        "--latest", action="store_true", help="the server's latest version, in place of a label"
    )


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


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(
            f"expected names with commas between them, such as label,probability; received {text!r}"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise argparse.ArgumentTypeError(f"expected each name once, received {twice!r} twice")
    return names
