"""Whether documented command lines are what their commands take: parsed, and not run.

    python -m tests.house.command_lines < lines.json     [["loadtest.run", "--rate", "100"], …]

Prints, as JSON, a line of text for each command line that its command refuses. It is a process of
its own, because commands import TensorFlow, or change the standard library for Locust.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

ROOMS = ("training", "export", "serving", "loadtest", "tests", "docs")

TFS = "tfs_client.cli"

_OWN_VARIABLES = {"PATH": os.environ["PATH"]}
"""Without those of a `make test ARGS=…` that runs the tests: they would be taken for the line's."""


def documented(text: str) -> list[str]:
    """The command lines of a Markdown text: in its tables, and after "$" in its consoles."""
    rows = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    found = [line for row in rows for line in re.findall(r"`([^`]+)`", row)]
    found += re.findall(r"^\$ ((?:.*\\\n)*.*)", text, re.MULTILINE)
    return [line.replace("\\\n", " ").replace("\\|", "|") for line in found]


def commands(line: str) -> Iterator[list[str]]:
    """What a command line runs of the project: [module, argument, …].

    What `make` would do is asked of it. "tfs status" in a sentence is a name, and no command line.
    """
    words = shlex.split(line)
    if "…" in line or not words:
        return
    if words[0] == "make":
        done = subprocess.run(
            ["make", "--dry-run", "--old-file=.venv/complete", *words[1:]],
            cwd=ROOT,
            env=_OWN_VARIABLES,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ValueError(f"{line}: {done.stderr.strip()}")
        for recipe in done.stdout.splitlines():
            yield from _of_python(shlex.split(recipe))
    else:
        yield from _of_python(words)


def _of_python(words: list[str]) -> Iterator[list[str]]:
    program = Path(words[0]).name if words else ""
    if program == "tfs" and len(words) > 2:
        yield [TFS, *words[1:]]
    of_python = program.startswith("python") and words[1] == "-m"
    if of_python and words[2].partition(".")[0] in ROOMS:
        yield words[2:]


class _Parsed(BaseException):
    """Raised in place of what a command does after parsing."""


def refused(lines: Iterable[list[str]]) -> list[str]:
    """For each command line that is not taken: the command, and what it says.

    Also where a command does not name itself as it is typed.
    """
    parse = argparse.ArgumentParser.parse_known_args
    names: list[str] = []

    def parse_only(parser: argparse.ArgumentParser, *given: Any) -> Any:
        names.append(parser.prog)
        known, rest = parse(parser, *given)
        if not rest:
            raise _Parsed
        return known, rest  # for another parser, or for its error

    argparse.ArgumentParser.parse_known_args = parse_only  # type: ignore[assignment,method-assign]
    found = []
    for module, *arguments in lines:
        said = io.StringIO()
        names.clear()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                _main_of(module)(arguments)
            found.append(f"{module}: it has parsed nothing")
        except _Parsed:
            pass
        except SystemExit as end:
            if end.code != 0:
                found.append(f"{module} {shlex.join(arguments)}: {said.getvalue().strip()}")
        typed = "tfs" if module == TFS else f"python -m {module}"
        found += [f"{typed} calls itself {name}" for name in names if not name.startswith(typed)]
    return found


def _main_of(module: str) -> Any:
    """The function that `python -m module` calls."""
    loaded = importlib.import_module(module)
    if hasattr(loaded, "main"):
        return loaded.main
    return importlib.import_module(f"{module}.__main__").main


if __name__ == "__main__":
    print(json.dumps(refused(json.load(sys.stdin))))
