"""The benchmark of the local server as a command, on a small model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import environments
from tests.bench.server import contest, payloads, servers
from tests.bench.server.contest import FILES, PIXELS
from tests.e2e.launching import first_config
from tests.house.pages import plots, whole

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def quick(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a quick run without a network leaves in build/."""
    folder = tmp_path_factory.mktemp("bench")
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "server", "--quick", "--models", str(store)]
        + ["--config", str(first_config(folder))],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "UV_OFFLINE": "1",
            "UV_CACHE_DIR": str(folder / "cache"),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["build/bench-server.json", "build/bench-server.html"]
    return folder / "build"


@pytest.mark.alone
@pytest.mark.thorough
def test_a_quick_run_leaves_plausible_figures(quick: Path) -> None:
    content = json.loads((quick / "bench-server.json").read_text())
    assert content["name"] == "bench-server"
    assert content["command"].startswith("python -m tests.bench server --quick")
    value = {row["name"]: row["value"] for row in content["results"]}
    assert value["errors"] == value["soak.errors"] == 0
    for signature in (FILES, PIXELS):
        for way in ("batching", "unbatched", "echo"):
            for count in (1, 8, 32):
                start = f"{signature}.{way}.{count}_callers"
                assert value[f"{start}.per_s"] > 5, start
                assert 0 < value[f"{start}.p50_ms"] <= value[f"{start}.p99_ms"] < 5_000, start
                # a closed loop: no more requests are under way than there are callers
                under_way = value[f"{start}.per_s"] * value[f"{start}.p50_ms"] / 1000
                assert under_way < 2 * count, start
                assert 0 < value[f"{start}.client_cpu_ms"] < 100, start
                assert 0 < value[f"{start}.server_cpu_ms"] < 200, start
        assert 0 < value[f"{signature}.batching.32_callers.of_in_process"] < 1.5
        assert value[f"{signature}.in_process.images_per_s"] > 20
    assert value[f"{FILES}.rest.32_callers.per_s"] > 5
    # One was taken after the other, so a busy machine may turn them round.
    assert value["start.ready_s"] > 0.5 * value["start.import_s"] > 0.15
    assert 100 < value["soak.resident_mb_after_200"] < 10_000
    assert value["pillow.images_per_s_per_core"] > 20


@pytest.mark.alone
@pytest.mark.thorough
def test_a_server_that_cannot_be_had_is_left_out_with_the_reason(quick: Path) -> None:
    content = json.loads((quick / "bench-server.json").read_text())
    value = {row["name"]: row["value"] for row in content["results"]}
    assert value["fastapi.had"] is False
    assert "fastapi" in value["fastapi.absent"]
    assert "mlserver" in value["mlserver.absent"]
    assert not any("over_fastapi" in name for name in value)
    assert "Not measured: fastapi" in (quick / "bench-server.html").read_text()


@pytest.mark.alone
@pytest.mark.thorough
def test_samples_and_the_page_lie_beside_the_figures(quick: Path) -> None:
    kept = {path.name for path in quick.iterdir() if path.is_file()}
    assert kept == {
        "bench-server.json",
        "index.html",
        "bench-server.html",
        "bench-server-latencies.npz",
        "bench-server-rounds.jsonl",
        "bench-server-memory.csv",
    }
    page = whole(quick / "bench-server.html")
    assert plots(page) == 4
    assert "local server, gRPC, batching" in page


def test_a_version_that_was_not_exported_is_named(tmp_path: Path, command) -> None:
    done = command("tests.bench", "server", "--models", str(tmp_path), cwd=ROOT)
    assert done.returncode == 2
    assert "Expected version 1 in" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("name", environments.RIVAL_SERVERS)
def test_the_servers_that_it_is_measured_against_answer_rightly(
    name: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # its environments stay in build/
    try:
        python = environments.make(name)
    except environments.UnavailableError:
        pytest.skip(f"needs {name}: uv pip install {environments.packages(name)}")
    version = store / "image_classifier" / "1"
    files, pixels = payloads.choose_files(), tmp_path / "pixels.npy"
    start = {"fastapi": servers.fastapi, "mlserver": servers.mlserver}[name]
    with (
        servers.in_process(tmp_path, version, files, pixels) as worker,
        start(python, tmp_path, version) as rival,
    ):
        material = contest.prepare(worker, files, pixels)
        rival.wait()
        ways = [way for way in payloads.HTTP if way.startswith(name)]
        assert ways
        for way in ways:
            taken = contest.ask(contest.http_target(way, rival, rival.address, material), 4, 1)
            assert taken.errors == 0, taken.first_error
            assert taken.answered >= 4
            assert taken.server_cpu_s > 0
