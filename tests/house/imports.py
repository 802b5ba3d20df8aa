"""Which file imports which, for the rules that import-linter does not know.

import-linter leaves out imports that only type checkers see, and looks at folders beside each
other. Here every import statement of a file counts, wherever it stands.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path


def graph(root: Path, files: Iterable[str]) -> dict[str, set[str]]:
    """Module → modules of these files that it imports.

    Args:
        root: the repository.
        files: Python files, relative to it.
    """
    modules = {module(file): root / file for file in files}
    return {name: set(_imported(path, name, modules)) - {name} for name, path in modules.items()}


def module(file: str) -> str:
    """The name under which a file is imported, such as "serving.local.core"."""
    if file.startswith("serving/client/tfs_client/"):
        file = file.removeprefix("serving/client/")
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that need each other, each from the first in the alphabet on."""
    within: dict[str, set[str]] = {name: _reached(name, imports) for name in imports}
    found = {
        tuple(sorted(other for other in within[name] if name in within[other]))
        for name in imports
        if name in within[name]
    }
    return [list(circle) for circle in sorted(found)]


def _reached(name: str, imports: Mapping[str, set[str]]) -> set[str]:
    """All that a module imports, by way of others too."""
    reached: set[str] = set()
    open_ = list(imports[name])
    while open_:
        other = open_.pop()
        if other not in reached:
            reached.add(other)
            open_ += imports[other]
    return reached


def _imported(path: Path, name: str, modules: Mapping[str, Path]) -> Iterable[str]:
    """The modules that its import statements name."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            for alias in node.names:
                # `from package import name`: a module, or something that the package has.
                part = f"{base}.{alias.name}"
                if part in modules or base in modules:
                    yield part if part in modules else base


def _base(node: ast.ImportFrom, package: str) -> str:
    """What stands after `from`, as a whole name."""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])
