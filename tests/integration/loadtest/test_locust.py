"""Locust's users against real servers: over REST, and in several processes."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtest import run
from serving.client.tests.model_server import ModelServer
from tests import forked_server, slow_versions
from tests.e2e.launching import first_config
from tests.integration.loadtest import commands
from tests.integration.loadtest.commands import ROOT, figures, recording, wait_for
from tests.ports import free_port
from tfs_client import contract


@pytest.fixture(scope="module")
def rest_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The REST port of a real server, whose version answers at once."""
    folder = tmp_path_factory.mktemp("locust")
    slow_versions.save(folder / "models" / contract.MODEL_NAME / "1", 1)
    monitoring = f"--monitoring_config_file={ROOT / 'serving' / 'monitoring.config'}"
    where = {"config": first_config(folder), "models": folder / "models"}
    labels = "--allow_version_labels_for_unavailable_models=true"
    with forked_server.serving(folder, monitoring, labels, **where) as (_, ports, _):
        yield f"127.0.0.1:{ports['rest']}"


KILLED_AS_IT_WAKES = """
import itertools, time, types
real_sleep = time.sleep
from loadtest.loops import locustfile
from locust.env import Environment
import gevent

sent, kept = [], []

class Sends(locustfile.ImageUser):
    on_start = on_stop = lambda self: None
    wait_time = lambda self: 0.2
    client = None
    def ask(self, request, body):
        sent.append(request)
        gevent.sleep(0.02)
        raise RuntimeError("no answer")

shared = locustfile.Shared
shared.problem, shared.requests, shared.numbers = "", [types.SimpleNamespace(
    signature="x", label=None)] * 9, itertools.count()
shared.gathering = types.SimpleNamespace(take=kept.append)
locustfile.PAUSE_AFTER_FAILURE_S = 0
options = types.SimpleNamespace(api="rest", seed=1)
user = Sends(Environment(user_classes=[Sends], parsed_options=options))
user.start(gevent.pool.Group())
while user._state != "waiting":
    gevent.sleep(0.001)
stopping = gevent.spawn_later(0.1, user.stop)
real_sleep(0.5)  # both times are over before either is acted upon
stopping.join()
user.greenlet.join()
print(len(sent), len(kept))
"""


def test_a_user_that_is_stopped_as_its_think_time_ends_sends_nothing_uncounted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AS_IT_WAKES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split()[-2:] == ["1", "1"], done.stdout + done.stderr


def test_users_over_rest_send_what_the_server_counts_as_rest(
    rest_address: str, pictures: Path, tmp_path: Path
) -> None:
    rest = ("--api", "rest", "--target", rest_address, "--metrics", rest_address)
    load = ("--images", str(pictures), "--users", "3", "--duration-s", "1", "--batch", "1,2")
    done = commands.run(run.main, *rest, *load, folder=tmp_path)
    assert done.code == 0, done.told
    found = done.figures
    assert found["requests"] > 10
    assert found["failures"] == 0
    counted = done.recording["server"]["whole"]["measured"]
    assert counted["request"]["count"] == found["requests"]
    assert found["mean.handler_ms"] > 0
    assert done.recording["settings"]["api"] == "rest"


def test_failures_over_rest_are_told(rest_address: str, pictures: Path, tmp_path: Path) -> None:
    """Answers other than the known ones, of one picture in five."""
    (tmp_path / "answers.csv").write_text(
        "path,predicted,probability\n"
        + "".join(f"pictures/{at}.png,{'sound' if at else 'defective'},0.25\n" for at in range(5))
    )
    rest = ("--api", "rest", "--target", rest_address, "--images", str(pictures))
    load = ("--answers", "answers.csv", "--users", "2", "--duration-s", "1")
    done = commands.run(run.main, *rest, *load, folder=tmp_path)
    assert done.code == 1, done.told
    assert "x WRONG_ANSWER" in done.told
    assert 0 < done.figures["failures"] < done.figures["requests"]


def test_a_label_that_the_server_lacks_is_one_line(
    rest_address: str, pictures: Path, tmp_path: Path
) -> None:
    rest = ("--api", "rest", "--target", rest_address, "--images", str(pictures))
    done = commands.run(run.main, *rest, "--label", "nope", folder=tmp_path)
    assert done.code == 2
    (line,) = done.told.splitlines()
    assert line.startswith("python -m loadtest.run: error: ")
    assert "nope); no such label, or no such model" in line
    assert not (tmp_path / "build").exists()


def test_an_answer_over_rest_that_comes_drop_by_drop_is_over_at_the_deadline(
    rest_address: str, pictures: Path, tmp_path: Path
) -> None:
    class Dripping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with urllib.request.urlopen(f"http://{rest_address}{self.path}") as answer:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer.read())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.05)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target = f"127.0.0.1:{server.server_port}"
        flags = ("--api", "rest", "--target", target, "--images", str(pictures))
        flags += ("--users", "2", "--duration-s", "1.2", "--timeout-s", "1")
        done = commands.run(run.main, *flags, folder=tmp_path)
        server.shutdown()
    assert done.code == 1, done.told
    assert "x DEADLINE_EXCEEDED: " in done.told
    assert 2 <= done.figures["requests"] <= 8
    assert all(1000 <= float(row["latency_ms"]) < 3000 for row in done.rows)


def started(
    server: ModelServer, pictures: Path, folder: Path, *flags: str
) -> subprocess.Popen[str]:
    load = ("--target", server.target, "--images", str(pictures), "--users", "4", *flags)
    return commands.start("loadtest.run", *load, folder=folder)


def until_samples(folder: Path, count: int) -> None:
    """Waits until so many have reached the master."""
    kept = folder / "build" / "loadtest-samples.csv"
    wait_for(lambda: kept.exists() and len(kept.read_text().splitlines()) >= count + 2, "samples")


def test_several_processes_add_up_to_what_the_server_saw(
    server: ModelServer, pictures: Path, tmp_path: Path
) -> None:
    process = started(server, pictures, tmp_path, "--workers", "2", "--duration-s", "2")
    _, talk = process.communicate(timeout=120)
    assert process.returncode == 0, talk
    content = recording(tmp_path)
    served = len(server.asked("Predict"))
    assert figures(tmp_path)["requests"] == served > 20
    assert content["generator"]["workers"] == 2
    assert content["generator"]["sent"] == served
    assert content["generator"]["cpu_share"] > 0
    rows = (tmp_path / "build/loadtest-samples.csv").read_text().splitlines()
    assert len(rows) == served + 1


@pytest.mark.parametrize("killed", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_workers_that_are_killed_leave_the_rest_marked_as_partial(
    server: ModelServer, pictures: Path, tmp_path: Path, killed: int
) -> None:
    process = started(server, pictures, tmp_path, "--workers", "2", "--duration-s", "3")
    until_samples(tmp_path, 20)
    workers = [
        one
        for one in psutil.Process(process.pid).children(recursive=True)
        if "--worker" in one.cmdline()
    ]
    assert len(workers) == 2
    for worker in workers[:killed]:
        worker.send_signal(signal.SIGKILL)
    _, talk = process.communicate(timeout=120)
    assert process.returncode == 1, talk
    found = recording(tmp_path)
    assert f"{killed} of 2 workers ended in the middle" in found["partial"][0]
    assert figures(tmp_path)["requests"] > 20
    assert "Partial" in (tmp_path / "build/loadtest.html").read_text()


def remote_worker(port: int) -> subprocess.Popen[bytes]:
    locust = ("-m", "locust", "-f", "loadtest/loops/locustfile.py", "--worker")
    return subprocess.Popen(
        [sys.executable, *locust, "--master-port", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.thorough
def test_a_worker_that_has_nothing_to_send_is_told_of_by_its_failures(
    server: ModelServer, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of images is on the master's machine, and not on the worker's."""
    port = free_port()
    monkeypatch.setenv("LOCUST_MASTER_BIND_PORT", str(port))
    shutil.copytree(pictures, tmp_path / "pictures")
    flags = ("--remote-workers", "1", "--duration-s", "1", "--images", str(tmp_path / "pictures"))
    process = started(server, pictures, tmp_path, *flags)
    wait_for(lambda: listens(port), "master")
    shutil.rmtree(tmp_path / "pictures")
    worker = remote_worker(port)
    try:
        _, talk = process.communicate(timeout=120)
    finally:
        worker.kill()
        worker.wait()
    assert process.returncode == 1, talk
    assert "x UNPREPARED: Expected a folder of images" in talk
    assert figures(tmp_path)["failures"] >= 4


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.thorough
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_comes_in_anothers_place_does_not_hide_the_loss(
    server: ModelServer,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    """As a cluster's Job does it, when a pod has died, or was told to end."""
    port = free_port()
    monkeypatch.setenv("LOCUST_MASTER_BIND_PORT", str(port))
    process = started(server, pictures, tmp_path, "--remote-workers", "2", "--duration-s", "12")
    workers = [remote_worker(port), remote_worker(port)]
    try:
        until_samples(tmp_path, 20)
        workers[0].send_signal(how)
        workers.append(remote_worker(port))
        _, talk = process.communicate(timeout=120)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert process.returncode == 1, talk
    found = recording(tmp_path)
    # Of three, where the one that came had the time to begin.
    told = r"1 of [23] workers ended in the middle: number [01];"
    assert re.match(told, found["partial"][0]), found["partial"]
    assert found["generator"]["workers"] >= 2, "the one that stayed, and one more"


@pytest.mark.thorough
def test_workers_of_other_machines_are_waited_for_and_told_what_to_send(
    server: ModelServer, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a cluster: the master alone knows target and mix; its workers know the master."""
    port = free_port()
    monkeypatch.setenv("LOCUST_MASTER_BIND_PORT", str(port))
    flags = ("--remote-workers", "1", "--duration-s", "1", "--batch", "2")
    process = started(server, pictures, tmp_path, *flags)
    worker = remote_worker(port)
    try:
        _, talk = process.communicate(timeout=120)
        assert worker.wait(20) == 0, "it ends with the test"
    finally:
        worker.kill()
        worker.wait()
    assert process.returncode == 0, talk
    served = server.asked()
    assert figures(tmp_path)["requests"] == len(served) > 10
    assert {request.inputs[contract.INPUT_IMAGE_BYTES].shape for request in served} == {(2,)}
