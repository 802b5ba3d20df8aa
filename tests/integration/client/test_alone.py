"""The wheel installed alone, with the oldest and with the newest dependencies that it allows.

It goes into two empty environments: the oldest Python with the lowest versions that the wheel's
metadata allows, and the newest Python with the newest versions. The tests of the unpacked source
distribution run in both. The packages come from the package index; where it cannot be reached, the
tests are skipped. What needs no such environment is in test_package.py.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import made_once
from tests.integration.client.wheels import requirements

pytestmark = pytest.mark.thorough

UV = str(Path(sys.executable).with_name("uv"))
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
INSTALL_S = 240
TESTS_S = 900
SCRIPT_S = 120


# What uv says when the package index gives no answer.
UNREACHABLE = ("Request failed", "Failed to fetch", "network was disabled", "timed out")


@dataclasses.dataclass(frozen=True)
class End:
    """One end of the range that the client promises."""

    name: str
    python: str
    """The Python that it is meant to be tried with."""
    resolution: str
    """uv's word for which versions of the client's direct dependencies."""

    @functools.cached_property
    def nearest(self) -> tuple[str, str]:
        """The present Python that is nearest to the one meant, and its interpreter."""
        away = sorted(PYTHONS, key=lambda one: abs(PYTHONS.index(one) - PYTHONS.index(self.python)))
        for version in away:
            if interpreter := interpreter_of(version):
                return version, interpreter
        return "{}.{}".format(*sys.version_info), sys.executable

    @property
    def warnings(self) -> tuple[str, ...]:
        """Flags beside the project's own "a warning is an error".

        Old grpcio and protobuf use what Python 3.12 and later deprecate. The client cannot change
        that, and it occurs only where the Python meant for the oldest end is missing.
        """
        return () if self.nearest[0] == self.python else ("-W", "ignore::DeprecationWarning")


ENDS = (End("oldest", PYTHONS[0], "lowest-direct"), End("newest", PYTHONS[-1], "highest"))
each_end = pytest.mark.parametrize("end", ENDS, ids=lambda end: end.name, scope="module")


def interpreter_of(version: str) -> str | None:
    """An interpreter of Python 3.x on this machine; pyenv's too, which uv does not look for."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    path = [os.environ["PATH"], *map(str, sorted(pyenv.glob("versions/*/bin")))]
    done = subprocess.run(
        [UV, "python", "find", "--no-python-downloads", "--system", version],
        env={**os.environ, "PATH": os.pathsep.join(path)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=SCRIPT_S,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def run(*command: str, cwd: Path, timeout_s: float = SCRIPT_S) -> subprocess.CompletedProcess[str]:
    """Runs a command without the variables that lead Python, pytest or uv to this project."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "PYTEST", "COV"))
    }
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


NEEDS_INDEX = "needs a package index: set UV_INDEX_URL to one that answers"


def install(python: Path, *arguments: str) -> None:
    """Installs from the package index, or skips the test where that gives no answer.

    Only wheels are taken: nothing is compiled here, and a version without a wheel for a Python
    cannot be promised for it.
    """
    command = [UV, "pip", "install", "--quiet", "--only-binary", ":all:", "--python", str(python)]
    try:
        done = run(*command, *arguments, cwd=python.parent, timeout_s=INSTALL_S)
    except subprocess.TimeoutExpired:
        pytest.skip(NEEDS_INDEX)
    if done.returncode and any(word in done.stderr for word in UNREACHABLE):
        print(done.stderr)
        pytest.skip(NEEDS_INDEX)
    assert done.returncode == 0, done.stderr


def installed_in(python: Path) -> dict[str, str]:
    """Name → version of what an environment has."""
    done = run(UV, "pip", "list", "--format", "json", "--python", str(python), cwd=python.parent)
    assert done.returncode == 0, done.stderr
    return {canonicalize_name(one["name"]): one["version"] for one in json.loads(done.stdout)}


# ---- where it is installed ----


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    """The unpacked source distribution without the package: its tests find the wheel's."""
    folder = tmp_path_factory.mktemp("room")
    with tarfile.open(source) as archive:
        archive.extractall(folder, **({"filter": "data"} if sys.version_info >= (3, 12) else {}))
    (unpacked,) = folder.iterdir()
    shutil.rmtree(unpacked / "tfs_client")
    return unpacked


@each_end
def test_each_end_has_the_python_it_is_meant_for(end: End) -> None:
    if end.nearest[0] != end.python:
        pytest.skip(f"needs Python {end.python}: uv python install {end.python}")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, end: End, wheel: Path) -> Path:
    """The Python of an environment that has the wheel, and what the wheel itself asks for."""

    def make(folder: Path) -> None:
        venv = [UV, "venv", "--quiet", "--clear", "--no-project", "--python", end.nearest[1]]
        done = run(*venv, str(folder), cwd=wheel.parent)
        assert done.returncode == 0, done.stderr
        # uv's lowest-direct is about what it is asked for itself, so it is asked for all of it.
        direct = [str(one) for one in requirements(wheel) if one.marker is None]
        python = folder / "bin" / "python"
        install(python, "--resolution", end.resolution, str(wheel), *direct)

    return made_once(tmp_path_factory, f"client-{end.name}-alone", make) / "bin" / "python"


@pytest.fixture(scope="module")
def furnished(
    tmp_path_factory: pytest.TempPathFactory, end: End, wheel: Path, room: Path, alone: Path
) -> Path:
    """The Python of a second environment like that one, with the extras and what tests need."""

    def make(folder: Path) -> None:
        venv = [UV, "venv", "--quiet", "--clear", "--no-project", "--python", str(alone)]
        done = run(*venv, str(folder), cwd=wheel.parent)
        assert done.returncode == 0, done.stderr
        python = folder / "bin" / "python"
        pins = folder / "pins.txt"

        def pin(there: Path) -> None:
            have = installed_in(there)
            del have["tfs-client"]
            pins.write_text("".join(f"{name}=={version}\n" for name, version in have.items()))

        pin(alone)
        extras = [f"{one.name}{one.specifier}" for one in requirements(wheel) if one.marker]
        arguments = ("--constraint", str(pins), "--resolution", end.resolution)
        install(python, *arguments, str(wheel), *extras)
        pin(python)
        tools = ("--group", f"{room / 'pyproject.toml'}:tests")
        install(python, "--constraint", str(pins), *tools)

    return made_once(tmp_path_factory, f"client-{end.name}", make) / "bin" / "python"


@each_end
def test_it_brings_nothing_but_what_it_names(end: End, alone: Path) -> None:
    named = {"tfs-client", "grpcio", "protobuf", "numpy"}
    of_grpcio = {"six", "typing-extensions"}  # the one of older, the other of newer
    assert named <= set(installed_in(alone)) <= named | of_grpcio


@pytest.mark.parametrize("end", ENDS[:1], ids=["oldest"], scope="module")
def test_the_lower_bounds_are_the_versions_that_are_tried(
    end: End, wheel: Path, alone: Path
) -> None:
    if end.nearest[0] != end.python:
        pytest.skip(f"needs Python {end.python}: uv python install {end.python}")
    have = installed_in(alone)
    bounds = {
        one.name: Version(bound.version)
        for one in requirements(wheel)
        for bound in one.specifier
        if one.marker is None and bound.operator == ">="
    }
    assert {name: Version(have[name]) for name in bounds} == bounds


EVERY_NAME = """
import tfs_client, sys
for name in tfs_client.__all__:
    getattr(tfs_client, name)
print(tfs_client.__file__)
"""


@each_end
def test_every_public_name_can_be_imported_where_nothing_else_is(end: End, alone: Path) -> None:
    done = run(str(alone), "-I", "-W", "error", *end.warnings, "-c", EVERY_NAME, cwd=Path("/"))

    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(alone.parents[1])


@each_end
def test_its_command_is_there(end: End, alone: Path) -> None:
    done = run(str(alone.with_name("tfs")), "--help", cwd=Path("/"))
    assert (done.returncode, done.stdout[:10]) == (0, "usage: tfs"), done.stderr


# ---- its own tests ----


def written_tests(folder: Path) -> set[str]:
    """The names of all tests that are written in a folder's files; not those within a text."""
    return {
        node.name
        for path in folder.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


@each_end
def test_all_its_own_tests_pass(end: End, furnished: Path, room: Path) -> None:
    python = str(furnished)
    where = run(python, "-c", "import tfs_client; print(tfs_client.__file__)", cwd=room)
    assert Path(where.stdout.strip()).is_relative_to(furnished.parents[1]), where.stderr
    report = room / f"{end.name}.xml"
    pytest_flags = ["-q", "-p", "no:cacheprovider", *end.warnings, f"--junit-xml={report}"]

    done = run(
        *[python, "-m", "pytest", *pytest_flags],
        cwd=room,
        timeout_s=TESTS_S,
    )

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = {
        str(case.get("name")).partition("[")[0]
        for case in ElementTree.parse(report).iter("testcase")
        if not {child.tag for child in case} & {"failure", "error", "skipped"}
    }
    # gevent is no dependency of the client, and has no wheels for every Python.
    assert written_tests(room / "tests") - passed <= {
        "test_a_call_that_blocks_every_greenlet_is_told"
    }


# ---- its types ----

TYPED = """
import numpy as np

from tfs_client import (
    Client,
    ImageClassifier,
    ImagePrediction,
    NotFoundError,
    Prediction,
    TfsError,
    contract,
    image_to_array,
)


def ask(picture: bytes) -> str:
    with Client("localhost:8500", timeout_s=1) as client:
        try:
            answer = ImageClassifier(client, label="stable").predict(picture)
            held: ImagePrediction = answer
            prediction = client.predict({"x": np.zeros(3)}, model=contract.MODEL_NAME)
            total = prediction["y"].sum() + image_to_array(picture, (64, 64)).size
        except NotFoundError as error:
            raise LookupError from error
    wrong: bytes = answer.label  # type: ignore[assignment]
    wrong_too: list[int] = prediction.version  # type: ignore[assignment]
    wrong_argument = Client(8500)  # type: ignore[arg-type]
    return f"{held.label} {total} {wrong!r} {wrong_too} {wrong_argument}"


def version_of(prediction: Prediction | TfsError) -> int | None:
    return prediction.version if isinstance(prediction, Prediction) else None
"""


@each_end
def test_a_strict_mypy_knows_the_types_of_the_installed_wheel(
    end: End, alone: Path, tmp_path: Path
) -> None:
    (tmp_path / "caller.py").write_text(TYPED)
    flags = ["--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]

    done = run(
        *[sys.executable, "-m", "mypy", *flags, "--python-executable", str(alone), "caller.py"],
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stdout + done.stderr
