"""What several tests share: pictures, a run, a store, commands; and the suite's hooks."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from serving.client.tests import examples
from tests import preloaded, suite

ROOT = Path(__file__).resolve().parents[1]

# TensorFlow's C++ lines would be taken for part of a command's answer; and every test that imports
# it should find it imported the same way.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# In the test processes and what they start: several processes' BLAS threads wait for each other by
# spinning, which made small fits four times as slow.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

examples.register_profiles()

# A script's shell starts what it puts into the background with Ctrl-C ignored; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A helper's assertion that fails says what it compared, as a test's own does.
pytest.register_assert_rewrite(
    *(f"tests.{one}" for one in ("house", "integration", "unit", "e2e", "browser", "terminals"))
)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many as `make test` starts."""
    return suite.processes()


def pytest_configure(config: pytest.Config) -> None:
    """Gives the suite its order, its turns and its last line."""
    config.pluginmanager.register(suite.Order(config), "suite-order")
    config.pluginmanager.register(suite.Printable(), "suite-printable")
    config.pluginmanager.register(suite.Skipped(), "suite-skipped")
    config.pluginmanager.register(suite.Turns(config), "suite-turns")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that several test processes share; the first one that needs it fills it."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, whole = base / name, base / f"{name}.whole"
    with (base / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            make(folder)
            whole.touch()
    return folder


@pytest.fixture(scope="session")
def preloaded_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Stands for sys.executable where a command imports TensorFlow."""
    with preloaded.python(tmp_path_factory.mktemp("preloaded")) as program:
        yield program


@pytest.fixture(scope="session")
def command(
    request: pytest.FixtureRequest,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m module flags` from the project's root, as a person would.

    With `cwd`, what the command leaves in build/ does not overwrite the project's own.
    """

    def run(
        *arguments: str, timeout_s: float = 120, cwd: Path = ROOT
    ) -> subprocess.CompletedProcess[str]:
        heavy = arguments[0].startswith(("training.", "export."))
        program = request.getfixturevalue("preloaded_python") if heavy else sys.executable
        return subprocess.run(
            [program, "-m", *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def picture() -> PIL.Image.Image:
    """A colour picture without symmetry, 120x90."""
    noise = np.random.default_rng(7).integers(0, 256, (30, 40, 3), np.uint8)
    return PIL.Image.fromarray(noise).resize((120, 90), PIL.Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """A picture as a file's content."""

    def encode(image: PIL.Image.Image, file_format: str, **options: object) -> bytes:
        target = io.BytesIO()
        image.save(target, file_format, **options)
        return target.getvalue()

    return encode


@pytest.fixture(scope="session")
def huge_png() -> bytes:
    """A whole black picture of 30,000x30,000 in half a megabyte; decoded it takes 0.9 GB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    rows = bytes(30_000 * (1 + 30_000 // 8))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 1)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Two classes of 20 different pictures each: good (dark) and bad (bright), 24x24 PNG."""
    random = np.random.default_rng(3)
    for label, low, high in (("good", 0, 120), ("bad", 130, 256)):
        (tmp_path / "images" / label).mkdir(parents=True)
        for index in range(20):
            pixels = random.integers(low, high, (24, 24, 3), np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / "images" / label / f"{index:02}.png")
    return tmp_path / "images"


@pytest.fixture(scope="session")
def sample_run(tmp_path_factory: pytest.TempPathFactory, command: Callable) -> Path:
    """A run on 200 pictures of the sample set, two epochs: real, and quickly made."""

    def make(runs: Path) -> None:
        flags = ("--runs", str(runs), "--max-images", "200", "--epochs", "2")
        done = command("training.train", *flags)
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "runs", make) / "latest"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, command: Callable, sample_run: Path) -> Path:
    """A model store that holds version 1 of the sample run."""

    def make(models: Path) -> None:
        done = command("export.saved_model", "--run", str(sample_run), "--models", str(models))
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "models", make)
