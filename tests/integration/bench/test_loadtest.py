"""The benchmark of the load test as a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]


def test_a_quick_look_measures_all_parts_and_leaves_figures_samples_and_page(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.loadtest", "--quick"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["build/bench-loadtest.json", "build/bench-loadtest.html"]
    build = tmp_path / "build"
    content = json.loads((build / "bench-loadtest.json").read_text())
    found = {row["name"]: row["value"] for row in content["results"]}
    assert found["throughput.ratio"] > 0.1
    assert found["accuracy.ghz"] == "not on the PATH"
    # However busy the machine is: an open loop sees the stalls, a closed one hardly.
    for share, least_ms in (("99", 100), ("99.9", 200)):
        assert found[f"accuracy.open.p{share}.truth"] > least_ms
        open_ms = found[f"accuracy.open.p{share}.reported"]
        assert abs(open_ms / found[f"accuracy.open.p{share}.truth"] - 1) < 0.5
    assert found["accuracy.closed.p99.error"] < -0.3 * found["accuracy.closed.p99.truth"]
    with np.load(build / "bench-loadtest-latencies.npz") as latencies:
        assert len(latencies["open"]) > 2000
        assert len(latencies["closed"]) > 100
    page = (build / "bench-loadtest.html").read_text()
    assert page.count("<svg") == 3
    assert "Not measured: ghz" in page
