"""A sweep: variants by seeds, ranked by validation, and what stands is not trained again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house.pages import plots, whole
from training import run

FLAGS = ("--image-height", "24", "--image-width", "24", "--batch-size", "8", "--epochs", "3")


@pytest.mark.thorough
def test_variants_are_ranked_by_validation_and_a_teacher_teaches(
    image_folder: Path, tmp_path: Path, command: Callable
) -> None:
    listed = [
        {"name": "hardly trained", "flags": "--learning-rate 0.0001"},
        {"name": "trained", "flags": "--learning-rate 0.003"},
        {
            "name": "taught",
            "flags": "--learning-rate 0.003 --architecture cnn_batch_norm --mixup 0.2 "
            "--optimizer adamw --schedule cosine --weight-averaging 0.5 --balance-classes",
            "teacher": "trained",
        },
    ]
    (tmp_path / "variants.json").write_text(json.dumps(listed))
    given = (
        *("training.sweeping.sweep", "--variants", "variants.json", "--seeds", "2"),
        *("--by", "log_loss", "--", "--data", str(image_folder), *FLAGS),
    )
    done = command(*given, cwd=tmp_path, timeout_s=400)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "build/sweep.json").read_text())
    rows = {row["variant"]["name"]: row for row in found["rows"]}
    losses = [row["validation"]["log_loss"]["mean"] for row in found["rows"]]
    assert losses == sorted(losses)
    assert found["rows"][0]["variant"]["name"] != "hardly trained"
    assert found["rows"][0]["behind"]["values"] == [0, 0]
    hardly, first = rows["hardly trained"], found["rows"][0]
    assert hardly["behind"]["values"] == pytest.approx(
        [
            other - best
            for other, best in zip(
                hardly["validation"]["log_loss"]["values"],
                first["validation"]["log_loss"]["values"],
            )
        ]
    )
    for row in rows.values():
        for split in ("validation", "test"):
            assert len(row[split]["log_loss"]["values"]) == 2
        assert row["answer_ms"] > 0
    table, page = done.stdout.splitlines()[:-1], done.stdout.splitlines()[-1]
    assert len(table) == 2 + 3
    assert page == "build/sweep.html"
    assert plots(whole(tmp_path / page, "hardly trained", "taught")) == 1

    runs = tmp_path / "build/runs"
    taught = run.load(runs / rows["taught"]["runs"][1])
    assert Path(taught.settings["config"]["teacher"]).name == rows["trained"]["runs"][1]

    # One run is gone: it alone is trained again.
    shutil.rmtree(runs / rows["hardly trained"]["runs"][0])
    again = command(*given, cwd=tmp_path, timeout_s=400)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("this run stands already") == 5


@pytest.mark.thorough
def test_a_teacher_that_knows_the_held_out_images_is_refused(
    image_folder: Path, tmp_path: Path, command: Callable
) -> None:
    given = ("training.train", "--data", str(image_folder), "--runs", str(tmp_path / "runs"))
    done = command(*given, *FLAGS)
    assert done.returncode == 0, done.stderr
    teacher = run.load(Path(done.stdout.strip()))
    refused = command(*given, *FLAGS, "--seed", "2", "--teacher", teacher.id)
    assert refused.returncode == 2
    said = refused.stderr.splitlines()[-1]
    assert "Expected a teacher that has not learned from the images that this run holds" in said
    others = ("--data", str(image_folder), "--positive", "good", "--teacher", teacher.id)
    refused = command("training.train", "--runs", str(tmp_path / "runs"), *others, *FLAGS)
    assert refused.returncode == 2
    assert "Expected a teacher of the classes bad, good" in refused.stderr.splitlines()[-1]
    refused = command(*given, *FLAGS, "--teacher", "cnn-nobody")
    assert refused.returncode == 2
    assert "Expected a run in" in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "one of the arguments --vary --variants is required"),
        (("--vary", "epochs"), "Expected --vary as in"),
        (("--vary", "epochs=1", "--seeds", "0"), "Expected --seeds of 1 to 100"),
        (("--vary", "epochs=1", "--", "--seed", "3"), "Expected flags of training.train but"),
        (("--vary", "epochs=3,0"), "Expected --epochs to be 1 or more"),
        (("--vary", "epoch_count=3"), "unrecognized arguments: --epoch-count"),
        (("--variants", "none.json"), "No such file"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, command: Callable, flags: tuple[str, ...], told: str
) -> None:
    done = command("training.sweeping.sweep", *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "build").exists()
