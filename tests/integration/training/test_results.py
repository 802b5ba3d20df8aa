"""What a run says of itself where its data or its answers are not as one would wish."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from export import saved_model
from training import run


@pytest.fixture(scope="module")
def guess(
    tmp_path_factory: pytest.TempPathFactory, command: Callable
) -> tuple[run.Run, str, list[bytes]]:
    """A run on noise, of two classes whose names differ in one blank; its log and its pictures."""
    folder = tmp_path_factory.mktemp("data") / "images"
    random = np.random.default_rng(4)
    files = []
    for label in ("a b", "a_b"):
        for split, count in (("Train", 12), ("test", 30)):
            (folder / split / label).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 256, (24, 24, 3), np.uint8)
                PIL.Image.fromarray(pixels).save(folder / split / label / f"{index:02}.png")
                files.append((folder / split / label / f"{index:02}.png").read_bytes())
    (folder / "test" / "a b" / "more.webp").write_bytes(b"")
    runs = tmp_path_factory.mktemp("runs")
    done = command(
        "training.train", "--data", str(folder), "--runs", str(runs), "--epochs", "1",
        "--image-height", "16", "--image-width", "16",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return run.load(runs / "latest"), done.stderr, files


def test_a_run_not_shown_better_than_guessing_says_so_everywhere(
    guess: tuple[run.Run, str, list[bytes]],
) -> None:
    made, log, _ = guess
    test = made.metrics()["test"]
    assert test["roc_auc_interval"][0] < 0.5
    assert "not shown to be better than guessing by the test images: ROC-AUC" in log
    page = (made.path / run.REPORT).read_text()
    assert "Not shown to be better than guessing by the test images: ROC-AUC" in page
    card = saved_model._model_card(made, 1, made.path, {})
    assert card["not_shown_better_than_guessing"][0].startswith(
        f"ROC-AUC {test['roc_auc']:.3f} on 60"
    )


def test_classes_whose_names_look_alike_have_a_sample_each(
    guess: tuple[run.Run, str, list[bytes]],
) -> None:
    made, _, files = guess
    samples = sorted((made.path / run.SAMPLES).iterdir())
    assert [path.name for path in samples] == ["a_b_0.png", "a_b_1.png"]
    contents = [path.read_bytes() for path in samples]
    assert contents[0] != contents[1]
    assert set(contents) <= set(files)


def test_what_was_guessed_and_left_out_is_told(guess: tuple[run.Run, str, list[bytes]]) -> None:
    made, log, _ = guess
    assert "positive=a_b (only as the last by name" in log
    assert "nothing is fixed to validation: taken from train" in log
    assert (
        "1 unusable files are set aside; the run names each one in set_aside.csv: 1 x .webp" in log
    )
    assert json.loads((made.path / run.SETTINGS).read_text())["data"]["images"] == {
        "train": 19, "validation": 5, "test": 60,
    }  # fmt: skip
    assert "test/a b/more.webp,a b,.webp is not decoded" in (made.path / run.SET_ASIDE).read_text()


@pytest.mark.thorough
def test_wrong_labels_of_one_part_of_the_images_are_found(
    image_folder: Path, tmp_path: Path, command: Callable
) -> None:
    """A manifest's own columns divide the figures; one line has its labels swapped."""
    rows = ["path,label,line,serial"]
    swapped = {"good": "bad", "bad": "good"}
    for place, path in enumerate(sorted(image_folder.rglob("*.png"))):
        line, label = "AABC"[place % 4], path.parent.name
        name = path.relative_to(image_folder).as_posix()
        rows.append(f"{name},{swapped[label] if line == 'C' else label},{line},no. {place}")
    (image_folder / "list.csv").write_text("\n".join(rows))
    flags = ("--train-share", "0.3", "--validation-share", "0.1", "--epochs", "40", "--folds", "2")
    size = ("--image-height", "24", "--image-width", "24", "--batch-size", "8")
    given = (
        "training.evaluate",
        "--target",
        "balanced",
        *flags,
        *size,
        "--data",
        str(image_folder / "list.csv"),
    )
    done = command(*given, cwd=tmp_path, timeout_s=300)
    assert done.returncode == 0, done.stderr
    (together,) = json.loads((tmp_path / "build/evaluate.json").read_text())["together"]
    found = {(one["column"], one["value"]): one for one in together["slices"]}
    assert {key for key, one in found.items() if one["worse"]} == {("line", "C")}
    assert found["line", "C"]["accuracy"] < 0.5
    assert together["not_sliced_by"] == {"serial": 40}
    page = (tmp_path / "build/evaluate.html").read_text()
    assert "line=C" in page
    assert "worse than the others" in page
    (one, _) = sorted((tmp_path / "build/runs").glob("cnn-*/"))
    with (one / run.SPLIT).open(newline="") as file:
        assert {row["line"] for row in csv.DictReader(file)} == set("ABC")
    report = (one / run.REPORT).read_text()
    assert "line=A" in report
    assert "Not divided by serial (40 values)" in report
