"""The gate as a person runs it: real versions, a real process that asks them, one fault each."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from export import saved_model, signatures, versions
from export.gate import (
    __main__ as gate,
    child as gate_child,
    images as gate_images,
)
from foundation.command_line import InputError
from foundation.digests import version_digest
from tests import disks, terminals
from tests.conftest import made_once
from tests.house.pages import plots, whole
from tfs_client import contract
from training import run

ROOT = Path(__file__).resolve().parents[3]
SIZE = 16
EQUAL, WORSE, NAN, RENAMED, SLOW, ABORTS, RAISES, GREEDY, TRUSTING = 2, 3, 4, 5, 6, 7, 8, 9, 10
NOT_WORSE = {"not_worse.balanced_accuracy", "not_worse.roc_auc"}
CHECKS = ["survives", "compatible", "finite", *sorted(NOT_WORSE), "robust", "size", "latency"]

# Only what a test is about may refuse: the machine that runs it may be busy.
PATIENT = ("--max-latency-ratio", "3")
FEW = ("--corrupted-images", "60")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 60 pictures: bad ones are brighter, but not all of them."""

    def make(folder: Path) -> None:
        random = np.random.default_rng(5)
        for label, mean in (("good", 105), ("bad", 150)):
            (folder / label).mkdir(parents=True)
            for index in range(60):
                brightness = random.normal(mean, 18)
                pixels = random.normal(brightness, 15, (24, 24, 3)).clip(0, 255)
                picture = PIL.Image.fromarray(pixels.astype(np.uint8))
                picture.save(folder / label / f"{index:02}.png")

    return made_once(tmp_path_factory, "gate-images", make)


@pytest.fixture(scope="module")
def runs(images: Path, tmp_path_factory: pytest.TempPathFactory, command: Callable) -> Path:
    """A folder with one real run, which held most of its pictures out."""

    def make(folder: Path) -> None:
        flags = ["--image-height", f"{SIZE}", "--image-width", f"{SIZE}", "--epochs", "1"]
        flags += ["--train-share", "0.2", "--validation-share", "0.1"]
        done = command("training.train", "--data", str(images), "--runs", str(folder), *flags)
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "gate-runs", make)


class _Worse(signatures.Servable):
    def _scores_or_nan(self, images: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        return 1.0 - super()._scores_or_nan(images, valid)


class _SometimesNaN(signatures.Servable):
    def _scores_or_nan(self, images: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        scores = super()._scores_or_nan(images, valid)
        return tf.where(scores[:, 1:] > 0.97, np.float32("nan"), scores)


class _Renamed(signatures.Servable):
    def _decide(self, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        decided = super()._decide(images, valid)
        decided["score"] = decided.pop(contract.OUTPUT_PROBABILITY)
        return decided


class _Slow(signatures.Servable):
    def _decide(self, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        # begins with a number that only the request knows, so that nothing is computed before
        begin = tf.reduce_sum(tf.cast(images, tf.int32)) * 0
        (count,) = tf.while_loop(
            lambda index: index < 2500, lambda index: (index + 1,), (begin,), parallel_iterations=1
        )
        with tf.control_dependencies([count]):
            return super()._decide(tf.identity(images), valid)


class _Aborts(signatures.Servable):
    def _decide(self, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="the end of this process")]):
            return super()._decide(tf.identity(images), valid)


class _Raises(signatures.Servable):
    def _decide(self, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.Assert(tf.size(images) < 0, ["not today"])]):
            return super()._decide(tf.identity(images), valid)


class _Greedy(signatures.Servable):
    def _predict_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        lengths = tf.strings.length(image_bytes)
        block = tf.cond(
            tf.reduce_min(lengths) < 60,
            lambda: tf.reduce_max(tf.fill([200 * 2**20], tf.cast(lengths[0] % 7, tf.uint8))),
            lambda: tf.constant(0, tf.uint8),
        )
        with tf.control_dependencies([block]):
            return super()._predict_files(tf.identity(image_bytes))


class _Trusting(signatures.Servable):
    def _classify(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        def image(serialized: tf.Tensor) -> tf.Tensor:
            feature = {contract.FEATURE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
            return tf.io.parse_single_example(serialized, feature)[contract.FEATURE_ENCODED]

        with mock.patch.object(signatures, "_image_of_example", image):
            return super()._classify(examples)


VARIANTS = {
    1: signatures.Servable,
    EQUAL: signatures.Servable,
    WORSE: _Worse,
    NAN: _SometimesNaN,
    RENAMED: _Renamed,
    SLOW: _Slow,
    ABORTS: _Aborts,
    RAISES: _Raises,
    GREEDY: _Greedy,
    TRUSTING: _Trusting,
}


@pytest.fixture(scope="module")
def made_store(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a version for each fault; the model looks at the brightness and nothing else."""

    def make(store: Path) -> None:
        made = run.load(runs / "latest")
        inputs = keras.Input((SIZE, SIZE, 3))
        mean = keras.layers.GlobalAveragePooling2D()(inputs)
        brightness = keras.layers.Dense(1, activation="sigmoid")
        model = keras.Model(inputs, brightness(mean))
        # the class that is positive is the brighter one, or the darker one
        sign = 1.0 if made.class_names[1] == "bad" else -1.0
        brightness.set_weights([np.full((3, 1), sign * 8.0), np.array([-sign * 12.0])])
        for number, kind in VARIANTS.items():
            folder = store / contract.MODEL_NAME / str(number)
            servable = kind(model, made.config, made.class_names, made.decision)
            tf.saved_model.save(servable, str(folder), signatures=servable.signatures())
            saved_model._name_classify_method(folder)
            card = saved_model._model_card(made, number, folder, {})
            (folder / versions.EXTRA_ASSETS).mkdir()
            (folder / contract.MODEL_CARD).write_text(json.dumps(card))

    return made_once(tmp_path_factory, "gate-models", make)


@pytest.fixture
def store(made_store: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(made_store, tmp_path / "models")


@pytest.fixture
def gate_of(
    store: Path, runs: Path, command: Callable
) -> Callable[..., subprocess.CompletedProcess[str]]:
    def ask(version: int, *flags: str) -> subprocess.CompletedProcess[str]:
        where = ("--models", str(store), "--runs", str(runs))
        return command("export.gate", str(version), *where, *PATIENT, *FEW, *flags)

    return ask


def _extra(store: Path, version: int) -> Path:
    return store / contract.MODEL_NAME / str(version) / versions.EXTRA_ASSETS


def _verdict(store: Path, version: int) -> dict[str, Any]:
    return json.loads(
        (store / contract.MODEL_NAME / str(version) / contract.GATE_VERDICT).read_text()
    )


def _by_name(verdict: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in verdict["checks"]}


def _failed(verdict: dict[str, Any]) -> set[str]:
    return {check["name"] for check in verdict["checks"] if check["holds"] is False}


def test_an_equal_version_passes_and_its_verdict_says_of_what(
    store: Path, runs: Path, gate_of: Callable
) -> None:
    done = gate_of(EQUAL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(_extra(store, EQUAL) / "gate.json")
    assert "against=1 (the highest one below; none of them passed a gate)" in done.stderr
    assert done.stderr.splitlines()[-1] == "passed"
    verdict = _verdict(store, EQUAL)
    assert (verdict["version"], verdict["against"], verdict["passed"]) == (EQUAL, 1, True)
    assert [check["name"] for check in verdict["checks"]] == CHECKS
    assert all(check["holds"] is True for check in verdict["checks"])
    for name in CHECKS:
        assert any(name in line and "holds" in line for line in done.stderr.splitlines())
    assert verdict["version_sha256"] == version_digest(store / contract.MODEL_NAME / str(EQUAL))
    assert verdict["against_sha256"] == version_digest(store / contract.MODEL_NAME / "1")
    made = run.load(runs / "latest")
    tested = [row for row in made.predictions() if row.split == "test"]
    assert verdict["held_out"]["images"] == len(tested) > 80
    assert verdict["held_out"]["sources"] == {made.id: len(tested)}
    assert verdict["disagreements"] == []
    assert verdict["not_shown_better_than_guessing"] == []
    assert verdict["metrics"]["candidate"] == verdict["metrics"]["stable"]
    assert 0.8 < verdict["metrics"]["candidate"]["balanced_accuracy"] < 1
    accuracy = _by_name(verdict)["not_worse.balanced_accuracy"]["detail"]
    assert accuracy["lower"] == -accuracy["upper"] < 0 == accuracy["difference"]
    assert accuracy["mcnemar_p"] == 1
    assert verdict["why_refused"] == ""
    assert len(_by_name(verdict)["robust"]["detail"]["corruptions"]) == 8
    assert _by_name(verdict)["latency"]["detail"]["candidate"]["calls"] == 300
    assert plots(whole(_extra(store, EQUAL) / verdict["page"], "Passed")) == 3
    assert sorted(path.name for path in _extra(store, EQUAL).iterdir()) == [
        "gate.html", "gate.json", "model_card.json",
    ]  # fmt: skip


def test_a_worse_version_is_refused_by_its_answers_alone(store: Path, gate_of: Callable) -> None:
    done = gate_of(WORSE, "--against", "1")
    assert done.returncode == 1, done.stderr
    verdict = _verdict(store, WORSE)
    assert _failed(verdict) == NOT_WORSE | {"robust"}
    checks = _by_name(verdict)
    for name in NOT_WORSE | {"robust"}:
        assert checks[name]["received"].startswith("worse: ")
        assert checks[name]["detail"]["upper"] < -0.03
    assert checks["not_worse.balanced_accuracy"]["detail"]["mcnemar_p"] < 1e-6
    assert "refused: not_worse.balanced_accuracy, not_worse.roc_auc, robust" in done.stderr
    # every image that is not at the threshold itself is labelled the other way
    assert len(verdict["disagreements"]) >= verdict["held_out"]["images"] - 1
    apart = [
        abs(row["candidate"]["probability"] - row["stable"]["probability"])
        for row in verdict["disagreements"]
    ]
    assert apart == sorted(apart, reverse=True)
    page = whole(_extra(store, WORSE) / verdict["page"], "Refused")
    assert page.count('<img src="data:image/png') == 40


@pytest.mark.thorough
def test_a_first_version_that_guesses_passes_only_with_a_warning(
    store: Path, gate_of: Callable
) -> None:
    for version in VARIANTS:
        if version != WORSE:
            shutil.rmtree(store / contract.MODEL_NAME / str(version))
    done = gate_of(WORSE)
    assert done.returncode == 0, done.stderr
    verdict = _verdict(store, WORSE)
    area, accuracy = verdict["not_shown_better_than_guessing"]
    assert area.startswith("ROC-AUC 0.")
    assert accuracy.startswith("balanced accuracy 0.")
    lines = done.stderr.splitlines()
    assert f"  warning: not shown to be better than guessing, on these images: {area}" in lines
    assert lines[-1] == "passed, though not shown to be better than guessing"
    page = (_extra(store, WORSE) / verdict["page"]).read_text()
    assert f"Not shown to be better than guessing, on these images: {area}" in page


@pytest.mark.thorough
def test_a_version_without_a_number_for_some_images_is_refused_for_that_alone(
    store: Path, gate_of: Callable
) -> None:
    done = gate_of(NAN, "--against", "1")
    assert done.returncode == 1, done.stderr
    verdict = _verdict(store, NAN)
    assert _failed(verdict) == {"finite"}
    check = _by_name(verdict)["finite"]
    assert "without a number" in check["received"]
    counts = check["detail"]["counts"]["held_out by serving_default"]
    assert 0 < counts["without a number"] < counts["valid"] / 2
    # black or white, one of them is beyond all held-out images
    assert check["detail"]["counts"]["edge by predict_images"]["without a number"] > 0
    left_out = _by_name(verdict)["not_worse.roc_auc"]["detail"]["left_out"]
    assert left_out == counts["without a number"]


def test_a_renamed_output_breaks_callers_and_nothing_else_is_asked(
    store: Path, gate_of: Callable
) -> None:
    done = gate_of(RENAMED, "--against", "1")
    assert done.returncode == 1, done.stderr
    verdict = _verdict(store, RENAMED)
    assert _failed(verdict) == {"compatible"}
    checks = _by_name(verdict)
    assert "serving_default has no output probability" in checks["compatible"]["received"]
    assert "predict_images has no output probability" in checks["compatible"]["received"]
    assert checks["survives"]["holds"] is True
    assert checks["finite"]["holds"] is None
    assert checks["finite"]["received"] == "not reached"
    assert "Refused: compatible" in (_extra(store, RENAMED) / verdict["page"]).read_text()


@pytest.mark.thorough
def test_where_the_figures_do_not_tell_it_is_unknown_and_a_cure_is_named(
    store: Path, gate_of: Callable
) -> None:
    done = gate_of(EQUAL, "--against", "1", "--margin", "0.005")
    assert done.returncode == 1, done.stderr
    verdict = _verdict(store, EQUAL)
    assert _failed(verdict) == set()
    unknown = [check for check in verdict["checks"] if check["state"] == "unknown"]
    names = [check["name"] for check in unknown]
    assert names[0] == "not_worse.balanced_accuracy"
    lines = done.stderr.splitlines()
    refused = f"refused: nothing fails; unknown: {', '.join(names)}; see "
    assert lines[-1].startswith(refused)
    page = (_extra(store, EQUAL) / verdict["page"]).read_text()
    assert f"Refused: nothing fails; unknown: {', '.join(names)}" in page
    for cure in unknown[0]["cures"]:
        assert any(line.split() == ["cure", *cure.split()] for line in lines)
        assert f"Cure: {cure}." in page
    assert f"about {unknown[0]['detail']['images_needed']:,} like these" in unknown[0]["cures"][0]
    assert "--margin 0.0" in unknown[0]["cures"][1]


@pytest.mark.thorough
def test_on_a_terminal_the_gate_says_which_step_of_how_many_it_is_at(
    store: Path, runs: Path
) -> None:
    command = [sys.executable, "-m", "export.gate", f"{RENAMED}", "--against", "1"]
    where = ["--models", str(store), "--runs", str(runs)]
    code, written = terminals.on_terminal([*command, *where], timeout_s=240)
    assert code == 1, written
    for step in ("1 of 15: importing TensorFlow", "2 of 15: loading version", "3 of 15: loading"):
        assert f"gate: {step}" in written
    assert "\x1b[31mFAILS" in written


@pytest.mark.thorough
def test_a_slow_version_is_refused_for_its_latency_alone(store: Path, gate_of: Callable) -> None:
    done = gate_of(SLOW, "--against", "1")
    assert done.returncode == 1, done.stderr
    verdict = _verdict(store, SLOW)
    assert _failed(verdict) == {"latency"}
    figures = _by_name(verdict)["latency"]["detail"]
    assert figures["candidate"]["median_ms"] > 3 * figures["stable"]["median_ms"]


@pytest.mark.thorough
def test_a_version_that_spends_gigabytes_on_a_small_file_is_refused(
    store: Path, gate_of: Callable
) -> None:
    done = gate_of(GREEDY, "--against", "1")
    assert done.returncode == 1, done.stderr
    verdict = _verdict(store, GREEDY)
    assert _failed(verdict) == {"survives"}
    survives = _by_name(verdict)["survives"]
    assert "png_tEXt_claims_2_gib_before_pixels: 2" in survives["received"]
    assert survives["detail"]["hostile"]["png_text_unpacks_to_512_mib"] == []


@pytest.mark.thorough
def test_a_version_whose_process_a_callers_bytes_can_end_is_refused(
    store: Path, gate_of: Callable
) -> None:
    done = gate_of(TRUSTING, "--against", "1")
    assert done.returncode == 1, done.stderr
    verdict = _verdict(store, TRUSTING)
    assert _failed(verdict) == {"survives"}
    received = _by_name(verdict)["survives"]["received"]
    assert f"while version {TRUSTING} answers hostile rows of classify" in received
    assert "signal 11 (SIGSEGV)" in received


@pytest.mark.parametrize(
    ("version", "happened"),
    [
        (
            ABORTS,
            f"signal 6 (SIGABRT) while version {ABORTS} answers the held-out images: "
            "Abort_op intentional failure; the end of this process",
        ),
        pytest.param(
            RAISES,
            f"an error while version {RAISES} answers the held-out images: InvalidArgument",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_a_version_that_ends_its_process_or_raises_is_refused_without_a_traceback(
    version: int, happened: str, store: Path, gate_of: Callable
) -> None:
    done = gate_of(version, "--against", "1")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    verdict = _verdict(store, version)
    assert _failed(verdict) == {"survives"}
    checks = _by_name(verdict)
    assert happened in checks["survives"]["received"]
    others = [check for name, check in checks.items() if name != "survives"]
    assert {(check["holds"], check["received"]) for check in others} == {(None, "not reached")}
    assert "Refused: survives" in (_extra(store, version) / verdict["page"]).read_text()


def test_a_version_that_cannot_be_loaded_is_refused_without_a_traceback(
    store: Path, gate_of: Callable
) -> None:
    (store / contract.MODEL_NAME / str(EQUAL) / "saved_model.pb").write_bytes(b"no graph")
    done = gate_of(EQUAL)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    verdict = _verdict(store, EQUAL)
    assert _failed(verdict) == {"survives"}
    assert f"while loading version {EQUAL}" in _by_name(verdict)["survives"]["received"]


@pytest.mark.thorough
def test_other_classes_and_a_large_folder_are_refused_each_by_its_check(
    store: Path, gate_of: Callable
) -> None:
    card_file = store / contract.MODEL_NAME / str(EQUAL) / contract.MODEL_CARD
    card = json.loads(card_file.read_text())
    card["classes"]["positive"], card["classes"]["negative"] = (
        card["classes"]["negative"],
        card["classes"]["positive"],
    )
    card_file.write_text(json.dumps(card))
    (card_file.parent.parent / "padding").write_bytes(bytes(10**6))
    (card_file.parent / "not counted").write_bytes(bytes(10**7))
    done = gate_of(EQUAL, "--max-bytes", "1000000")
    assert done.returncode == 1, done.stderr
    verdict = _verdict(store, EQUAL)
    assert _failed(verdict) == {"compatible", "size"}
    assert 10**6 < _by_name(verdict)["size"]["detail"]["bytes"]["candidate"] < 2 * 10**6
    assert "in place of" in _by_name(verdict)["compatible"]["received"]


@pytest.mark.thorough
def test_the_first_version_passes_without_a_comparison_and_is_then_the_one_to_beat(
    store: Path, gate_of: Callable
) -> None:
    done = gate_of(1, "--max-latency-ms", "1e6")
    assert done.returncode == 0, done.stderr
    verdict = _verdict(store, 1)
    assert (verdict["against"], verdict["against_sha256"], verdict["passed"]) == (None, None, True)
    checks = _by_name(verdict)
    assert {name for name, check in checks.items() if check["holds"]} == {
        "survives", "finite", "latency",
    }  # fmt: skip
    skipped = [check for check in checks.values() if check["holds"] is None]
    assert {check["received"] for check in skipped} == {"skipped"}
    assert all("no other version" in check["detail"]["note"] for check in skipped)
    assert 0 < checks["robust"]["detail"]["drop"]["candidate"] < 0.5
    model_folder = store / contract.MODEL_NAME
    why = "the highest one below that passed its gate"
    assert gate._against(model_folder, WORSE, None) == (1, why)
    # a verdict on other files is none
    with (model_folder / "1" / "saved_model.pb").open("ab") as file:
        file.write(b"x")
    assert gate._against(model_folder, WORSE, None)[0] == EQUAL


def _flags(store: Path, runs: Path) -> list[str]:
    return ["--models", str(store), "--runs", str(runs)]


def test_an_interrupted_gate_leaves_the_old_verdict_and_no_process(
    store: Path, runs: Path, tmp_path: Path
) -> None:
    old = {"passed": True, "of": "before"}
    path = _extra(store, EQUAL) / "gate.json"
    path.write_text(json.dumps(old))
    aside = tmp_path / "aside"
    aside.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "export.gate", str(EQUAL), *_flags(store, runs)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(aside)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (task := list(aside.glob("gate-*/task.json"))) or not _asking(task[0]):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nobody was asked"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert (out, err.splitlines()[-1]) == ("", "python -m export.gate: interrupted")
    assert json.loads(path.read_text()) == old
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["gate.json", "model_card.json"]
    assert list(aside.glob("gate-*")) == []
    while _asking(task[0]):  # one that was only just started notices by itself
        assert time.monotonic() < deadline, "the process that asks goes on"
        time.sleep(0.02)


def _asking(task: Path) -> bool:
    """Whether a process runs that was given this task."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        if str(task).encode() in words:
            return True
    return False


def test_a_version_that_falls_silent_is_given_up() -> None:
    talk = 'print(\'{"doing": "loading version 9"}\', flush=True); import time; time.sleep(60)'
    process = subprocess.Popen([sys.executable, "-c", talk], stdout=subprocess.PIPE, text=True)
    try:
        assert gate_child._follow(process, 1.5, 1) == ("loading version 9", None, True)
        assert process.wait(timeout=10) == -signal.SIGKILL
    finally:
        process.kill()
        process.stdout.close()


def test_a_full_disk_is_no_verdict_on_a_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preloaded_python: str
) -> None:
    monkeypatch.setattr(sys, "executable", preloaded_python)
    with disks.mounted(tmp_path / "disk", 100) as disk:
        task = {"versions": {}, "files": [], "corrupted": [], "seed": 1, "latency_calls": 1}
        (disk.path / "task.json").write_text(json.dumps(task))
        with contextlib.suppress(OSError), (disk.path / "filler").open("wb", 0) as filler:
            while True:
                filler.write(bytes(4096))
        with pytest.raises(InputError, match=r"room for the versions' answers.*No space left.*TMP"):
            gate_child._watch(disk.path, 60, 1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["99"], "Expected one of the versions in"),
        (["2", "--against", "2"], "Expected --against to name another version"),
        (["2", "--against", "99"], "Expected one of the versions in"),
        (["2", "--margin", "nan"], "Expected --margin above 0 and below 1"),
        (["2", "--max-bytes", "0"], "Expected --max-bytes above 0"),
        (["2", "--runs", "nowhere"], "Expected the run of version 2"),
        (["2", "--data", "nowhere"], "Expected a folder of images or a CSV/TSV manifest"),
    ],
)
def test_misuse_is_one_line_and_writes_nothing(
    flags: list[str],
    message: str,
    made_store: Path,
    runs: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = [] if "--runs" in flags else ["--runs", str(runs)]
    assert gate.main(["--models", str(made_store), *usual, *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"python -m export.gate: error: {message}")
    assert "Traceback" not in err
    assert not list(made_store.rglob("gate*"))


# --- which images ---------------------------------------------------------------------------------


@pytest.fixture
def both(made_store: Path, runs: Path, tmp_path: Path) -> list[gate_images.Version]:
    """Version 2 of the run as it is, and version 1 of a copy, whose split a test changes."""
    made = run.load(runs / "latest")
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
        shutil.copy(made_store / contract.MODEL_NAME / str(number) / contract.MODEL_CARD, target)
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
    both: list[gate_images.Version], images: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(images, tmp_path / "given")
    # in another format, and one that nobody knows
    known = next(row for row in both[0].made.predictions() if row.split == "validation")
    with PIL.Image.open(images / known.path) as picture:
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
