"""Tuning as a command, on servers that it starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loadtest import tune
from loadtest.verdicts.knee_search import Limits
from tests import slow_versions
from tests.e2e.launching import ROOT, first_config
from tfs_client import contract


def test_every_candidate_has_a_server_of_its_own_and_a_knee(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow_versions.save(tmp_path / "models" / contract.MODEL_NAME / "1", 20)
    config = first_config(tmp_path)
    shutil.copy(ROOT / "serving" / "monitoring.config", tmp_path)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "pictures" / "0.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tune, "FIRST", Limits(lowest=20, highest=40, most=4))
    monkeypatch.setattr(tune, "LAST", Limits(lowest=20, highest=40, most=4))
    code = tune.main(
        [
            *("--config", str(config), "--server", "local", "--images", "pictures"),
            *("--batch-sizes", "4", "--timeouts-us", "0", "--threads", "1"),
            *("--p99-ms", "5000", "--seconds-each", "1", "--most", "4"),
        ]
    )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    content = json.loads((tmp_path / "build/tune.json").read_text())
    found = {row["name"]: row["value"] for row in content["results"]}
    # Both hold the highest rate that was asked for, so that neither is surely better.
    for look in ("first", "last"):
        for name in ("no batching", "4 rows, 0 us, 1 thread"):
            assert found[f"{look}.{name}.low"] == 40
    assert found["recommended"] == "no batching"
    assert not (tmp_path / "build/batching.config").exists()
    assert "Which batching parameters carry most" in (tmp_path / "build/tune.html").read_text()
    assert captured.out.splitlines()[-1].startswith("recommended: no batching")
