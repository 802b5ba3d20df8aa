"""Flags, verbs and choices of a command line, as every command of this project takes them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from foundation.text import did_you_mean, one_line


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, as all errors of this project are.

    An unknown flag, verb or choice comes with the nearest one; the beginning of a flag's name is
    unknown, too. A flag that takes one value is refused where it is given twice with different
    ones: the first would be lost.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        # `--epoch 2` would train, and mean another flag once a second one begins like that
        super().__init__(*given, **{"allow_abbrev": False, **named})
        for action in (None, "store"):
            self.register("action", action, _Once)

    def error(self, message: str) -> NoReturn:
        """Prints the message and ends the process with exit code 2."""
        self.exit(2, f"{self.prog}: error: {one_line(message)} (see {self.prog} --help)\n")

    def parse_args(  # type: ignore[override]  # argparse's has overloads for other namespaces
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
        *,
        beside: argparse.ArgumentParser | None = None,
    ) -> argparse.Namespace:
        """Parses; see argparse.

        Args:
            args: those of the process by default.
            namespace: to be filled; a new one by default.
            beside: the parser whose rest is parsed here; its flags may be meant too.
        """
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            flags = [flag for parser in (self, beside) if parser for flag in _flags(parser, parsed)]
            typed = next((word for word in rest if word.startswith("-")), "").partition("=")[0]
            meant = did_you_mean(typed, flags) if typed else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{meant and '.' + meant}")
        return parsed

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            meant = did_you_mean(str(value), map(str, action.choices or ()))
            raise argparse.ArgumentError(
                action, f"{error.message}{meant and '.' + meant}"
            ) from None


class _Once(argparse._StoreAction):
    """Stores a value, and refuses another one after it."""

    _given: tuple[object, Any] | None = None
    """Namespace and value of the last call; each command line has a namespace of its own."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if values == [] and self.nargs is None:  # argparse takes the value out of `--flag=--`
            raise argparse.ArgumentError(self, "expected one argument")
        before = self._given
        if option_string and before and before[0] is namespace and before[1] != values:
            raise argparse.ArgumentError(
                self, f"expected once, received twice: {before[1]} and {values}"
            )
        self._given = (namespace, values)
        super().__call__(parser, namespace, values, option_string)


def _flags(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> Iterator[str]:
    """The flags of a parser, and of the verb that was typed."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            verb = action.choices.get(getattr(parsed, action.dest, ""))
            yield from _flags(verb, parsed) if verb else ()
        else:
            yield from action.option_strings
