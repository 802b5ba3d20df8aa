"""Exporting as a person runs it: versions, verification, interruptions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import saved_model, versions, warmup
from foundation.command_line import InputError
from tests import disks
from tfs_client import contract
from training import architectures, run

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def version(store: Path) -> Path:
    return store / contract.MODEL_NAME / "1"


def test_a_version_describes_itself(version: Path, sample_run: Path) -> None:
    card = json.loads((version / "assets.extra" / "model_card.json").read_text())
    made = json.loads((sample_run / "run.json").read_text())
    assert card["run"] == made["id"]
    assert card["version"] == 1
    assert card["input"] == {"height": 64, "width": 64}
    assert card["classes"] == {"negative": "sound", "positive": "defective"}
    assert card["data"]["fingerprint"] == made["data"]["fingerprint"]
    assert card["metrics"] == json.loads((sample_run / "metrics.json").read_text())
    assert card["checks"]["max_difference"] <= 1e-5
    assert card["checks"]["images_compared"] == 80
    on_disk = {
        path.relative_to(version).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in version.rglob("*")
        if path.is_file() and path.name != "model_card.json"
    }
    assert {name: entry["sha256"] for name, entry in card["files"].items()} == on_disk


def test_each_weight_is_inside_once(version: Path) -> None:
    weights = 1_625_281 * 4
    total = sum(path.stat().st_size for path in version.rglob("saved_model.pb"))
    assert weights < total < weights * 1.1
    assert sum(path.stat().st_size for path in (version / "variables").iterdir()) < 1000


def test_exporting_again_makes_the_next_version_unless_it_stands(
    store: Path, sample_run: Path, tmp_path: Path, command: Callable
) -> None:
    models = tmp_path / "models [1]*?"  # what a pattern would be made of
    shutil.copytree(store, models)
    flags = ("export.saved_model", "--run", str(sample_run), "--models", str(models))
    standing = command(*flags, "--if-new")
    assert standing.returncode == 0
    assert "nothing to export" in standing.stderr
    assert standing.stdout.strip().endswith("/1")
    again = command(*flags)
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip().endswith("/2")
    names = sorted(path.name for path in (models / contract.MODEL_NAME).iterdir())
    assert [name for name in names if not name.startswith(".")] == ["1", "2"]


def test_an_export_that_waited_for_another_one_does_not_publish_the_run_again(
    store: Path, sample_run: Path, tmp_path: Path, preloaded_python: str
) -> None:
    folder = tmp_path / contract.MODEL_NAME
    with versions.new_version(folder) as (_, aside):
        second = subprocess.Popen(
            [preloaded_python, "-m", "export.saved_model", "--if-new"]
            + ["--run", str(sample_run), "--models", str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in second.stderr:
            if "is under way: waiting for it" in line:
                break
        shutil.copytree(store / contract.MODEL_NAME / "1", aside, dirs_exist_ok=True)
    told, rest = second.communicate(timeout=60)
    assert second.returncode == 0, rest
    assert told.strip() == str(folder / "1")
    assert "nothing to export" in rest
    assert versions.versions(folder) == [1]


def test_a_missing_run_is_one_line_and_makes_nothing(tmp_path: Path, command: Callable) -> None:
    done = command("export.saved_model", "--run", "runs/nope", "--models", str(tmp_path / "m"))
    assert done.returncode == 2
    assert done.stderr.startswith(
        "python -m export.saved_model: error: Expected a run in runs/nope."
    )
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "m").exists()


def test_what_is_no_picture_among_the_samples_is_left_out_by_name(
    sample_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(sample_run.resolve(), tmp_path / "run")
    samples = tmp_path / "run" / "samples"
    expected = [path.read_bytes() for path in sorted(samples.iterdir())]
    (samples / "a folder.png").mkdir()
    (samples / "broken.png").write_bytes(expected[0][:100])
    (samples / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (samples / "notes.txt").write_text("to try a server with")
    (samples / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    (samples / "nowhere.png").symlink_to("gone.png")
    os.mkfifo(samples / "pipe.png")
    made = run.load(tmp_path / "run")
    assert saved_model.samples(made) == expected
    assert caplog.text.count("is no picture that the run reads") == 7
    for name in ("a folder.png", "broken.png", ".DS_Store", "notes.txt", "nowhere.png", "pipe.png"):
        assert f"left out of the warm-up: {samples / name} is no" in caplog.text
    shutil.rmtree(samples)
    with pytest.raises(InputError, match=r"a sample picture in .*samples.*Received: none"):
        saved_model.samples(made)


@pytest.mark.thorough
@pytest.mark.parametrize("kilobytes", [1_000, 6_600])
def test_an_export_onto_a_full_disk_is_one_line_and_works_when_there_is_room(
    kilobytes: int, sample_run: Path, tmp_path: Path, command: Callable
) -> None:
    with disks.mounted(tmp_path / "disk", kilobytes) as disk:
        flags = ("export.saved_model", "--run", str(sample_run), "--models", str(disk.path))
        full = command(*flags)
        assert full.returncode == 2, full.stderr
        (line,) = (line for line in full.stderr.splitlines() if not line.startswith(("I ", "W ")))
        assert line.startswith("python -m export.saved_model: error: ")
        assert "No space left on device" in line
        model = disk.path / contract.MODEL_NAME
        assert [path.name for path in model.iterdir()] == [".lock"]
        disk.resize(100_000)
        again = command(*flags)
        assert again.returncode == 0, again.stderr
        assert again.stdout.strip() == str(model / "1")


def test_a_killed_export_publishes_nothing(
    sample_run: Path, tmp_path: Path, preloaded_python: str
) -> None:
    process = subprocess.Popen(
        [preloaded_python, "-m", "export.saved_model"]
        + ["--run", str(sample_run), "--models", str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    aside = tmp_path / contract.MODEL_NAME / ".exporting" / "saved_model.pb"
    deadline = time.monotonic() + 60
    while not aside.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "nothing was written aside"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = [path.name for path in (tmp_path / contract.MODEL_NAME).iterdir()]
    assert all(name.startswith(".") for name in left)


def _no_shape_guard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tf, "ensure_shape", lambda value, shape: value)


def _other_weights(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(keras.Model, "load_weights", lambda model, path: None)


def _no_guard_of_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tf.data.Dataset, "ignore_errors", lambda dataset: dataset)


def _warmup_of_the_wrong_shape(patch: pytest.MonkeyPatch) -> None:
    real = warmup._predict
    patch.setattr(
        warmup,
        "_predict",
        lambda signature, name, value: real(
            signature, name, value[..., :1] if value.ndim == 4 else value
        ),
    )


@pytest.mark.parametrize(
    ("sabotage", "message"),
    [
        # without the guard a convolution ends the process, or computes what it should refuse
        pytest.param(_no_shape_guard, "exit code|ended by a signal", marks=pytest.mark.thorough),
        (_other_weights, "the run's own probabilities"),
        pytest.param(_no_guard_of_rows, "exit code", marks=pytest.mark.thorough),
        pytest.param(_warmup_of_the_wrong_shape, "exit code", marks=pytest.mark.thorough),
    ],
)
def test_a_version_that_would_fail_in_the_server_is_not_published(
    sabotage: Callable,
    message: str,
    sample_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    preloaded_python: str,
) -> None:
    monkeypatch.setattr(sys, "executable", preloaded_python)
    sabotage(monkeypatch)
    with pytest.raises(InputError, match=f"to pass its checks.*({message})"):
        saved_model.export(run.load(sample_run), tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == [".lock"]


# Keras's own, when it saves weights under numpy 2
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_weights_that_training_did_not_write_are_one_line(sample_run: Path, tmp_path: Path) -> None:
    shutil.copytree(sample_run.resolve(), tmp_path / "run")
    made = run.load(tmp_path / "run")
    whole = made.weights.read_bytes()
    model = architectures.trained_model(made)
    last = model.weights[-1]
    last.assign(np.full(last.shape, np.nan))
    model.save_weights(tmp_path / "nan.weights.h5")
    for content, why in (
        (whole[: len(whole) // 2], "truncated file"),
        (b"", "Received: ."),
        ((tmp_path / "nan.weights.h5").read_bytes(), "is not finite"),
    ):
        made.weights.write_bytes(content)
        with pytest.raises(InputError, match=f"model.weights.h5 as training writes it.*{why}"):
            architectures.trained_model(made)


def test_the_command_line_of_tensorflow_lists_the_contract(
    version: Path, preloaded_python: str
) -> None:
    done = subprocess.run(
        [preloaded_python, "-m", "tensorflow.python.tools.saved_model_cli"]
        + ["show", "--dir", str(version), "--tag_set", "serve", "--all"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for signature in contract.SIGNATURES:
        assert f"signature_def['{signature}']" in done.stdout
    assert f"inputs['{contract.INPUT_IMAGES}'] tensor_info" in done.stdout
    assert "shape: (-1, 64, 64, 3)" in done.stdout
    assert f"Method name is: {contract.METHOD_CLASSIFY}" in done.stdout


@pytest.mark.thorough
def test_the_decoding_benchmark_sets_files_beside_pixels_and_pillow(
    version: Path, tmp_path: Path, command: Callable
) -> None:
    done = command("export.decoding", "--version", str(version), "--seconds", "0.01", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / done.stdout.strip()).read_text())
    values = {row["name"]: row["value"] for row in written["results"]}
    assert {
        "serving_default.rows_1.callers_2",
        "serving_default.rows_32.callers_4",
        "predict_images.rows_32.callers_2",
    } < values.keys()
    # decoding is in the graph's figures, not pruned away
    assert values["graph.decode_and_resize.one_core"] > 0.5 * values["graph.decode.one_core"] > 0
    assert values["pillow.decode_and_resize.one_core"] > 0
