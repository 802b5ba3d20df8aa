"""What odd names, odd files and a full disk do at the end of a training: not its end."""

from __future__ import annotations

import errno
import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from foundation import command_line
from tests import disks
from tests.house import pages
from training import run
from training.data import preprocessing, thumbnails
from training.results import report, writer

# Keras's own, when it saves weights under numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[3]

FLAGS = ("--image-height", "24", "--image-width", "24", "--batch-size", "8")
NAMES = ("_sound", r"over $5 \bad$")


def _train(command: Callable, images: Path, runs: Path, *flags: str) -> tuple[int, str]:
    done = command("training.train", "--data", str(images), "--runs", str(runs), *FLAGS, *flags)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def _error_line(said: str) -> str:
    """The last line; none before it tells of an error, but for TensorFlow's own log."""
    *before, line = said.splitlines()
    assert all(re.match(r"[IW] \d\d:|[EW]0000 ", one) for one in before), said
    return line


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, named oddly, of 20 pictures of noise that Pillow cannot read."""
    folder = tmp_path_factory.mktemp("odd") / "images"
    random = np.random.default_rng(5)
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        for index in range(20):
            noise = PIL.Image.fromarray(random.integers(0, 256, (24, 30, 3), np.uint8))
            noise.save(folder / name / f"{index:02}.png", icc_profile=bytes(2_000_000))
    with pytest.raises(ValueError, match="too large"):
        PIL.Image.open(folder / NAMES[0] / "00.png").load()
    return folder


@pytest.fixture(scope="module")
def made(images: Path, tmp_path_factory: pytest.TempPathFactory, command: Callable) -> Path:
    """A run on these pictures."""
    runs = tmp_path_factory.mktemp("runs")
    code, said = _train(command, images, runs, "--epochs", "1", "--positive", NAMES[1])
    assert code == 0, said
    assert "cannot be" not in said  # the warning of a picture or a plot
    return runs / "latest"


def test_the_page_shows_odd_names_as_they_are_and_odd_files_as_training_sees_them(
    made: Path,
) -> None:
    page = pages.whole(made / "report.html")
    assert pages.plots(page) == 4
    assert page.count('<img src="data:image/png;base64,') >= 1
    assert "No picture" not in page
    assert "not finite" not in page
    drawn = [html.unescape(text) for text in re.findall("<text[^>]*>(.*?)</text>", page)]
    assert {"\N{WORD JOINER}_sound", NAMES[1], f"probability of {NAMES[1]}"} <= set(drawn)
    assert html.escape(NAMES[1]) in page


def test_pictures_and_plots_that_cannot_be_shown_are_said_in_words(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(made, tmp_path / "run")
    settings = json.loads((made / "run.json").read_text())
    settings["data"]["root"] = str(tmp_path / "gone")
    settings["training"]["history"] = [{"epoch": 1}]
    (tmp_path / "run" / "run.json").write_text(json.dumps(settings))
    report.write(run.load(tmp_path / "run"), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert '<p class="note">No picture: InputError: Expected the images of run' in page
    assert '<p class="note">No plot: KeyError: &#39;loss&#39;</p>' in page
    assert pages.plots(page) == 3
    assert "a picture cannot be shown, and the page says why" in caplog.text
    assert "a plot cannot be drawn, and its page says why: KeyError" in caplog.text


def test_a_page_without_its_figures_says_so(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(made, tmp_path / "run")
    (tmp_path / "run" / "predictions.csv").unlink()
    report.write(run.load(tmp_path / "run"), tmp_path / "report.html")
    assert (
        "This page could not be made: FileNotFoundError" in (tmp_path / "report.html").read_text()
    )
    assert "report.html cannot be made, and says why: FileNotFoundError" in caplog.text


@pytest.mark.parametrize("size", [(300, 100), (100, 300), (30, 20), (1000, 1), (1, 1)])
def test_a_thumbnail_keeps_the_proportions_and_is_what_the_graph_decodes(
    size: tuple[int, int], picture: PIL.Image.Image, tmp_path: Path
) -> None:
    picture.resize(size).save(tmp_path / "it.png")
    small = thumbnails.thumbnail(tmp_path / "it.png", 10**6, 112)
    width, height = (max(1, round(side * min(1, 112 / max(size)))) for side in size)
    assert (small.shape, small.dtype) == ((height, width, 3), np.uint8)
    decoded = preprocessing.decode_and_resize(
        tf.constant((tmp_path / "it.png").read_bytes()), height, width, 10**6
    )
    np.testing.assert_array_equal(small, decoded)


def test_what_tensorflow_refuses_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> int:
        preprocessing.decode(tf.constant(b"\x89PNG\r\n\x1a\n broken"), 100)
        return 0

    def unwritable() -> int:
        tf.io.write_file("/dev/full", b"x" * 10_000_000)
        return 0

    assert command_line.run("demo", broken) == 2
    assert command_line.run("demo", unwritable) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("demo: error: Expected TensorFlow to be able to do it. Received: Inval")
    assert "{{" not in first
    assert "Expected room on the disk" in second
    assert "No space left on device" in second


@pytest.mark.thorough
def test_a_learning_rate_that_breaks_everything_is_one_line_with_the_epoch(
    images: Path, tmp_path: Path, command: Callable
) -> None:
    code, said = _train(command, images, tmp_path, "--learning-rate", "1e30", "--epochs", "3")
    assert code == 2
    assert re.fullmatch(
        r"python -m training\.train: error: Expected loss and weights to stay finite\. "
        r"Received: not finite in epoch "
        r"\d of 3, at --learning-rate 1e\+30, .*Lower --learning-rate\.",
        _error_line(said),
    )
    assert not (tmp_path / "latest").exists()


BROKEN_FROM_THE_THIRD_EPOCH_ON = """
import sys
from training.data import pipeline
real = pipeline.epoch_batches

def broken(images, count, epoch, config):
    batches = real(images, count, epoch, config)
    return batches.map(lambda x, y: (x, y * float("nan"))) if epoch >= 2 else batches

pipeline.epoch_batches = broken
from training.train import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.thorough
def test_a_run_that_diverges_publishes_the_best_epoch_before_and_says_so(
    images: Path, tmp_path: Path, preloaded_python: str
) -> None:
    done = subprocess.run(
        [preloaded_python, "-c", BROKEN_FROM_THE_THIRD_EPOCH_ON]
        + ["--data", str(images), "--runs", str(tmp_path), "--epochs", "5", *FLAGS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the loss or a weight is not finite in epoch 3 of 5: stopping" in done.stderr
    training = run.load(tmp_path / "latest").settings["training"]
    assert (training["diverged_epoch"], training["epochs"]) == (3, 2)
    assert f"the best epoch before it, {training['best_epoch']}, are kept" in done.stderr
    page = " ".join((tmp_path / "latest" / "report.html").read_text().split())
    assert "The loss or a weight was not finite in epoch 3, so training stopped there" in page
    assert f"best of 2 epochs: {training['best_epoch']}" in page


def test_a_full_disk_ends_no_process_that_saves_weights(tmp_path: Path) -> None:
    images = keras.Input((64,))
    model = keras.Model(images, keras.layers.Dense(1000)(images))  # 260 kB
    with disks.mounted(tmp_path / "disk", 100) as disk:
        path = disk.path / "model.weights.h5"
        path.write_bytes(b"older")
        with pytest.raises(OSError, match="No space left") as raised:
            writer.write_weights(path, model)
        assert raised.value.errno == errno.ENOSPC
        assert [one.name for one in disk.path.iterdir()] == ["model.weights.h5"]
        assert path.read_bytes() == b"older"
        disk.resize(400)
        writer.write_weights(path, model)
        kept = [value.numpy() for value in model.variables]
        for value in model.variables:
            value.assign(value * 0)
        model.load_weights(path)
    for one, other in zip(model.variables, kept):
        np.testing.assert_array_equal(one, other)


@pytest.mark.thorough
@pytest.mark.parametrize("epochs_that_fit", [0, 1, 2])
def test_training_goes_on_when_a_full_disk_has_room_again(
    epochs_that_fit: int, images: Path, tmp_path: Path, command: Callable
) -> None:
    flags = ("--architecture", "cnn_batch_norm", "--epochs", "2", "--patience", "9")
    checkpoint_kb = 2_700
    with disks.mounted(tmp_path / "disk", 200 + epochs_that_fit * checkpoint_kb) as disk:
        code, said = _train(command, images, disk.path, *flags)
        assert code == 2
        line = _error_line(said)
        assert "No space left on device" in line
        assert line.endswith("go on with --resume: every whole epoch is kept.")
        assert not (disk.path / "latest").exists()
        (partial,) = (path for path in disk.path.iterdir() if path.is_dir())
        whole = partial / "checkpoint"
        kept = sorted(path.name for path in whole.iterdir()) if whole.is_dir() else []
        assert kept == [f"epoch-{epoch:05}" for epoch in range(1, epochs_that_fit + 1)]
        disk.resize(100_000)
        code, said = _train(command, images, disk.path, *flags, "--resume")
        assert code == 0, said
        assert f"epoch {epochs_that_fit}/2" not in said
        assert run.load(disk.path / "latest").metrics()["test"]["count"] == 10
