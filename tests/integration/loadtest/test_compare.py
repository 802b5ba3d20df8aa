"""The comparison as a command: versions of a real server, of which one is a fifth slower."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from loadtest import compare
from tests import slow_versions
from tests.e2e.launching import ROOT, serving
from tfs_client import contract

CONFIG = """model_config_list { config {
  name: "image_classifier" base_path: "/models/image_classifier" model_platform: "tensorflow"
  model_version_policy { specific { versions: 1 versions: 2 versions: 3 } }
  version_labels { key: "stable" value: 1 }
  version_labels { key: "same" value: 2 }
  version_labels { key: "slow" value: 3 }
} }
"""

ROUNDS = 200

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions: the second equals the first, the third does a fifth more; and pictures."""
    folder = tmp_path_factory.mktemp("compare")
    for version, rounds in ((1, ROUNDS), (2, ROUNDS), (3, ROUNDS * 6 // 5)):
        slow_versions.save(folder / "models" / contract.MODEL_NAME / str(version), rounds)
    (folder / "models.config").write_text(CONFIG)
    shutil.copy(ROOT / "serving" / "monitoring.config", folder)
    (folder / "pictures").mkdir()
    random = np.random.default_rng(0)
    for at in range(5):
        pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{at}.png")
    return folder


@pytest.fixture(scope="module")
def target(place: Path) -> Iterator[str]:
    flags = ("--models", str(place / "models"), "--config", str(place / "models.config"))
    with serving(place / "serve.log", *flags) as (grpc_address, _, _):
        yield grpc_address


@pytest.fixture
def load(place: Path, target: str) -> tuple[str, ...]:
    """Flags of a load that leaves the machine most of its time."""
    pictures = ("--images", str(place / "pictures"))
    return ("--target", target, *pictures, "--rate", "40", "--duration-s", "25")


def figures(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "build" / "loadtest-compare.json").read_text())
    return {row["name"]: row["value"] for row in content["results"]}


def test_a_fifth_more_work_is_found_in_one_load(
    command: Command, load: tuple[str, ...], tmp_path: Path
) -> None:
    done = command("loadtest.compare", "--labels", "stable,slow", *load, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "slow (B) against stable (A): B is worse: p50 +" in done.stdout.splitlines()[-1]
    found = figures(tmp_path)
    assert 1.05 < found["p50.ratio"] < 1.35
    assert 1 < found["p50.low"] < found["p50.ratio"] < found["p50.high"]
    page = (tmp_path / "build" / "loadtest-compare.html").read_text()
    assert "Does slow differ from stable?" in page
    assert page.count("<svg") == 3

    again = ("--labels", "slow,stable", "--within", "build/loadtest-compare-recording.json")
    done = command("loadtest.compare", *again, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "B is better: p50 -" in done.stdout.splitlines()[-1]


def test_equal_versions_do_not_differ_by_what_matters(
    command: Command, load: tuple[str, ...], tmp_path: Path
) -> None:
    done = command("loadtest.compare", "--labels", "stable,same", *load, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no difference that matters was found" in done.stdout.splitlines()[-1]
    assert 0.9 < figures(tmp_path)["p50.ratio"] < 1.1


def test_two_loads_are_compared_and_named_by_their_folders(
    command: Command, load: tuple[str, ...], tmp_path: Path
) -> None:
    for name, label in (("before", "stable"), ("after", "slow")):
        (tmp_path / name).mkdir()
        done = command("loadtest.run", *load, "--label", label, cwd=tmp_path / name)
        assert done.returncode == 0, done.stderr
    done = command("loadtest.compare", "before/build", "after/build", cwd=tmp_path)
    # On a machine with neighbours two loads may differ by more than a fifth, either way.
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1), done.stderr
    assert "after/build (B) against before/build (A): " in done.stdout.splitlines()[-1]
    assert figures(tmp_path)["paired"] is False
    assert figures(tmp_path)["throughput.p"] is None


def test_a_mistake_is_one_line_and_exit_code_2(
    command: Command, load: tuple[str, ...], tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    short = (*load[:-1], "3")
    done = command("loadtest.run", *load[:-3], "20", "--duration-s", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "other").mkdir()
    done = command("loadtest.run", *short, cwd=tmp_path / "other")
    assert done.returncode == 0, done.stderr
    (tmp_path / "broken.json").write_text('{"format": "loadtest/2"}')
    for arguments, words in (
        ([], "Expected two runs"),
        (["build"], "Received: 1 runs"),
        (["build", "missing"], "Expected a run's loadtest-recording.json (loadtest/2)"),
        (["build", "broken.json"], "KeyError"),
        (["build", "other/build"], "rate is 20.0 in A and 40.0 in B; --anyway compares them"),
        (["build", "other/build", "--anyway"], "Expected runs of 20 s or more"),
        (["--labels", "stable"], "two labels of one load"),
        (["--labels", "stable,stable"], "two labels of one load"),
        (["--labels", "stable,nope", "--within", "build"], "none to nope"),
        (["--labels", "a,b", "--within", "build", "--rate", "3"], "no flags beside --within"),
        (["--labels", "stable,nope", *short], "Unrecognized servable version label: nope"),
        (["build", "build", "--least", "2"], "Expected --least between 0 and 1"),
    ):
        assert compare.main(list(arguments)) == 2, arguments
        told = capsys.readouterr().err.strip().splitlines()
        assert words in told[-1], (arguments, told)
        assert told[-1].startswith("loadtest.compare: error: ")
    assert not (tmp_path / "build" / "loadtest-compare.json").exists()
