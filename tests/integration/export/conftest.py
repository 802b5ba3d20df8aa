"""What the tests of the gate share: pictures, a run of them, versions, the command."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.conftest import made_once
from tests.integration.export import gate_versions
from tests.integration.export.gate_versions import EQUAL, SIZE
from tfs_client import contract
from training import run

# Only what a test is about may refuse: the machine that runs it may be busy.
PATIENT = ("--max-latency-ratio", "3")
FEW = ("--corrupted-images", "60")


@pytest.fixture(scope="session")
def gate_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 60 pictures: bad ones are brighter, but not all of them."""

    def make(folder: Path) -> None:
        random = np.random.default_rng(5)
        for label, mean in (("good", 105), ("bad", 150)):
            (folder / label).mkdir(parents=True)
            for index in range(60):
                brightness = random.normal(mean, 18)
                pixels = random.normal(brightness, 15, (24, 24, 3)).clip(0, 255)
                picture = PIL.Image.fromarray(pixels.astype(np.uint8))
                picture.save(folder / label / f"{index:02}.png")

    return made_once(tmp_path_factory, "gate-images", make)


@pytest.fixture(scope="session")
def gate_runs(
    gate_pictures: Path, tmp_path_factory: pytest.TempPathFactory, command: Callable
) -> Path:
    """A folder with one real run, which held most of its pictures out."""

    def make(folder: Path) -> None:
        flags = ["--image-height", f"{SIZE}", "--image-width", f"{SIZE}", "--epochs", "1"]
        flags += ["--train-share", "0.2", "--validation-share", "0.1"]
        done = command(
            "training.train", "--data", str(gate_pictures), "--runs", str(folder), *flags
        )
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "gate-runs", make)


@pytest.fixture(scope="session")
def gate_version(
    gate_runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int, Path], None]:
    """Puts a version of a number into a store, unless it stands there."""

    def put(number: int, store: Path) -> None:
        def make(folder: Path) -> None:
            gate_versions.make(number, run.load(gate_runs / "latest"), folder)

        target = store / contract.MODEL_NAME / str(number)
        if not target.exists():
            made = made_once(tmp_path_factory, f"gate-version-{number}", make)
            shutil.copytree(made, target)

    return put


@pytest.fixture
def gate_store(gate_version: Callable[[int, Path], None], tmp_path: Path) -> Path:
    """Holds version 1 and its equal; a test may change it."""
    for number in (1, EQUAL):
        gate_version(number, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def gate_of(
    gate_store: Path, gate_runs: Path, gate_version: Callable[[int, Path], None], command: Callable
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Asks the gate of a version, with flags."""

    def ask(version: int, *flags: str) -> subprocess.CompletedProcess[str]:
        gate_version(version, gate_store)
        where = ("--models", str(gate_store), "--runs", str(gate_runs))
        return command("export.gate", str(version), *where, *PATIENT, *FEW, *flags)

    return ask
