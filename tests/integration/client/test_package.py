"""What `make build-client` builds: what is in it, what it asks for, and under which licence."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

import tfs_client
from tests.conftest import ROOT
from tests.integration.client.wheels import REPOSITORY, contents, metadata, requirements

CLIENT = ROOT / "serving" / "client"


def packed_files(source: Path) -> set[str]:
    """The paths in a source distribution, below its one folder."""
    with tarfile.open(source) as archive:
        return {one.name.partition("/")[2] for one in archive.getmembers() if one.isfile()}


def written_files(folder: str) -> set[str]:
    """The files of one of the client's folders that git does not ignore."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder],
        cwd=CLIENT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {path for path in done.stdout.splitlines() if (CLIENT / path).exists()}


# ---- what is in it ----


def test_the_wheel_from_the_source_distribution_is_the_wheel_from_the_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=CLIENT,
        env={**os.environ, "REPOSITORY_URL": REPOSITORY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert contents(wheel) == contents(tmp_path / wheel.name)


def test_the_source_distribution_holds_the_package_its_tests_and_what_one_reads_first(
    source: Path,
) -> None:
    top = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "PKG-INFO", ".gitignore"}
    top.add("hatch_build.py")
    expected = top | written_files("tfs_client") | written_files("tests")
    assert packed_files(source) == expected


def test_the_wheel_holds_the_typed_package_and_nothing_else(wheel: Path) -> None:
    packed = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert packed == written_files("tfs_client")
    assert "tfs_client/py.typed" in packed


# ---- what it says of itself ----


def test_the_wheel_asks_for_grpc_protobuf_and_numpy_alone(wheel: Path) -> None:
    always = {one.name for one in requirements(wheel) if one.marker is None}
    assert always == {"grpcio", "protobuf", "numpy"}
    names = {canonicalize_name(one.name) for one in requirements(wheel)}
    assert not [name for name in names if name.startswith(("tensorflow", "keras"))]


def test_the_licence_is_named_and_its_text_comes_along(wheel: Path) -> None:
    text = (ROOT / "LICENSE").read_bytes()
    assert text.split()[:2] == [b"Apache", b"License"]
    assert (CLIENT / "LICENSE").read_bytes() == text
    (packed,) = [name for name in contents(wheel) if name.endswith("/licenses/LICENSE")]
    assert contents(wheel)[packed] == text
    said = metadata(wheel)
    assert (said["License-Expression"], said["License-File"]) == ("Apache-2.0", "LICENSE")


def test_authors_addresses_and_classifiers_are_in_the_wheel(wheel: Path) -> None:
    said = metadata(wheel)
    assert said["Author"] == "The authors of the TensorFlow Serving deployment bundle"
    assert dict(one.split(", ") for one in said.get_all("Project-URL", [])) == {
        "Repository": REPOSITORY,
        "Issues": f"{REPOSITORY}/issues",
        "Documentation": f"{REPOSITORY}/blob/HEAD/docs/client/README.md",
        "Changelog": f"{REPOSITORY}/blob/HEAD/serving/client/CHANGELOG.md",
    }
    for file in ("docs/client/README.md", "serving/client/CHANGELOG.md"):
        assert (ROOT / file).is_file()
    classifiers = set(said.get_all("Classifier", []))
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)} < classifiers
    assert {"Typing :: Typed", "Environment :: Console"} < classifiers
    assert said["Requires-Python"] == ">=3.10"
    assert said["Description-Content-Type"] == "text/markdown"
    assert "image-classification" in said["Keywords"]


@pytest.mark.parametrize("address", ["git.example/team", "https://", "https://a b", "$(whoami)"])
def test_what_is_no_address_is_refused(address: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=CLIENT,
        env={**os.environ, "REPOSITORY_URL": address},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Expected REPOSITORY_URL such as https://" in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_an_address_none_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "metadata", "urls"],
        cwd=CLIENT,
        env={name: value for name, value in os.environ.items() if name != "REPOSITORY_URL"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "{}")


def test_package_metadata_and_changelog_name_one_version(wheel: Path) -> None:
    changelog = (CLIENT / "CHANGELOG.md").read_text()
    dated = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", changelog, re.MULTILINE)
    assert metadata(wheel)["Version"] == dated[0]
    assert importlib.metadata.version("tfs-client") == dated[0]
    assert tfs_client.__version__ == dated[0]


# ---- what it needs ----

EVERY_NAME_ALONE = """
import sys

class OnlyItsOwn:
    "Refuses what is neither of the standard library nor a dependency of the wheel."

    allowed = {*sys.stdlib_module_names, "tfs_client", "grpc", "google", "numpy"}
    allowed.add("typing_extensions")  # a dependency of grpcio

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, OnlyItsOwn())
import tfs_client

for name in tfs_client.__all__:
    getattr(tfs_client, name)
import tfs_client.cli
print(tfs_client.__file__)
"""


def test_every_public_name_and_the_command_import_from_the_wheel_with_its_dependencies_alone(
    wheel: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EVERY_NAME_ALONE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(wheel))


def test_the_tests_import_only_what_the_package_says_they_need() -> None:
    allowed = {*sys.stdlib_module_names, "tfs_client", "grpc", "google", "numpy"}
    allowed |= {"PIL", "ml_dtypes", "opentelemetry", "prometheus_client"}  # the extras
    allowed |= {"pytest", "hypothesis", "trustme"}  # and the group "tests"
    foreign = {
        f"{path.relative_to(CLIENT)}: {name}"
        for path in (CLIENT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in imported(node)
        if name.partition(".")[0] not in allowed
    }
    assert not foreign


def imported(node: ast.AST) -> list[str]:
    """The modules that a statement imports by their full names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [str(node.module)]
    return []
