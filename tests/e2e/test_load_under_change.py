"""The same load while versions are promoted and rolled back, and a server is killed and restarted.

Real versions, real commands, a real server that dies.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from serving import models_config
from serving.rollout import states
from serving.rollout.states import State
from tests.e2e.launching import ROOT, serving
from tfs_client import contract


@pytest.fixture
def folder(store: Path, tmp_path: Path) -> Path:
    """A store of two equal versions, the second of which is on trial."""
    model = tmp_path / "models" / "image_classifier"
    shutil.copytree(store, tmp_path / "models")
    shutil.copytree(model / "1", model / "2")
    own = models_config.read(ROOT / "serving" / "models.config")
    labels = {contract.LABEL_STABLE: 1, contract.LABEL_CANARY: 2}
    state = states.write(own, contract.MODEL_NAME, State(versions=(1, 2), labels=labels))
    (tmp_path / "models.config").write_text(models_config.render(state))
    shutil.copy(ROOT / "serving" / "monitoring.config", tmp_path)
    return tmp_path


def flags(folder: Path) -> list[str]:
    return ["--models", str(folder / "models"), "--config", str(folder / "models.config")]


def recorded(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "build/loadtest-recording.json").read_text())
    return found


def listening(port: str) -> psutil.Process:
    (found,) = [
        one
        for one in psutil.process_iter(["cmdline"])
        if {"serving.local", f"--port={port}"} <= set(one.info["cmdline"] or ())
    ]
    return found


def test_promotion_and_rollback_are_in_the_report_and_cost_no_request(
    folder: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    with serving(folder / "serve.log", *flags(folder)) as (target, rest, _):
        rollout = f"--config {folder / 'models.config'} --target {target}"
        done = command(
            *("loadtest.run", "--target", target, "--metrics", rest),
            *("--rate", "30", "--duration-s", "14"),
            *("--at", f"3:python -m serving.rollout promote --why test {rollout}"),
            *("--at", f"9:python -m serving.rollout rollback {rollout}"),
            cwd=folder,
        )
    assert done.returncode == 0, done.stderr
    to, back = recorded(folder)["events"]
    assert [one["event"]["code"] for one in (to, back)] == [0, 0], done.stderr
    assert [one["failures"] for one in (to, back)] == [0, 0]
    assert [one["switches"][0][:3] for one in (to, back)] == [["stable", 1, 2], ["stable", 2, 1]]
    assert all(0 < one["switches"][0][3] < 5 for one in (to, back))
    page = (folder / "build/loadtest.html").read_text()
    assert "stable: version 2 first answered after" in page
    assert recorded(folder)["server"]["whole"]["measured"]["request"]["count"] > 300
    assert "The server's view" in page


def test_a_server_that_is_killed_and_started_again_is_an_outage_with_its_length(
    folder: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    with serving(folder / "serve.log", *flags(folder)) as (target, rest, _):
        ports = ["--grpc-port", target.rpartition(":")[2], "--rest-port", rest.rpartition(":")[2]]
        again = [sys.executable, "-m", "serving.launch", "--server", "local", *flags(folder)]
        script = f"cd {ROOT} && exec {' '.join([*again, *ports])}"
        done = command(
            *("loadtest.run", "--target", target, "--metrics", rest, "--timeout-s", "5"),
            *("--rate", "30", "--duration-s", "30"),
            *("--at", f"3:kill -9 {listening(ports[1]).pid}"),
            *("--at", f'5:sh -c "{script}"'),
            cwd=folder,
        )
    assert done.returncode == 1, done.stderr
    content = recorded(folder)
    killed, restarted = content["events"]
    assert restarted["event"]["stopped"], done.stderr
    assert not content["partial"]
    assert killed["failures"] == killed["requests"] > 20
    assert {code for code, _ in killed["codes"]} <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert 0 < restarted["failures"] < restarted["requests"]
    assert restarted["silence_s"] > 2  # from the kill, not from the second command
    assert restarted["worst_ms"] is not None
    assert content["server"]["restarts"] == 1
    assert content["server"]["partial"]
