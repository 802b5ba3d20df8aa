"""The benchmark of rollouts as a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.rollout.callers import LABELS
from tests.house.pages import plots, whole

ROOT = Path(__file__).resolve().parents[3]


def quick_look(folder: Path, *flags: str) -> dict[str, Any]:
    """The figures of a quick run, by name."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "rollout", "--quick", *flags],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["build/bench-rollout.json", "build/bench-rollout.html"]
    content = json.loads((folder / "build" / "bench-rollout.json").read_text())
    return {row["name"]: row["value"] for row in content["results"]}


@pytest.mark.thorough
def test_the_figures_go_where_the_flag_says(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "rollout", "--quick", "--parts", "experiment"]
        + ["--build", str(tmp_path / "elsewhere")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = {path.name for path in (tmp_path / "elsewhere").iterdir()}
    assert files == {"bench-rollout.json", "bench-rollout.html"}
    assert plots(whole(tmp_path / "elsewhere" / "bench-rollout.html")) == 1


@pytest.mark.alone
@pytest.mark.thorough
def test_a_quick_look_loses_nothing_and_leaves_figures_rows_and_page(tmp_path: Path) -> None:
    found = quick_look(tmp_path)
    build = tmp_path / "build"
    for part in ("traffic", "rpc", "file"):
        for name in ("failed", "wrong", "by_versions_without_the_label"):
            assert found[f"{part}.{name}"] == 0
        assert found[f"{part}.requests"] > 100
        assert found[f"{part}.rollbacks"] >= 2
        assert 0 <= found[f"{part}.last_bad_answer_median_s"] < 30
        assert 50 < found[f"{part}.server_memory_after_mb"] < 10_000
        with np.load(build / f"bench-rollout-{part}.npz") as saved:
            assert len(saved["rows"]) == found[f"{part}.requests"]
            assert set(saved["rows"]["label"]) == set(range(len(LABELS)))
    assert found["experiment.simulated"] == 200
    assert plots(whole(build / "bench-rollout.html")) == 6
