"""The client as it is released: the wheel and the source distribution, built once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, made_once
from tests.integration.client.wheels import REPOSITORY


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make build-client` fills: source distribution and wheel."""

    def make(folder: Path) -> None:
        done = subprocess.run(
            [
                *("make", "build-client", f"DIST={folder}", f"REPOSITORY={REPOSITORY}"),
                "--old-file=.venv/complete",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return made_once(tmp_path_factory, "client-dist", make)


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def source(dist: Path) -> Path:
    """The source distribution."""
    (source,) = dist.glob("*.tar.gz")
    return source
