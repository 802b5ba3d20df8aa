"""More than two classes: from folders of pictures to answers, by every road."""

from __future__ import annotations

import base64
import colorsys
import contextlib
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from export import parity
from loadtest import run as loadtest
from tests.e2e import launching
from tests.integration.loadtest import commands
from tfs_client import Client, ImageClassifier, ImagePrediction, cli, contract
from training import run
from training.decision.decision import TopDecision


def draw(folder: Path, classes: int, of_each: int, seed: int) -> None:
    """A sub-folder a class: a disc of the class's colour, somewhere on noise."""
    random = np.random.default_rng(seed)
    for place in range(classes):
        color = colorsys.hsv_to_rgb(place / classes, 1, 1)
        of_class = folder / f"colour {place}"
        of_class.mkdir(parents=True)
        for index in range(of_each):
            picture = PIL.Image.fromarray(random.integers(0, 110, (40, 48, 3), np.uint8))
            left, top = random.integers(0, 20, 2)
            box = (int(left), int(top), int(left) + 18, int(top) + 18)
            # Some shine so faintly that they are hard to tell apart.
            shine = random.uniform(0.2, 1)
            fill = tuple(int(255 * shine * part) for part in color)
            PIL.ImageDraw.Draw(picture).ellipse(box, fill=fill)
            picture.save(of_class / f"{index:03}.png")


class Walk:
    """A folder in which the road is walked, with one number of classes."""

    def __init__(self, folder: Path, command: Callable, classes: int) -> None:
        self.folder = folder
        self.classes = classes
        self.names = tuple(sorted(f"colour {place}" for place in range(classes)))
        self.models = folder / "models"
        self._command = command
        draw(folder / "images", classes, of_each=40, seed=1)

    def step(self, *arguments: str, code: int = 0) -> str:
        done = self._command(*arguments, cwd=self.folder, timeout_s=300)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def train(self) -> run.Run:
        size = ("--image-height", "32", "--image-width", "32")
        self.step("training.train", "--data", "images", "--epochs", "8", *size)
        return run.load(self.folder / "runs" / run.LATEST)

    def export(self) -> Path:
        self.step("export.saved_model", "--if-new")
        versions = sorted((self.models / contract.MODEL_NAME).glob("[0-9]*"))
        return versions[-1]


def check_run(made: run.Run, walk: Walk) -> None:
    assert made.class_names == walk.names
    test = made.metrics()["test"]
    assert test["accuracy"] > 2 * test["most_frequent_share"]
    assert test["balanced_accuracy"] == pytest.approx(
        np.mean([one["recall"] for one in test["classes"]])
    )
    assert np.shape(test["confusion_matrix"]) == (walk.classes, walk.classes)
    page = (made.path / run.REPORT).read_text()
    for words in (*walk.names, "macro F1", "Reliability", "Each class against the rest"):
        assert words in page


def check_decided(walk: Walk, made: run.Run) -> None:
    """Another decision is made without training, and the page and the tables follow."""
    text = walk.step("training.decide", "accuracy>=0.6", "--confidence", "0.6")
    assert f"accuracy>=0.6: the likeliest of {walk.classes} classes" in text
    assert isinstance(made.decision, TopDecision)
    assert made.decision.bound >= 0.6
    assert "accuracy&gt;=0.6" in (made.path / run.REPORT).read_text()
    text = walk.step("training.decide", "recall>=0.9", code=2)
    assert "no positive one" in text
    walk.step("training.decide", "likeliest", "--review", "0.3")
    assert json.loads((made.path / run.METRICS).read_text()) == json.loads(
        json.dumps(made.metrics())
    )


def check_answers(walk: Walk, made: run.Run, target: str, rest: str) -> None:
    rows = [row for row in made.predictions() if row.split == "test"]
    files = [made.file(row.path) for row in rows]
    with Client(target) as client:
        answers = ImageClassifier(client).predict_many(files)
        examples = [{contract.FEATURE_ENCODED: file.read_bytes()} for file in files]
        classified = client.classify(examples).results
        (broken,) = ImageClassifier(client).predict_many(
            [files[0].read_bytes()[:600]], on_bad_image="mark"
        )
    for answer, classes, row in zip(answers, classified, rows, strict=True):
        check_answer(answer, row, walk.names)
        assert tuple(one.label for one in classes) == walk.names
        scores = list(answer.scores.values())
        assert [one.score for one in classes] == pytest.approx(scores, abs=1e-5)
    assert {answer.needs_review for answer in answers} == {True, False}
    assert (broken.valid, broken.label, broken.scores) == (False, "", {})
    by_rest = ask_rest(rest, files[0])
    assert by_rest[contract.OUTPUT_CLASSES] == list(walk.names)
    assert by_rest[contract.OUTPUT_SCORES] == pytest.approx(rows[0].scores, abs=1e-5)
    done = commands.run(
        cli.main, "predict", str(files[0]), "--json", "--target", target, folder=walk.folder
    )
    (shown,) = json.loads(done.out)
    assert tuple(shown["scores"]) == walk.names


def check_answer(answer: ImagePrediction, row: run.Prediction, names: tuple[str, ...]) -> None:
    assert tuple(answer.scores) == names
    assert list(answer.scores.values()) == pytest.approx(row.scores, abs=1e-5)
    assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-5)
    assert answer.label == row.predicted == max(answer.scores, key=answer.scores.__getitem__)
    assert answer.probability == answer.scores[answer.label]
    assert answer.needs_review == row.review


def ask_rest(address: str, file: Path) -> dict:
    url = f"http://{address}/v1/models/{contract.MODEL_NAME}/labels/stable:predict"
    instance = {"b64": base64.b64encode(file.read_bytes()).decode()}
    body = json.dumps({"instances": [instance]}).encode()
    with contextlib.closing(urllib.request.urlopen(url, body, timeout=30)) as response:
        (row,) = json.load(response)["predictions"]
    return row


def check_load_and_parity(walk: Walk, made: run.Run, target: str, rest: str) -> None:
    flags = ("--run", str(made.path), "--target", target, "--rest", rest)
    done = commands.run(parity.main, *flags, folder=walk.folder)
    assert done.code == 0, done.told
    known = ("--images", str(walk.folder / "images"), "--answers", str(made.path / run.PREDICTIONS))
    flags = ("--target", target, "--users", "2", "--duration-s", "1", *known)
    done = commands.run(loadtest.main, *flags, folder=walk.folder)
    assert done.code == 0, done.told
    assert done.figures["failures"] == 0


def check_gate(walk: Walk) -> None:
    """The same run, decided otherwise, on images that belong to no run."""
    draw(walk.folder / "fresh", walk.classes, of_each=30, seed=2)
    text = walk.step("export.gate", "2", "--data", "fresh", "--margin", "0.2")
    for name in ("compatible", "not_worse.balanced_accuracy", "not_worse.log_likelihood"):
        assert f"{name:<27}  holds" in text
    verdict = json.loads(
        (walk.models / contract.MODEL_NAME / "2" / contract.GATE_VERDICT).read_text()
    )
    assert verdict["held_out"]["by_class"] == dict.fromkeys(walk.names, 30)
    figures = verdict["metrics"]["candidate"]
    assert len(figures["confusion_matrix"]) == walk.classes
    # Both answer the same probabilities: they differ in what goes to a person alone.
    assert figures["log_loss"] == pytest.approx(verdict["metrics"]["stable"]["log_loss"], rel=1e-6)
    assert figures["review_share"] != verdict["metrics"]["stable"]["review_share"]


@pytest.mark.thorough
@pytest.mark.parametrize("classes", [3, 10])
def test_any_number_of_classes_walks_from_folders_to_answers(
    classes: int, tmp_path: Path, command: Callable
) -> None:
    walk = Walk(tmp_path, command, classes)
    made = walk.train()
    check_run(made, walk)
    if classes > 3:
        assert walk.export().name == "1"
    check_decided(walk, made)
    version = walk.export()
    card = json.loads((version / contract.MODEL_CARD).read_text())
    assert tuple(card["class_names"]) == walk.names
    assert card["decision"]["target"] == "likeliest"
    if classes > 3:
        assert version.name == "2"
        check_gate(walk)
    config = (
        f'model_config_list {{ config {{ name: "{contract.MODEL_NAME}" base_path: '
        f'"{contract.MODEL_STORE}/{contract.MODEL_NAME}" model_platform: "tensorflow" '
        f'version_labels {{ key: "stable" value: {version.name} }} }} }}'
    )
    (tmp_path / "models.config").write_text(config)
    with launching.quickly_serving(tmp_path) as (target, rest, _):
        check_answers(walk, made, target, rest)
        check_load_and_parity(walk, made, target, rest)
