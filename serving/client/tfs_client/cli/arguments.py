"""How tfs takes arguments: each flag once, mistakes told with the nearest name, and variables."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from tfs_client import contract
from tfs_client.cli.output import printable
from tfs_client.client import DEFAULT_TARGET
from tfs_client.errors import RequestError


class Variable(NamedTuple):
    """An environment variable that stands in for a flag that is not given."""

    name: str
    default: str
    """Where neither is given."""
    what: str


VARIABLES: Final = {
    "target": Variable("TFS_TARGET", DEFAULT_TARGET, "host:port of gRPC"),
    "model": Variable("TFS_MODEL", contract.MODEL_NAME, "the model's name"),
}
"""Flag (without its dashes) → its variable."""


class _Once(argparse.Action):
    """Stores a value. A flag that is given twice is a mistake: one of the two would be ignored."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given: frozenset[str] = getattr(namespace, "given", frozenset())
        if option_string and self.dest in given:
            parser.error(f"expected {option_string} once, received it twice")
        namespace.given = given | {self.dest}
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line. The names of the flags given are in `given`."""

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self.register("action", None, _Once)
        self.register("action", "store", _Once)

    def error(self, message: str) -> NoReturn:
        """Prints the message and ends the process with exit code 2."""
        self.exit(2, f"{self.prog}: error: {printable(message)} (see {self.prog} --help)\n")


def parse(parser: Parser, verbs: dict[str, Parser], argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, those of a known verb; ends the process where they are wrong.

    Args:
        parser: the one of tfs, which hands on to those of its verbs.
        verbs: the parser of each verb by its name.
        argv: what was typed.
    """
    first = argv[0] if argv else ""
    if first.startswith("-") and first not in ("-h", "--help", "--version"):
        parser.error(
            f"expected a command first, received {first}: flags stand behind the command, as in "
            f"tfs status {first}"
        )
    if first and not first.startswith("-") and first not in verbs:
        parser.error(f"there is no command {first}{_nearest(first, verbs, 'it has ')}")
    arguments, rest = parser.parse_known_args(argv)
    if rest:
        verb = verbs[first]
        flags = [one for action in verb._actions for one in action.option_strings]
        unknown = rest[0].partition("=")[0]
        if not unknown.startswith("-"):
            verb.error(f"received {unknown}, which it has no use for")
        verb.error(f"there is no flag {unknown}{_nearest(unknown, flags)}")
    return arguments


def _nearest(word: str, names: Iterable[str], otherwise: str = "") -> str:
    found = difflib.get_close_matches(word, names, 1)
    if found:
        return f"; did you mean {found[0]}?"
    return f"; {otherwise}{', '.join(names)}" if otherwise else ""


def add_variable(parser: Any, flag: str) -> None:
    """Adds --target or --model, whose default is a variable's."""
    variable = VARIABLES[flag]
    parser.add_argument(
        f"--{flag}",
        help=f"{variable.what} (default: ${variable.name}, else {variable.default})",
    )


def settle(arguments: argparse.Namespace) -> list[str]:
    """Fills in what was not given by a flag.

    Returns:
        The variables that were used.

    Raises:
        RequestError: a variable is needed, and set to nothing.
    """
    used = []
    for flag, variable in VARIABLES.items():
        if getattr(arguments, flag, "") is not None:
            continue
        value = os.environ.get(variable.name)
        if value is None:
            value = variable.default
        elif not value.strip():
            raise RequestError(
                f"Expected {variable.name} as {variable.what}. Received: it is set, and empty; "
                f"give it a value, unset it, or say --{flag}"
            )
        else:
            used.append(variable.name)
        setattr(arguments, flag, value)
    return used
