"""What the tests of the images share: a container engine that holds the images they need."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from foundation.command_line import InputError
from tests.container import stand_in
from tests.container.stand_in import ROOT

HARD: Final = (
    *("--init", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"),
    "--security-opt=no-new-privileges",
)
"""How a container runs in production."""

SLOW_S: Final = 120.0
"""Enough for two cores that run other tests, and an image whose files are not cached yet."""


class Engine:
    """A container engine that holds what a test needs; skips the test where there is none."""

    def __init__(self, *images: str) -> None:
        try:
            self.name = stand_in.engine()
        except InputError:
            pytest.skip("needs a container engine: apt-get install docker.io")
        for image in images:
            if not stand_in.holds(self.name, image):
                pytest.skip(f"needs the image {image}: make test-container")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the engine, whether it succeeds or fails."""
        return subprocess.run(
            [self.name, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
        )

    def __call__(self, *arguments: str) -> str:
        """What a command that must succeed prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def inspect(self, name: str) -> dict[str, Any]:
        """A container, as the engine sees it."""
        found: dict[str, Any] = json.loads(self("inspect", name))[0]
        return found

    def health(self, name: str) -> str:
        """The health of a running container; fails with its log if it has ended."""
        state = self.inspect(name)["State"]
        assert state["Running"], self("logs", name)
        return str(state["Health"]["Status"])


def open_to_all(folder: Path) -> Path:
    """Lets the images' user reach a folder of pytest's and write there."""
    folder.chmod(0o777)
    for above in folder.parents:
        if "pytest-of-" in str(above):
            above.chmod(0o755)
    return folder
