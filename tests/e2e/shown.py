"""What a page of docs/ shows that a command prints: numbers may differ, words may not."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_NUMBER = re.compile(r"[-+]?\d[\d.,]*\d|[-+]?\d")


def lines_after(page: str, command: str) -> list[str]:
    """The lines that a console block of a page shows below a command.

    Args:
        page: relative to the project's root, such as docs/rollout.md.
        command: how its line begins, after "$ ".

    Raises:
        AssertionError: the page does not show the command, or nothing below it.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for shown in re.split(r"^\$ ", block.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
            first, *rest = shown.splitlines()
            if first.startswith(command):
                lines = [line for line in rest if line.strip()]
                assert lines, f"{page} shows nothing below {command!r}"
                return lines
    raise AssertionError(f"{page} does not show {command!r}")


def missing(page: str, command: str, printed: str) -> list[str]:
    """The lines that the page shows below a command and that the command did not print.

    White space and numbers may differ; "…" stands for anything.
    """
    return [
        line
        for line in lines_after(page, command)
        if not re.search(_pattern(line), printed, re.MULTILINE)
    ]


def _pattern(line: str) -> str:
    parts = []
    for word in line.split():
        fixed = re.split(r"(…)", word)
        parts.append("".join(".*" if part == "…" else _with_any_numbers(part) for part in fixed))
    return r"^\s*" + r"\s+".join(parts) + r"\s*$"


def _with_any_numbers(text: str) -> str:
    words = [re.escape(part) for part in _NUMBER.split(text)]
    return r"[-+]?\d[\d.,]*".join(words)
