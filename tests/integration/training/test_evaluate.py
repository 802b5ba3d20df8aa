"""An evaluation over folds: every image is tested once, and what stands is not trained again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house.pages import plots, whole
from training import run


@pytest.fixture
def mislabelled(image_folder: Path) -> Path:
    """Dark pictures are good and bright ones bad, but for one of each."""
    good, bad = (image_folder / label for label in ("good", "bad"))
    (good / "00.png").rename(bad / "dark.png")
    (bad / "00.png").rename(good / "bright.png")
    return image_folder


FLAGS = ("--image-height", "24", "--image-width", "24", "--batch-size", "4", "--epochs", "30")


@pytest.mark.thorough
def test_each_image_is_tested_once_and_wrong_labels_are_found(
    mislabelled: Path, tmp_path: Path, command: Callable
) -> None:
    given = ("training.evaluate", "--folds", "2", "--data", str(mislabelled), *FLAGS)
    done = command(*given, cwd=tmp_path, timeout_s=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "build/evaluate.html\n"
    found = json.loads((tmp_path / "build/evaluate.json").read_text())
    runs = [run.load(tmp_path / "build/runs" / name) for name in found["runs"]]
    tested = [row.path for made in runs for row in made.predictions() if row.split == "test"]
    assert len(tested) == len(set(tested)) == 40
    assert found["together"][0]["count"] == 40
    assert found["together"][0]["most_frequent_share"] == 0.5
    accuracies = [made.metrics()["test"]["accuracy"] for made in runs]
    assert found["figures"]["accuracy"]["values"] == accuracies
    assert found["figures"]["accuracy"]["mean"] == pytest.approx(sum(accuracies) / 2)
    doubted = {one["path"] for one in found["doubted_labels"][:2]}
    assert doubted == {"bad/dark.png", "good/bright.png"}
    page = whole(tmp_path / "build/evaluate.html", "Labels in doubt", "bad/dark.png")
    assert plots(page) == 2
    assert not (tmp_path / "runs").exists()

    # One fold stands already: the other one alone is trained again.
    shutil.rmtree(runs[1].path)
    again = command(*given, cwd=tmp_path, timeout_s=300)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("this run stands already") == 1
    assert json.loads((tmp_path / "build/evaluate.json").read_text())["runs"] == found["runs"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--folds", "1"), "Expected --folds of 2 or more"),
        (("--seed", "3"), "--folds, --resume, --teacher. Received: --seed"),
        (("--folds", "2", "--epochs", "0"), "Expected --epochs to be 1 or more"),
        (("--teacher-flags", "--epochs 0"), "Expected --epochs to be 1 or more"),
        (("--teacher-flags", "'"), "Expected --teacher-flags to be flags of training.train"),
        (("--teacher-flags", "--teacher a"), "--resume, --teacher. Received: --teacher"),
        (("--target", "recal>=0.9"), "Expected a target such as recall>=0.95"),
        (("--folds", "41"), "Expected fold 1 to train"),  # of 40 images
    ],
)
def test_what_cannot_be_evaluated_is_told_in_one_line(
    image_folder: Path, tmp_path: Path, command: Callable, flags: tuple[str, ...], told: str
) -> None:
    done = command("training.evaluate", "--data", str(image_folder), *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
