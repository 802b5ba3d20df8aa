"""Which images the gate judges by: none that a version has learned from."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

from export.gate import images as gate_images
from foundation.command_line import InputError
from tests.integration.export.gate_versions import EQUAL
from tfs_client import contract
from training import run


@pytest.fixture
def both(gate_store: Path, gate_runs: Path, tmp_path: Path) -> list[gate_images.Version]:
    """Version 2 of the run as it is, and version 1 of a copy, whose split a test changes."""
    made = run.load(gate_runs / "latest")
    copies = tmp_path / "runs"
    other = copies / "other"
    shutil.copytree(made.path, other)
    settings = json.loads((other / run.SETTINGS).read_text())
    (other / run.SETTINGS).write_text(json.dumps(settings | {"id": "other"}))
    shutil.copytree(made.path, copies / made.id)
    models = tmp_path / "models"
    for number in (1, EQUAL):
        target = models / str(number) / contract.MODEL_CARD
        target.parent.mkdir(parents=True)
        shutil.copy(gate_store / contract.MODEL_NAME / str(number) / contract.MODEL_CARD, target)
        (models / str(number) / "saved_model.pb").touch()
    card = json.loads((models / "1" / contract.MODEL_CARD).read_text())
    (models / "1" / contract.MODEL_CARD).write_text(json.dumps(card | {"run": "other"}))
    return [gate_images.load_version(models, number, copies) for number in (EQUAL, 1)]


def _change_split(made: run.Run, change: Callable[[list[dict[str, str]]], None]) -> None:
    with (made.path / run.SPLIT).open(newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with (made.path / run.SPLIT).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _tested(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if row["split"] == "test"]


def test_an_image_that_either_version_learned_from_is_not_held_out(
    both: list[gate_images.Version],
) -> None:
    whole = gate_images.held_out(both)
    learned = []

    def change(rows: list[dict[str, str]]) -> None:
        for row, split in zip(_tested(rows)[:3], ("train", "validation", "train")):
            row["split"] = split
            row["path"] = "under another name.png"  # it is the pixels that count
            learned.append(row["pixels_sha256"])

    _change_split(both[1].made, change)
    found = gate_images.held_out(both)
    left = {image.pixels_sha256 for image in found.images}
    assert len(left) == len(found.images) == len(whole.images) - 3
    assert not left & set(learned)
    assert found.left_out["a version was trained on it"] == 3


def test_both_runs_test_images_count_each_picture_once(both: list[gate_images.Version]) -> None:
    whole = gate_images.held_out(both)
    assert whole.left_out == {"it is listed twice": len(whole.images)}

    def move_three(rows: list[dict[str, str]]) -> None:
        for row in [row for row in rows if row["split"] == "train"][:3]:
            row["split"] = "test"

    for version in both:
        _change_split(version.made, move_three)
    assert len(gate_images.held_out(both).images) == len(whole.images) + 3


def test_an_image_of_a_part_that_either_version_learned_from_is_not_held_out(
    both: list[gate_images.Version],
) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        _tested(rows)[0]["group"] = "part 7"
        next(row for row in rows if row["split"] == "train")["group"] = "part 7"

    whole = gate_images.held_out(both)
    _change_split(both[0].made, change)
    _change_split(both[1].made, lambda rows: _tested(rows)[0].update(split="unused"))
    found = gate_images.held_out(both)
    assert len(found.images) == len(whole.images) - 1
    assert found.left_out["a version was trained on its group"] == 1


def test_an_image_with_both_labels_judges_nobody(both: list[gate_images.Version]) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        row = _tested(rows)[0]
        row["label"] = next(name for name in ("good", "bad") if name != row["label"])

    whole = gate_images.held_out(both)
    _change_split(both[1].made, change)
    found = gate_images.held_out(both)
    assert len(found.images) == len(whole.images) - 1
    assert found.left_out["it is listed with several labels"] == 2


def test_given_images_leave_out_those_that_were_learned_from(
    both: list[gate_images.Version], gate_pictures: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(gate_pictures, tmp_path / "given")
    # in another format, and one that nobody knows
    known = next(row for row in both[0].made.predictions() if row.split == "validation")
    with PIL.Image.open(gate_pictures / known.path) as picture:
        picture.save(data / known.label / "again.bmp")
    PIL.Image.new("RGB", (24, 24), (1, 2, 3)).save(data / "good" / "new.png")
    found = gate_images.held_out(both, str(data))
    assert len(found.images) == len(gate_images.held_out(both).images) + 1
    assert found.left_out["a version was trained on it"] == 120 - len(found.images) + 1 + 1
    assert "good/new.png" in [image.path for image in found.images]


def test_too_few_images_and_a_missing_class_are_refused_with_advice(
    both: list[gate_images.Version],
) -> None:
    def only_good(rows: list[dict[str, str]]) -> None:
        for row in rows:
            if row["label"] == "bad":
                row["split"] = "train"

    for version in both:
        _change_split(version.made, only_good)
    with pytest.raises(InputError, match=r"of each class\. Received: .* 0 of bad.*--data folder"):
        gate_images.held_out(both)


def test_a_version_without_a_model_or_a_card_is_refused_with_advice(
    both: list[gate_images.Version],
) -> None:
    models, copies = both[0].folder.parent, both[0].made.path.parent
    (models / "1" / contract.MODEL_CARD).write_text("{}")
    with pytest.raises(InputError, match=r"to name the run and the classes.*Export the version"):
        gate_images.load_version(models, 1, copies)
    (models / "1" / "saved_model.pb").unlink()
    with pytest.raises(InputError, match=r"no saved_model\.pb there\. Export the version"):
        gate_images.load_version(models, 1, copies)


def test_images_that_are_gone_are_refused_with_advice(both: list[gate_images.Version]) -> None:
    _change_split(both[1].made, lambda rows: _tested(rows)[0].update(path="gone.png"))
    with pytest.raises(InputError, match=r"gone\.png does not exist\. Put them back"):
        gate_images.held_out(both)


def test_the_corrupted_images_are_of_both_classes_alike(both: list[gate_images.Version]) -> None:
    found = gate_images.held_out(both).images
    chosen = gate_images.sample(found, 24)
    assert len(chosen) == 24
    assert sum(found[index].place for index in chosen) == 12
    assert chosen == gate_images.sample(found, 24)
    assert gate_images.sample(found, 10_000) == list(range(len(found)))
    few_positive = [image for image in found if image.place][:4]
    mixed = few_positive + [image for image in found if not image.place]
    chosen = gate_images.sample(mixed, 24)
    assert sum(mixed[index].place for index in chosen) == 4
    assert len(chosen) == 24
