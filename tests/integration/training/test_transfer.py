"""Training on a backbone's features: the run stands alone, and features are computed once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import pytest

from tests import torch_files
from tfs_client import contract
from training import run

pytestmark = pytest.mark.slow


class Trained(NamedTuple):
    made: run.Run
    images: Path
    weights: Path
    runs: Path
    said: str

    def flags(self, weights: Path | None = None, runs: Path | None = None) -> tuple[str, ...]:
        """The flags of the run, with another file or another folder for the runs."""
        return _flags(self.images, weights or self.weights, runs or self.runs)


def _flags(images: Path, weights: Path, runs: Path) -> tuple[str, ...]:
    return (
        *("training.train", "--data", str(images), "--runs", str(runs)),
        *("--backbone", "efficientnet_lite0", "--backbone-weights", str(weights)),
        *("--backbone-cut", "40", "--image-height", "32", "--image-width", "32"),
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network that nobody trained: bright and dark pictures differ in its features as well."""
    path = tmp_path_factory.mktemp("weights") / "lite.pth"
    torch_files.write(path, torch_files.lite_tensors(np.random.default_rng(3)))
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 noisy pictures, dark and bright."""
    folder = tmp_path_factory.mktemp("data") / "images"
    random = np.random.default_rng(5)
    for label, low in (("good", 0), ("bad", 130)):
        (folder / label).mkdir(parents=True)
        for index in range(20):
            pixels = random.integers(low, low + 120, (24, 24, 3), np.uint8)
            PIL.Image.fromarray(pixels).save(folder / label / f"{index:02}.png")
    return folder


@pytest.fixture(scope="module")
def trained(
    weights: Path, images: Path, tmp_path_factory: pytest.TempPathFactory, command: Callable
) -> Trained:
    runs = tmp_path_factory.mktemp("runs")
    done = command(*_flags(images, weights, runs))
    assert done.returncode == 0, done.stderr
    return Trained(run.load(Path(done.stdout.strip())), images, weights, runs, done.stderr)


def test_a_run_says_what_it_stands_on_and_learns(trained: Trained, weights: Path) -> None:
    made = trained.made
    assert made.id.startswith("efficientnet_lite0-")
    told = made.settings["model"]["backbone"]
    assert (told["name"], told["cut"], told["licence"]) == ("efficientnet_lite0", 40, None)
    assert "licence of these weights are not known" in trained.said
    assert made.metrics()["test"]["accuracy"] == 1.0
    report = (made.path / run.REPORT).read_text()
    assert "efficientnet_lite0" in report


def test_the_run_answers_without_the_file_of_weights(
    trained: Trained, weights: Path, tmp_path: Path
) -> None:
    """Its weights hold the backbone's: an export needs nothing that may be gone."""
    from training import architectures
    from training.data import pipeline
    from training.learning import evaluation

    gone = weights.rename(tmp_path / "away.pth")
    try:
        model = architectures.build_model(trained.made.config)
        model.load_weights(trained.made.weights)
        rows = trained.made.predictions()
        files = [str(trained.made.file(row.path)) for row in rows]
        pixels = pipeline.pixels(files, [0] * len(files), trained.made.config)
        batches = pipeline.scaled_batches(pixels, trained.made.config)
        answered = evaluation.Predictor(model).probabilities(batches)
    finally:
        gone.rename(weights)
    np.testing.assert_allclose(answered, run.model_scores(rows), atol=1e-6)


@pytest.mark.thorough
def test_another_head_takes_the_features_that_are_there(
    trained: Trained, command: Callable
) -> None:
    (kept,) = (trained.runs / ".features").iterdir()
    before = kept.read_bytes()
    head = ("--head", "trained", "--learning-rate", "0.05", "--epochs", "30")
    done = command(*trained.flags(), *head, "--fine-tune-epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "features of the train images: all of them kept from before" in done.stderr
    assert kept.read_bytes() == before
    other = run.load(Path(done.stdout.strip()))
    assert other.id != trained.made.id
    assert other.metrics()["test"]["accuracy"] == 1.0
    assert {path.name for path in other.path.iterdir() if path.is_dir()} == {
        run.SAMPLES,
        run.TENSORBOARD,
    }


@pytest.mark.thorough
def test_features_that_cannot_be_read_are_computed_anew(
    trained: Trained, command: Callable, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(trained.runs / ".features", runs / ".features")
    (kept,) = (runs / ".features").iterdir()
    kept.write_bytes(kept.read_bytes()[:300])
    done = command(*trained.flags(runs=runs))
    assert done.returncode == 0, done.stderr
    assert f"{kept} cannot be read" in done.stderr
    again = run.load(Path(done.stdout.strip()))
    assert again.id == trained.made.id
    assert [one.model_scores for one in again.predictions()] == [
        one.model_scores for one in trained.made.predictions()
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("cut", "as torch.save writes a state_dict"),
        ("other", "Expected the weights of EfficientNet-Lite0"),
        ("none", "Expected --backbone-weights to be a file"),
    ],
)
def test_a_wrong_file_is_one_line_and_leaves_no_run(
    trained: Trained, weights: Path, tmp_path: Path, command: Callable, change: str, told: str
) -> None:
    path, runs = tmp_path / "a.pth", tmp_path / "runs"
    if change == "cut":
        path.write_bytes(weights.read_bytes()[:5000])
    elif change == "other":
        torch_files.write(path, {"fc.weight": np.zeros((2, 3), np.float32)})
    done = command(*trained.flags(weights=path, runs=runs))
    assert done.returncode == 2
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(runs.glob(f"[!.]*/{run.SETTINGS}"))


@pytest.mark.thorough
def test_the_exported_version_gives_the_runs_answers(
    trained: Trained, tmp_path: Path, command: Callable
) -> None:
    models = tmp_path / "models"
    done = command(
        "export.saved_model", "--run", str(trained.made.path), "--models", str(models),
        timeout_s=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = json.loads((Path(done.stdout.strip()) / contract.MODEL_CARD).read_text())
    assert card["backbone"] == trained.made.settings["model"]["backbone"]
    assert card["checks"]
