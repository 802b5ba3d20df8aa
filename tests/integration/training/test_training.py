"""Training as a person runs it: equal runs, interruptions, several devices, mistakes."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import PIL.Image
import pytest
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from tensorboard.util import tensor_util

from tests.house import pages
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[3]

# Batch normalisation and dropout: the state that an interruption could lose.
SMALL = (
    "--image-height", "24", "--image-width", "24", "--architecture", "cnn_batch_norm",
    "--batch-size", "8", "--brightness", "0.1", "--flip-vertical",
)  # fmt: skip
FLAGS = (*SMALL, "--epochs", "4", "--patience", "4")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 25 noisy pictures that overlap, and one broken file."""
    folder = tmp_path_factory.mktemp("data") / "images"
    random = np.random.default_rng(5)
    for label, mean in (("good", 110), ("bad", 140)):
        (folder / label).mkdir(parents=True)
        for index in range(25):
            pixels = random.normal(mean, 60, (24, 24, 3)).clip(0, 255).astype(np.uint8)
            PIL.Image.fromarray(pixels).save(folder / label / f"{index:02}.png")
    (folder / "bad" / "broken.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory, command: Callable) -> Path:
    """A run that nothing interrupted."""
    runs = tmp_path_factory.mktemp("whole")
    done = command("training.train", "--data", str(images), "--runs", str(runs), *FLAGS)
    assert done.returncode == 0, done.stderr
    return runs / "latest"


def _weights(run: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(run / "model.weights.h5") as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def _assert_same_result(one: Path, other: Path) -> None:
    first, second = _weights(one), _weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    for file in ("metrics.json", "predictions.csv", "split.csv"):
        assert (one / file).read_text() == (other / file).read_text()


@pytest.fixture
def start(preloaded_python: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command; what a failed test leaves of it ends with the test."""
    with contextlib.ExitStack() as started:

        def run(
            *arguments: str, python: str = preloaded_python, **environment: str
        ) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [python, "-X", "faulthandler", *arguments],  # a crash says where it was
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.enter_context(process)  # waits for it, after it is killed
            started.callback(process.kill)
            return process

        yield run


def _wait_for_line(process: subprocess.Popen[str], text: str, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    seen = []
    while time.monotonic() < deadline:
        line = process.stderr.readline()
        if not line:
            break
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"no line with {text!r} in {''.join(seen)}")


def test_a_run_leaves_everything_it_should(whole: Path, images: Path) -> None:
    assert sorted(path.name for path in whole.iterdir()) == [
        "decision.json", "metrics.json", "model.weights.h5", "predictions.csv", "report.html",
        "run.json", "samples", "set_aside.csv", "split.csv", "tensorboard",
    ]  # fmt: skip
    made = json.loads((whole / "run.json").read_text())
    assert made["classes"] == ["good", "bad"]
    assert made["config"]["epochs"] == 4
    assert made["data"]["images"] == {"train": 30, "validation": 8, "test": 12}
    assert {"tensorflow", "keras", "numpy", "python"} <= set(made["versions"])
    assert {"training_s", "inspection_s", "evaluation_s"} <= set(made["timings"])
    assert re.fullmatch("[0-9a-f]{64}", made["data"]["fingerprint"])
    metrics = json.loads((whole / "metrics.json").read_text())
    assert {"accuracy", "balanced_accuracy", "roc_auc", "pr_auc", "f1", "confusion_matrix"} <= set(
        metrics["test"]
    )
    with (whole / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows].count("test") == 12
    hits = sum(row["label"] == row["predicted"] for row in rows if row["split"] == "test")
    assert metrics["test"]["accuracy"] == pytest.approx(hits / 12)
    assert sorted(path.name for path in (whole / "samples").iterdir()) == ["bad.png", "good.png"]


def test_tensorboard_is_told_the_curves_the_settings_and_the_figures(whole: Path) -> None:
    told = event_accumulator.EventAccumulator(str(whole / "tensorboard")).Reload()
    assert [one.step for one in told.Tensors("validation_loss")] == [1, 2, 3, 4]
    content = told.PluginTagToContent("hparams")[metadata.SESSION_START_INFO_TAG]
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.group_name == whole.resolve().name
    assert start.hparams["epochs"].number_value == 4
    assert start.hparams["architecture"].string_value == "cnn_batch_norm"
    assert start.hparams["flip_horizontal"].bool_value is False
    assert not {"data", "runs"} & set(start.hparams)
    metrics = json.loads((whole / "metrics.json").read_text())
    for split in ("validation", "test"):
        (loss,) = told.Tensors(f"held_out/{split}_log_loss")
        (value,) = tensor_util.make_ndarray(loss.tensor_proto).ravel()
        assert value == pytest.approx(metrics[split]["log_loss"], rel=1e-6)


def test_a_broken_file_is_named_with_the_reason(whole: Path) -> None:
    with (whole / "set_aside.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == "bad/broken.png"
    assert "not a JPEG" in row["reason"]


def test_the_page_needs_nothing_from_elsewhere(whole: Path) -> None:
    assert pages.plots(pages.whole(whole / "report.html")) == 4


@pytest.mark.thorough
def test_an_interrupted_run_is_no_run_and_goes_on_to_the_same_result(
    whole: Path, images: Path, tmp_path: Path, command: Callable, start: Callable
) -> None:
    runs = tmp_path / "runs [1]*?"  # what a pattern would be made of
    flags = ["training.train", "--data", str(images), "--runs", str(runs), *FLAGS]
    flags += ["--cache-memory-mb", "0"]
    killed = start("-m", *flags)
    _wait_for_line(killed, "epoch 2/4")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (runs / "latest").exists()
    assert all(path.name.startswith(".") for path in runs.iterdir())
    refused = command("export.saved_model", "--run", str(runs / "latest"))
    assert refused.returncode == 2
    assert "make train" in refused.stderr

    resumed = command(*flags, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "going on after epoch 2" in resumed.stderr
    assert "epoch 1/4" not in resumed.stderr
    _assert_same_result(runs / "latest", whole)


KILLED_AT_A_RENAME = """
import os, signal, sys
from pathlib import Path
when, name = sys.argv.pop(1), sys.argv.pop(1)

def killing(real):
    def move(path, target):
        at = Path(target).name.startswith(name)
        if not (at and when == "before"):
            real(path, target)
        if at:
            os.kill(os.getpid(), signal.SIGKILL)
    return move

Path.replace, Path.rename = killing(Path.replace), killing(Path.rename)
from training.train import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("when", "name"),
    [
        ("before", "epoch-00003"),
        ("after", "epoch-00004"),
        ("before", "metrics.json"),
        ("after", "model.weights.h5"),
        ("before", "run.json"),
        ("after", "run.json"),
        ("after", "report.html"),
        ("before", "cnn_batch_norm-"),  # the run's own name: its publication
        ("after", "cnn_batch_norm-"),
        ("before", "latest"),
    ],
)
def test_a_run_killed_at_any_step_goes_on_and_leaves_nothing_of_its_making(
    when: str, name: str, whole: Path, images: Path, tmp_path: Path, command: Callable,
    start: Callable,
) -> None:  # fmt: skip
    flags = ["--data", str(images), "--runs", str(tmp_path), *FLAGS]
    killed = start("-c", KILLED_AT_A_RENAME, when, name, *flags)
    _, said = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, said
    assert not (tmp_path / "latest").exists()

    resumed = command("training.train", *flags, "--resume")

    assert resumed.returncode == 0, resumed.stderr
    assert re.search("going on after epoch [234]|stands already", resumed.stderr)
    _assert_same_result(tmp_path / "latest", whole)
    names = [path.name for path in (tmp_path / "latest").iterdir()]
    assert sorted(names) == sorted(path.name for path in whole.iterdir())
    published = {path.name for path in tmp_path.iterdir() if path.name[0] != "."}
    assert published == {"latest", (tmp_path / "latest").readlink().name}


def test_a_run_that_stands_is_not_made_again(whole: Path, images: Path, command: Callable) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    done = command("training.train", "--data", str(images), "--runs", str(whole.parent), *FLAGS)
    assert done.returncode == 0
    assert "stands already" in done.stderr
    assert done.stdout.strip() == str(whole.resolve())
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


@pytest.mark.thorough
def test_ctrl_c_ends_in_one_line_and_leaves_no_run(
    images: Path, tmp_path: Path, start: Callable
) -> None:
    endless = (*SMALL, "--epochs", "500", "--patience", "500")
    # An interpreter of its own: a fork of a process with TensorFlow has crashed on this signal.
    process = start(
        *("-m", "training.train", "--data", str(images), "--runs", str(tmp_path), *endless),
        python=sys.executable,
    )
    _wait_for_line(process, "epoch 1/500")
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert rest.splitlines()[-1] == "python -m training.train: interrupted"
    assert "Traceback" not in rest
    assert not (tmp_path / "latest").exists()


# no batch normalisation: its averages are a device's own
SHARED = ("--image-height", "24", "--image-width", "24", "--epochs", "2", "--patience", "2")
EIGHT = ("--batch-size", "8")

MIRRORED = """
import sys
from foundation import quiet_tensorflow; quiet_tensorflow.import_tensorflow()
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv.pop(1))
)
from training.train import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def one_device(
    images: Path, tmp_path_factory: pytest.TempPathFactory, command: Callable
) -> list[float]:
    """The losses of one device's epochs."""
    runs = tmp_path_factory.mktemp("one")
    done = command("training.train", "--data", str(images), "--runs", str(runs), *SHARED, *EIGHT)
    assert done.returncode == 0, done.stderr
    made = _made(runs)
    assert made["strategy"] == "_DefaultDistributionStrategy"
    return [row["loss"] for row in made["training"]["history"]]


def _made(runs: Path) -> dict:
    return json.loads((runs / "latest" / "run.json").read_text())


def _mirrored(start: Callable, devices: int, runs: Path, images: Path, *flags: str) -> tuple:
    done = start(
        "-c", MIRRORED, str(devices), "--data", str(images), "--runs", str(runs), *flags
    )  # fmt: skip
    _, talk = done.communicate(timeout=120)
    return done.returncode, talk


@pytest.mark.thorough
@pytest.mark.parametrize("devices", [2, 3])  # 3 do not divide a batch of 8
def test_mirrored_devices_learn_what_one_learns(
    devices: int, images: Path, tmp_path: Path, start: Callable, one_device: list[float]
) -> None:
    code, talk = _mirrored(start, devices, tmp_path, images, *SHARED, *EIGHT)
    assert code == 0, talk
    made = _made(tmp_path)
    assert made["strategy"] == "MirroredStrategy"
    losses = [row["loss"] for row in made["training"]["history"]]
    np.testing.assert_allclose(losses, one_device, rtol=1e-4)


@pytest.mark.thorough
def test_a_device_that_a_last_batch_has_no_image_for_spoils_nothing(
    images: Path, tmp_path: Path, start: Callable
) -> None:
    # of 30 images to train on; batch normalisation of an empty share made every weight NaN
    normalised = ("--architecture", "cnn_batch_norm")
    code, talk = _mirrored(start, 2, tmp_path, images, *SHARED, "--batch-size", "29", *normalised)
    assert code == 0, talk
    assert _made(tmp_path)["training"]["epochs"] == 2
    assert all(np.isfinite(value).all() for value in _weights(tmp_path / "latest").values())


@pytest.mark.thorough
def test_more_devices_than_images_of_a_batch_are_one_line(
    images: Path, tmp_path: Path, start: Callable
) -> None:
    code, talk = _mirrored(start, 2, tmp_path, images, *SHARED, "--batch-size", "1")
    assert code == 2, talk
    assert "2 devices, and no batch of so many images, at --batch-size 1" in talk
    assert "Traceback" not in talk


@pytest.mark.thorough
def test_two_machines_train_one_run(
    images: Path, tmp_path: Path, start: Callable, one_device: list[float]
) -> None:
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = [
        start(
            "-m", "training.train", "--data", str(images), "--runs", str(tmp_path), *SHARED, *EIGHT,
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(2)
    ]  # fmt: skip
    talks = [process.communicate(timeout=150)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], talks
    made = _made(tmp_path)
    assert made["strategy"] == "CollectiveAllReduceStrategy"
    assert [path.name for path in tmp_path.iterdir() if path.name != "latest"] == [made["id"]]
    history = made["training"]["history"]
    np.testing.assert_allclose([row["loss"] for row in history], one_device, rtol=1e-4)
    # Sharing a dataset out by rewriting its graph took 25 s of each epoch; an epoch takes 0.5 s.
    assert history[-1]["seconds"] < 10


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "no/such/folder"], "does not exist"),
        (["--epochs", "0"], "--epochs to be 1 or more"),
        (["--epochs", "many"], "--epochs: invalid int value: 'many'"),
        (["--architecture", "resnet"], "choose from 'cnn', 'cnn_batch_norm'"),
        (["--resume"], "interrupted run"),
        (["--max-images", "4"], "at least 3 usable images"),
    ],
)
def test_a_mistake_is_one_line_with_exit_code_2_and_leaves_what_was_there(
    flags: list[str], message: str, tmp_path: Path, command: Callable
) -> None:
    (tmp_path / "older-run").mkdir()
    done = command("training.train", "--runs", str(tmp_path), *flags)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not re.match(r"[IW] \d\d:", line)]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("python -m training.train: error: ")
    assert message in lines[0]
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == [
        "older-run"
    ]
