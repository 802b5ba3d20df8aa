"""What every benchmark does the same way: flags, a scratch folder, figures and the page."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from foundation import command_line, figures
from tests.bench.page import Page
from tests.bench.verdict import Verdict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run: how much is measured, and where the findings go."""

    name: str
    """Such as "bench-client": the files' names begin with it."""
    parts: tuple[str, ...]
    quick: bool
    own: Mapping[str, Any]
    """The benchmark's own flags."""
    folder: Path
    """For logs and what servers need; removed afterwards."""
    build: Path
    verdict: Verdict
    page: Page

    def path(self, suffix: str) -> Path:
        """Where samples go: build/bench-client-<suffix>."""
        return self.build / f"{self.name}-{suffix}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark, as the command needs it."""

    name: str
    """As it is typed after `python -m tests.bench`."""
    title: str
    """Of the page."""
    about: str
    """What the page's reader must know about the set-up."""
    description: str
    """For --help."""
    parts: tuple[str, ...]
    measure: Callable[[Run], None]
    """Measures the run's parts, adds figures and sections, writes samples."""
    add_flags: Callable[[argparse.ArgumentParser], None] = lambda parser: None

    def main(self, arguments: Sequence[str]) -> int:
        """Parses the flags, measures and writes; returns the exit code."""
        parser = command_line.Parser(
            prog=f"python -m tests.bench {self.name}",
            description=self.description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add = parser.add_argument
        add("--parts", nargs="+", choices=self.parts, default=self.parts, help="(default: all)")
        add("--quick", action="store_true", help="a short look: only errors are held against bars")
        add("--build", type=Path, default=figures.BUILD_DIR, help="(default: %(default)s)")
        self.add_flags(parser)
        own = vars(parser.parse_args(arguments))
        parts, quick, build = own.pop("parts"), own.pop("quick"), own.pop("build")
        command_line.configure_logging()
        name = f"bench-{self.name}"
        command = " ".join(["python -m tests.bench", self.name, *arguments])

        def body() -> int:
            build.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as scratch:
                run = Run(
                    name=name,
                    parts=tuple(parts),
                    quick=quick,
                    own=own,
                    folder=Path(scratch),
                    build=build,
                    verdict=Verdict(name, command, quick=quick),
                    page=Page(self.title, self.about),
                )
                self.measure(run)
            code = run.verdict.write(build)
            path = build / f"{name}.html"
            run.page.write(path, run.verdict)
            print(path)
            return code

        return command_line.run(parser.prog, body)
