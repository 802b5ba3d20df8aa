"""Which version the gate judges where a run is named in its place."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from export import versions
from export.gate import __main__ as gate
from tfs_client import contract
from training import run
from training.config import RunConfig


@pytest.fixture
def model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Versions 1 and 3 of run a, version 2 of run b, version 4 without a card; run c has none."""
    for name in "abc":
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        content = {
            "id": name,
            "config": dataclasses.asdict(RunConfig()),
            "classes": ["sound", "defective"],
            "data": {"root": "images"},
        }
        (folder / run.SETTINGS).write_text(json.dumps(content))
    store = tmp_path / "models" / contract.MODEL_NAME
    for number, name in ((1, "a"), (2, "b"), (3, "a"), (4, None)):
        card = store / str(number) / contract.MODEL_CARD
        card.parent.mkdir(parents=True)
        card.write_text(json.dumps({"run": name} if name else ["no card"]))
    monkeypatch.chdir(tmp_path)
    return store


def test_the_newest_version_of_a_run_is_the_candidate(model_folder: Path) -> None:
    assert versions.of_run(model_folder, "a") == [1, 3]
    asked = {(None, "a"): 3, (None, "runs/b"): 2, (1, "a"): 1, (4, None): 4}
    for (version, name), found in asked.items():
        assert gate._candidate(model_folder, version, name, Path("runs")) == found


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "Expected the number of a version, or --run. Received: neither."),
        ("--run=", "Expected the folder of a run, or its name in runs. Received: nothing."),
        ("--run d", "Expected a run in runs/d."),
        ("2 --run a", "Expected a version that holds run a, as --run says. Received: version 2"),
        ("--run c", "Expected a version in models/image_classifier that holds run c."),
    ],
)
def test_a_run_that_is_no_version_or_another_one_is_refused(
    typed: str, said: str, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate.main(typed.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"python -m export.gate: error: {said}")
