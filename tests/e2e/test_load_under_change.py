"""The same load while versions are promoted and rolled back, and a server is killed and restarted.

Real versions, real commands, a real server that dies.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loadtest import run
from serving import models_config
from serving.rollout import states
from serving.rollout.states import State
from tests.e2e.launching import ROOT, quickly_serving
from tests.integration.loadtest import commands
from tests.integration.loadtest.commands import Done
from tests.ports import free_port
from tfs_client import Client, contract


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


@pytest.mark.thorough
def test_promotion_and_rollback_are_in_the_report_and_cost_no_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the commands that the load test runs
    with quickly_serving(folder) as (target, rest, _):
        rollout = f"--config {folder / 'models.config'} --target {target}"
        done = commands.run(
            run.main,
            *("--target", target, "--metrics", rest),
            *("--rate", "30", "--duration-s", "9"),
            *("--at", f"0.5:python -m serving.rollout promote --why test {rollout}"),
            *("--at", f"5:python -m serving.rollout rollback {rollout}"),
            folder=folder,
        )
    assert done.code == 0, done.told
    to, back = done.recording["events"]
    assert [one["event"]["code"] for one in (to, back)] == [0, 0], done.told
    assert [one["failures"] for one in (to, back)] == [0, 0]
    assert [one["switches"][0][:3] for one in (to, back)] == [["stable", 1, 2], ["stable", 2, 1]]
    assert all(0 < one["switches"][0][3] < 5 for one in (to, back))
    assert "stable: version 2 first answered after" in done.page
    assert done.recording["server"]["whole"]["measured"]["request"]["count"] > 200
    assert "The server's view" in done.page


def check_outage(done: Done, *, between_s: float) -> None:
    """The server was killed, and the command that starts it again came so many seconds later."""
    assert done.code == 1, done.told
    content = done.recording
    killed, restarted = content["events"]
    assert restarted["event"]["stopped"], done.told
    assert not content["partial"]
    assert killed["failures"] == killed["requests"] > 20
    assert {code for code, _ in killed["codes"]} <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert 0 < restarted["failures"] < restarted["requests"]
    assert restarted["silence_s"] > between_s  # from the kill, not from the second command
    assert restarted["worst_ms"] is not None


@pytest.mark.thorough
def test_a_server_that_is_killed_and_started_again_is_an_outage_with_its_length(
    tmp_path: Path,
) -> None:
    """A plain gRPC server, for it is back in a second."""
    port = free_port()
    address, command = f"127.0.0.1:{port}", [sys.executable, "-m", "tests.e2e.plain_server"]
    again = f"cd {ROOT} && exec {' '.join(command)} {port}"
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "pictures" / "0.png")
    server = subprocess.Popen([*command, str(port)], cwd=ROOT)
    try:
        with Client(address) as client:
            client.wait_ready(contract.LABEL_STABLE, timeout_s=60)
        done = commands.run(
            run.main,
            *("--target", address, "--images", str(tmp_path / "pictures"), "--timeout-s", "5"),
            *("--rate", "40", "--duration-s", "6"),
            *("--at", f"0.7:kill -9 {server.pid}"),
            *("--at", f'1.7:sh -c "{again}"'),
            folder=tmp_path,
        )
    finally:
        server.kill()
        server.wait()
    check_outage(done, between_s=1)


@pytest.mark.alone
@pytest.mark.thorough
def test_the_outage_of_a_real_server_is_in_its_own_view_too(folder: Path) -> None:
    with quickly_serving(folder) as (target, rest, process):
        ports = ["--grpc-port", target.rpartition(":")[2], "--rest-port", rest.rpartition(":")[2]]
        models = ["--models", str(folder / "models"), "--config", str(folder / "models.config")]
        again = [sys.executable, "-m", "serving.launch", "--server", "local", *models, *ports]
        script = f"cd {ROOT} && exec {' '.join(again)}"
        done = commands.run(
            run.main,
            *("--target", target, "--metrics", rest, "--timeout-s", "5"),
            *("--rate", "30", "--duration-s", "30"),
            *("--at", f"3:kill -{signal.SIGKILL.value} {process.pid}"),
            *("--at", f'5:sh -c "{script}"'),
            folder=folder,
        )
    check_outage(done, between_s=2)
    assert done.recording["server"]["restarts"] == 1
    assert done.recording["server"]["partial"]
