"""A module's source, and its docstrings in Google's style as Markdown."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

SECTION: Final = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):$")
ITEM: Final = re.compile(r"^(\*{0,2}\w+): (.*)$")


# ---- source ----


@functools.cache
def parsed(module: str) -> ast.Module:
    """A module's source as a tree."""
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def definitions(module: str) -> dict[str, Definition]:
    """The classes and functions at the top of a module."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name: node for node in parsed(module).body if isinstance(node, kinds)}


def annotated(definition: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    """The public fields of a class: (name, type and default, the text below it)."""
    for node, text in with_text(definition.body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            default = f" = {ast.unparse(node.value)}" if node.value else ""
            if not node.target.id.startswith("_"):
                yield node.target.id, ast.unparse(node.annotation) + default, text


@functools.cache
def constants(module: str) -> dict[str, tuple[str, str]]:
    """The public constants and type aliases of a module: name to (value, the text below it)."""
    found = {}
    for node, text in with_text(parsed(module).body):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], ast.unparse(node.value)
        elif isinstance(node, ast.AnnAssign) and node.value:
            target, value = node.target, ast.unparse(node.value)
        else:
            continue
        public = isinstance(target, ast.Name) and target.id[0].isupper()
        if public and not value.startswith("TypeVar("):
            found[ast.unparse(target)] = (value, text)
    return found


def with_text(body: Sequence[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Each statement with the string that stands below it."""
    for node, below in zip(body, [*body[1:], None]):
        text = below.value if isinstance(below, ast.Expr) else None
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            yield node, inspect.cleandoc(text.value)
        else:
            yield node, ""


# ---- docstrings ----


def sections_of(text: str) -> list[tuple[str, str]]:
    """The sections of a docstring: (name, text with the name)."""
    lines = text.splitlines()
    starts = [at for at, line in enumerate(lines) if SECTION.match(line)]
    return [
        (lines[start], "\n".join(lines[start:end]).rstrip())
        for start, end in zip(starts, [*starts[1:], len(lines)])
    ]


def markdown(text: str) -> list[str]:
    """A docstring in Google's style as lines of Markdown."""
    lines: list[str] = []
    section = ""
    for line in text.splitlines():
        if SECTION.match(line):
            section = line.rstrip(":")
            lines += [f"**{section}**", ""]
        elif section and line.startswith("    "):
            inner = line[4:]
            item = ITEM.match(inner)
            if item and section not in ("Returns", "Yields"):
                lines.append(f"- `{item[1]}`: {escaped(item[2])}")
            elif section in ("Returns", "Yields"):
                lines.append(escaped(inner))
            else:
                lines.append(f"  {escaped(textwrap.dedent(inner))}")
        else:
            lines.append(line if line.startswith("    ") else escaped(line))
    return lines


def one_line(text: str) -> str:
    """The text without its line breaks."""
    return escaped(" ".join(text.split()))


def escaped(text: str) -> str:
    """Text in which <name> is shown and not taken for HTML; code in backticks stays as it is."""
    parts = text.split("`")
    parts[::2] = [part.replace("<", r"\<") for part in parts[::2]]
    return "`".join(parts)
