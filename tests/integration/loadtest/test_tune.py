"""Tuning as a command, on servers that it starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from loadtest import tune
from loadtest.tuning import in_turns
from loadtest.verdicts.knee_search import Limits
from serving.local.batching import parameters as batching_parameters
from tests import slow_versions
from tests.e2e.launching import ROOT, first_config
from tfs_client import contract

ROUNDS = 1000
"""Of arithmetic a call: what one picture costs, and what 32 cost together."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a picture and a models.config, and where the command runs."""
    first_config(tmp_path)
    shutil.copy(ROOT / "serving" / "monitoring.config", tmp_path)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "pictures" / "0.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tuned(folder: Path, *flags: str) -> int:
    where = ("--config", str(folder / "models.config"), "--server", "local")
    return tune.main([*where, "--images", "pictures", "--seconds-each", "1", *flags])


def figures(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "build/tune.json").read_text())
    return {row["name"]: row["value"] for row in content["results"]}


def test_every_candidate_has_a_server_of_its_own_and_a_knee(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow_versions.save(folder / "models" / contract.MODEL_NAME / "1", 20)
    monkeypatch.setattr(tune, "FIRST", Limits(lowest=20, highest=40, most=9))
    monkeypatch.setattr(tune, "LAST", Limits(lowest=20, highest=40, most=9))
    grid = ("--batch-sizes", "4", "--timeouts-us", "0", "--threads", "1")
    code = tuned(folder, *grid, "--p99-ms", "5000", "--most", "9")
    captured = capsys.readouterr()
    assert code == 0, captured.err
    found = figures(folder)
    # Both hold the highest rate that was asked for, so that neither is better.
    for look in ("first", "last"):
        for name in ("no batching", "4 rows, 0 us, 1 thread"):
            assert found[f"{look}.{name}.low"] == 40
    assert found["recommended"] == "no batching"
    assert "in_turns.rate" not in found
    assert not (folder / "build/batching.config").exists()
    assert "Which batching parameters carry most" in (folder / "build/tune.html").read_text()
    assert captured.out.splitlines()[-1].startswith("recommended: no batching")


def test_batching_is_recommended_where_a_call_costs_the_same_however_many_pictures_it_has(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow_versions.save(folder / "models" / contract.MODEL_NAME / "1", ROUNDS)
    monkeypatch.setattr(tune, "FIRST", Limits(lowest=10, width=0.5, most=9))
    monkeypatch.setattr(tune, "LAST", Limits(lowest=10, width=0.5, most=9))
    monkeypatch.setattr(in_turns, "PAIRS", 5)
    grid = ("--batch-sizes", "32", "--timeouts-us", "0", "--threads", "1")
    code = tuned(folder, *grid, "--p99-ms", "400", "--most", "9")
    captured = capsys.readouterr()
    assert code == 0, captured.err
    found = figures(folder)
    assert found["recommended"] == "32 rows, 0 us, 1 thread", captured.err
    assert (found["in_turns.pairs"], found["in_turns.better"]) == (5, 5)
    kept = folder / "build/batching.config"
    assert batching_parameters.read(kept).max_batch_size == 32
    assert "# Side by side: 32 rows, 0 us, 1 thread better in 5 of 5 pairs at " in kept.read_text()
    assert "Side by side" in (folder / "build/tune.html").read_text()
    assert captured.out.splitlines()[-1].startswith("recommended: 32 rows, 0 us, 1 thread: ")
