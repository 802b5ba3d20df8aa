"""The gate as a person runs it: real versions, a real process that asks them, one fault each.

Refusals that are seldom and slow to show are in test_gate_refusals.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from export.gate import __main__ as gate, child as gate_child
from foundation.command_line import InputError
from foundation.digests import version_digest
from tests import disks
from tests.house.pages import plots, whole
from tests.integration.export.gate_versions import (
    ABORTS,
    EQUAL,
    RAISES,
    RENAMED,
    by_name,
    extra,
    failed,
    verdict as verdict_of,
)
from tfs_client import contract
from training import run

ROOT = Path(__file__).resolve().parents[3]
NOT_WORSE = {"not_worse.balanced_accuracy", "not_worse.roc_auc"}
CHECKS = ["survives", "compatible", "finite", *sorted(NOT_WORSE), "robust", "size", "latency"]


def test_an_equal_version_passes_and_its_verdict_says_of_what(
    gate_store: Path, gate_runs: Path, gate_of: Callable
) -> None:
    done = gate_of(EQUAL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(extra(gate_store, EQUAL) / "gate.json")
    assert "against=1 (the highest one below; none of them passed a gate)" in done.stderr
    assert done.stderr.splitlines()[-1] == "passed"
    verdict = verdict_of(gate_store, EQUAL)
    assert (verdict["version"], verdict["against"], verdict["passed"]) == (EQUAL, 1, True)
    assert [check["name"] for check in verdict["checks"]] == CHECKS
    assert all(check["holds"] is True for check in verdict["checks"])
    for name in CHECKS:
        assert any(name in line and "holds" in line for line in done.stderr.splitlines())
    assert verdict["version_sha256"] == version_digest(
        gate_store / contract.MODEL_NAME / str(EQUAL)
    )
    assert verdict["against_sha256"] == version_digest(gate_store / contract.MODEL_NAME / "1")
    made = run.load(gate_runs / "latest")
    tested = [row for row in made.predictions() if row.split == "test"]
    assert verdict["held_out"]["images"] == len(tested) > 80
    assert verdict["held_out"]["sources"] == {made.id: len(tested)}
    assert verdict["disagreements"] == []
    assert verdict["not_shown_better_than_guessing"] == []
    assert verdict["metrics"]["candidate"] == verdict["metrics"]["stable"]
    assert 0.8 < verdict["metrics"]["candidate"]["balanced_accuracy"] < 1
    accuracy = by_name(verdict)["not_worse.balanced_accuracy"]["detail"]
    assert accuracy["lower"] == -accuracy["upper"] < 0 == accuracy["difference"]
    assert accuracy["mcnemar_p"] == 1
    assert verdict["why_refused"] == ""
    assert len(by_name(verdict)["robust"]["detail"]["corruptions"]) == 8
    assert by_name(verdict)["latency"]["detail"]["candidate"]["calls"] == 300
    assert plots(whole(extra(gate_store, EQUAL) / verdict["page"], "Passed")) == 3
    assert sorted(path.name for path in extra(gate_store, EQUAL).iterdir()) == [
        "gate.html", "gate.json", "model_card.json",
    ]  # fmt: skip


def test_a_renamed_output_breaks_callers_and_nothing_else_is_asked(
    gate_store: Path, gate_of: Callable
) -> None:
    done = gate_of(RENAMED, "--against", "1")
    assert done.returncode == 1, done.stderr
    verdict = verdict_of(gate_store, RENAMED)
    assert failed(verdict) == {"compatible"}
    checks = by_name(verdict)
    assert "serving_default has no output probability" in checks["compatible"]["received"]
    assert "predict_images has no output probability" in checks["compatible"]["received"]
    assert checks["survives"]["holds"] is True
    assert checks["finite"]["holds"] is None
    assert checks["finite"]["received"] == "not reached"
    assert "Refused: compatible" in (extra(gate_store, RENAMED) / verdict["page"]).read_text()


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
    version: int, happened: str, gate_store: Path, gate_of: Callable
) -> None:
    done = gate_of(version, "--against", "1")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    verdict = verdict_of(gate_store, version)
    assert failed(verdict) == {"survives"}
    checks = by_name(verdict)
    assert happened in checks["survives"]["received"]
    others = [check for name, check in checks.items() if name != "survives"]
    assert {(check["holds"], check["received"]) for check in others} == {(None, "not reached")}
    assert "Refused: survives" in (extra(gate_store, version) / verdict["page"]).read_text()


def test_a_version_that_cannot_be_loaded_is_refused_without_a_traceback(
    gate_store: Path, gate_of: Callable
) -> None:
    (gate_store / contract.MODEL_NAME / str(EQUAL) / "saved_model.pb").write_bytes(b"no graph")
    done = gate_of(EQUAL)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    verdict = verdict_of(gate_store, EQUAL)
    assert failed(verdict) == {"survives"}
    assert f"while loading version {EQUAL}" in by_name(verdict)["survives"]["received"]


def _flags(gate_store: Path, gate_runs: Path) -> list[str]:
    return ["--models", str(gate_store), "--runs", str(gate_runs)]


def test_an_interrupted_gate_leaves_the_old_verdict_and_no_process(
    gate_store: Path, gate_runs: Path, tmp_path: Path
) -> None:
    old = {"passed": True, "of": "before"}
    path = extra(gate_store, EQUAL) / "gate.json"
    path.write_text(json.dumps(old))
    aside = tmp_path / "aside"
    aside.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "export.gate", str(EQUAL), *_flags(gate_store, gate_runs)],
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
    gate_store: Path,
    gate_runs: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = [] if "--runs" in flags else ["--runs", str(gate_runs)]
    assert gate.main(["--models", str(gate_store), *usual, *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"python -m export.gate: error: {message}")
    assert "Traceback" not in err
    assert not list(gate_store.rglob("gate*"))
