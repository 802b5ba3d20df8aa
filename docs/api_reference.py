"""Writes the API references from docstrings: the client's, docs/client, and training's.

    python -m docs.api_reference            writes the pages
    python -m docs.api_reference --check    exit code 1 if they are not what it would write

A public name's page is chosen by the room that its module is in: a new name needs no entry here.
The source is parsed, not only inspected: the text below a field is not kept at run time.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import tfs_client
from docs.docstrings import (
    Definition,
    annotated,
    constants,
    definitions,
    markdown,
    one_line,
    parsed,
    sections_of,
)
from foundation.command_line import Parser

FOLDER: Final = Path(__file__).parent / "client"

TRAINING_FOLDER: Final = Path(__file__).parent / "training"

TRAINING: Final = {
    "training.run": "training.run: a run, read from Python",
    "training.results.run_plots": "training.results.run_plots: its plots",
}
"""Modules of training that a notebook starts from -> the title of their page."""

PAGES: Final = {
    "client": "The client: calls from threads and from asyncio, and how they are sent",
    "images": "Images: one typed answer for files, bytes and pixels",
    "answers": "Answers: what calls return",
    "routing": "A/B tests: the router and its log",
    "shadow": "Shadow: ask another version without using its answers",
    "observers": "Observers: tracing, metrics, and your own",
    "errors": "Errors: what is raised, and when",
}
"""Page -> its title. A page holds the names of the room with its name; "client" the rest."""

OBSERVED: Final = ("tfs_client.call.observer",)
"""Modules whose names are on the page "observers" although they lie in another room."""

BESIDE: Final = {
    "observers": (
        ("tfs_client.observers.opentelemetry", "Tracing"),
        ("tfs_client.observers.prometheus", "Metrics"),
    )
}
"""Public names that are imported from a module of their own, since they need an extra."""

MODULES: Final = {
    "contract": "contract: names that server and client agree on",
    "protocol": "protocol: for programs that speak the protocol without a client",
    "flags": "flags: a connection's settings on a command line",
    "steps": "steps: a call as steps that threads and event loops walk",
    "testing": "testing: fakes for the tests of services that use the client",
    "pytest_plugin": "pytest_plugin: the fixtures for pytest",
}
"""Public modules -> the title of their page."""

WIDTH: Final = 96


class Name(NamedTuple):
    """A public name, and where it is written."""

    module: str
    name: str
    imported_from: str = "tfs_client"


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the pages, or compares them with what it would write."""
    parser = Parser(prog="python -m docs.api_reference")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if pages are old")
    check = parser.parse_args(argv).check
    stale = []
    for folder, written in ((FOLDER, pages()), (TRAINING_FOLDER, training_pages())):
        old = {path for path in folder.glob("*.md") if path.name not in written}
        changed = {folder / name for name, text in written.items() if read(folder / name) != text}
        stale += sorted(old | changed)
        if not check:
            folder.mkdir(exist_ok=True)
            for path in old:
                path.unlink()
            for path in changed:
                path.write_text(written[path.name], encoding="utf-8")
    if check:
        for path in stale:
            print(f"{path} is not up to date: run `make docs`", file=sys.stderr)
    return 1 if check and stale else 0


def read(path: Path) -> str | None:
    """A file's text; None if there is no file."""
    return path.read_text(encoding="utf-8") if path.exists() else None


# ---- pages ----


def pages() -> dict[str, str]:
    """File name -> text of every page, the index (README.md) among them."""
    found: dict[str, list[Name]] = {page: [] for page in PAGES}
    for name in sorted(tfs_client.__all__, key=str.lower):
        value = getattr(tfs_client, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            found[page_of(value.__module__)].append(Name(value.__module__, name))
    for page, others in BESIDE.items():
        found[page] += [Name(module, name, module) for module, name in others]
    written = {f"{page}.md": page_text(PAGES[page], names) for page, names in found.items()}
    lines = ["# API reference of `tfs_client`", ""]
    lines += ["Written by `make docs` from the docstrings; do not edit.", ""]
    for page, names in found.items():
        lines += [f"## [{PAGES[page]}]({page}.md)", ""]
        lines += [
            f"- [`{one.name}`]({page}.md#{one.name.lower()}): {summary(one)}" for one in names
        ]
        lines += [""]
    lines += ["## Modules", ""]
    for module, title in MODULES.items():
        written[f"{module}.md"] = module_text(f"tfs_client.{module}", title)
        lines += [f"- [{title}]({module}.md)"]
    chapters = {
        chapter: f"{page}#{chapter.replace('.', '').lower()}"
        for page, text in written.items()
        for chapter in re.findall(r"^##+ (\S+)$", text, re.MULTILINE)
    }
    written = {page: linked(page, text, chapters) for page, text in written.items()}
    return {"README.md": "\n".join(lines) + "\n", **written}


def training_pages() -> dict[str, str]:
    """File name -> text of the pages on reading runs."""
    return {
        f"{module.rpartition('.')[2]}.md": module_text(module, title)
        for module, title in TRAINING.items()
    }


def summary(one: Name) -> str:
    """The first sentence of what a name says of itself."""
    return one_line(described(definitions(one.module)[one.name]).partition("\n\n")[0])


def described(definition: Definition) -> str:
    """What a name says of itself, but that its arguments are those of a base that stands here."""
    text = ast.get_docstring(definition) or ""
    return re.sub(r"(;| ) ?[Ii]ts arguments are (Connection|Classifier)'s(?=\.)\.?", _end, text)


def _end(found: re.Match[str]) -> str:
    return "." if found[1] == ";" else ""


def linked(page: str, text: str, chapters: Mapping[str, str]) -> str:
    """A page whose references ("As Client.predict", "Derives from `Fake`") lead to their chapters.

    Args:
        page: its file's name.
        text: of the page.
        chapters: name to file and anchor.
    """

    def link(found: re.Match[str]) -> str:
        words, name = found[1], found[2]
        if name not in chapters:
            return found[0]
        return f"{words}[`{name}`]({chapters[name].removeprefix(page)})"

    parts = text.split("```")  # every other one is code
    for at in range(0, len(parts), 2):
        part = re.sub(r"(?m)^((?:- `\w+`: )?[Aa]s )(\w+(?:\.\w+)?)\b(?=[.:;, ])", link, parts[at])
        lines = part.split("\n")
        parts[at] = "\n".join(
            re.sub(r"()`(\w+)`", link, line) if line.startswith("Derives from ") else line
            for line in lines
        )
    return "```".join(parts)


def page_of(module: str) -> str:
    """The page of a module's names."""
    if module in OBSERVED:
        return "observers"
    room = module.split(".")[1]
    return room if room in PAGES else "client"


def page_text(title: str, names: Sequence[Name]) -> str:
    """A page with a chapter for each name."""
    lines = [f"# {title}", "", *contents([one.name for one in names])]
    for one in names:
        lines += [f"## {one.name}", ""]
        if one.imported_from != "tfs_client":
            lines += [f"From `{one.imported_from}`.", ""]
        lines += definition_lines(one.module, one.name)
    return "\n".join(lines).rstrip() + "\n"


def module_text(module: str, title: str) -> str:
    """A page of a public module: what it says of itself, its constants, its names."""
    lines = [f"# {title}", "", *markdown(ast.get_docstring(parsed(module)) or ""), ""]
    public = getattr(importlib.import_module(module), "__all__", None)
    written = {**constants(module), **definitions(module)}
    names = public or [name for name in written if not name.startswith("_")]
    homes = {name: home_of(module, name) for name in names}
    for name, home in homes.items():
        if home and home.name in constants(home.module):
            value, text = constants(home.module)[home.name]
            lines += [f"- `{name} = {value}`" + (f": {one_line(text)}" if text else "")]
        elif home is None:
            lines += [f"- `{name}`: a module"]
    chapters = [
        name for name, home in homes.items() if home and home.name in definitions(home.module)
    ]
    lines += ["", *contents(chapters)]
    for name, home in homes.items():
        if home and home.name in definitions(home.module):
            lines += [f"## {name}", "", *definition_lines(home.module, home.name)]
    return "\n".join(lines).rstrip() + "\n"


def contents(names: Sequence[str]) -> list[str]:
    """Links to the chapters of a page."""
    return [" · ".join(f"[{name}](#{name.lower()})" for name in names), ""] if names[1:] else []


def home_of(module: str, name: str) -> Name | None:
    """Where a name of a module is written: there, or where it is imported from.

    Returns:
        None for a module.
    """
    if name in constants(module) or name in definitions(module):
        return Name(module, name)
    for node in parsed(module).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if name in (alias.name, alias.asname):
                    imported = Name(str(node.module), alias.name)
                    value = getattr(importlib.import_module(imported.module), alias.name)
                    return None if inspect.ismodule(value) else imported
    raise LookupError(f"Expected {module} to define or import {name}. Received: neither")


# ---- classes and functions ----


def definition_lines(module: str, name: str) -> list[str]:
    """A class or a function."""
    definition = definitions(module)[name]
    if isinstance(definition, ast.ClassDef):
        return class_lines(module, definition)
    return function_lines(definition, name)


def class_lines(module: str, definition: ast.ClassDef) -> list[str]:
    """A class: its constructor, what it says of itself, its fields and its methods.

    What a private base class says of its arguments, and its methods, are the class's own here.
    """
    lineage = [definition, *private_bases(module, definition)]
    lines = [*constructor(lineage), *markdown(described(definition)), ""]
    told = {name for name, _ in sections_of(ast.get_docstring(definition) or "")}
    for base in lineage[1:]:
        sections = sections_of(ast.get_docstring(base) or "")
        for name, section in sections:
            lines += [] if name in told else [*markdown(section), ""]
        told |= {name for name, _ in sections}
    private = {one.name for one in lineage}
    bases = [ast.unparse(base) for one in lineage for base in one.bases]
    public_bases = [one for one in dict.fromkeys(bases) if one not in private]
    if public_bases:
        lines += [f"Derives from {', '.join(f'`{one}`' for one in public_bases)}.", ""]
    fields = [
        f"- `{name}: {kind}`" + (f": {one_line(text)}" if text else "")
        for name, kind, text in annotated(definition)
    ]
    lines += [*fields, ""] if fields else []
    seen: set[str] = set()
    for one in lineage:
        for member in one.body:
            if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if member.name.startswith("_") or member.name in seen:
                    continue
                if ast.get_docstring(member) is None:  # a base class documents it
                    continue
                seen.add(member.name)
                lines += [f"### {definition.name}.{member.name}", ""]
                lines += function_lines(member, member.name, method=True)
    return lines


def private_bases(module: str, definition: ast.ClassDef) -> Iterator[ast.ClassDef]:
    """The bases of a class that are this package's and not public themselves."""
    for base in getattr(importlib.import_module(module), definition.name).__mro__[1:]:
        if base.__module__.startswith("tfs_client.") and base.__name__ not in public_names():
            found = definitions(base.__module__)[base.__name__]
            if isinstance(found, ast.ClassDef):
                yield found


@functools.cache
def public_names() -> frozenset[str]:
    """Of the package, and of its public modules that say which names are."""
    modules = [importlib.import_module(f"tfs_client.{module}") for module in MODULES]
    return frozenset(name for one in (tfs_client, *modules) for name in getattr(one, "__all__", ()))


def constructor(lineage: Sequence[ast.ClassDef]) -> list[str]:
    """The call that makes one; nothing for errors and for classes without arguments."""
    for one in lineage:
        for member in one.body:
            if isinstance(member, ast.FunctionDef) and member.name == "__init__":
                return signature(member, lineage[0].name, method=True, returns=False)
    return []


def function_lines(
    definition: ast.FunctionDef | ast.AsyncFunctionDef, name: str, *, method: bool = False
) -> list[str]:
    """A function: how it is called, and what it says of itself."""
    decorators = {ast.unparse(one) for one in definition.decorator_list}
    if "property" in decorators:
        kind = ast.unparse(definition.returns) if definition.returns else "Any"
        lines = ["```python", f"{name}: {kind}", "```", ""]
    else:
        lines = signature(definition, name, method=method and "staticmethod" not in decorators)
    return [*lines, *markdown(ast.get_docstring(definition) or ""), ""]


def signature(
    definition: ast.FunctionDef | ast.AsyncFunctionDef,
    name: str,
    *,
    method: bool,
    returns: bool = True,
) -> list[str]:
    """A block of code with the call; one parameter a line where it is too long for one."""
    words = "async def " if isinstance(definition, ast.AsyncFunctionDef) else ""
    arguments = parameters(definition.args)[1 if method else 0 :]
    arrow = f" -> {ast.unparse(definition.returns)}" if returns and definition.returns else ""
    line = f"{words}{name}({', '.join(arguments)}){arrow}"
    if len(line) > WIDTH:
        line = "\n".join([f"{words}{name}(", *(f"    {one}," for one in arguments), f"){arrow}"])
    return ["```python", line, "```", ""]


def parameters(given: ast.arguments) -> list[str]:
    """Each parameter as it is written in a call's definition, with annotation and default."""

    def written(one: ast.arg, default: ast.expr | None, stars: str = "") -> str:
        kind = f": {ast.unparse(one.annotation)}" if one.annotation else ""
        equals = " = " if kind else "="
        return f"{stars}{one.arg}{kind}" + (f"{equals}{ast.unparse(default)}" if default else "")

    positional = [*given.posonlyargs, *given.args]
    lacking = len(positional) - len(given.defaults)
    defaults: list[ast.expr | None] = [*[None] * lacking, *given.defaults]
    found = [written(one, default) for one, default in zip(positional, defaults)]
    if given.vararg:
        found.append(written(given.vararg, None, "*"))
    elif given.kwonlyargs:
        found.append("*")
    found += [written(one, default) for one, default in zip(given.kwonlyargs, given.kw_defaults)]
    if given.kwarg:
        found.append(written(given.kwarg, None, "**"))
    return found


if __name__ == "__main__":
    sys.exit(main())
