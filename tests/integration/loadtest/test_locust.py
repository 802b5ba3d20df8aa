"""Locust's users against real servers: over REST, thinking, in several processes."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from loadtest import run
from serving.client.tests.model_server import ModelServer
from tests import slow_versions
from tests.e2e.launching import ROOT, first_config, serving
from tests.ports import free_port
from tfs_client import contract

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that answers at once, and pictures."""
    folder = tmp_path_factory.mktemp("locust")
    slow_versions.save(folder / "models" / contract.MODEL_NAME / "1", 1)
    first_config(folder)
    shutil.copy(ROOT / "serving" / "monitoring.config", folder)
    (folder / "pictures").mkdir()
    random = np.random.default_rng(0)
    for at in range(5):
        pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{at}.png")
    return folder


@pytest.fixture(scope="module")
def addresses(place: Path) -> Iterator[tuple[str, str]]:
    """Of gRPC and of REST."""
    flags = ("--models", str(place / "models"), "--config", str(place / "models.config"))
    with serving(place / "serve.log", *flags) as (grpc_address, rest_address, _):
        yield grpc_address, rest_address


@pytest.fixture
def server() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.stop()


def figures(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "build" / "loadtest.json").read_text())
    return {row["name"]: row["value"] for row in content["results"]}


def recorded(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "build/loadtest-recording.json").read_text())
    return found


def test_users_over_rest_send_what_the_server_counts_as_rest(
    command: Command, place: Path, addresses: tuple[str, str], tmp_path: Path
) -> None:
    rest = ("--api", "rest", "--target", addresses[1], "--metrics", addresses[1])
    load = ("--images", str(place / "pictures"), "--users", "3", "--duration-s", "3")
    done = command("loadtest.run", *rest, *load, "--batch", "1,2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = figures(tmp_path)
    assert found["requests"] > 10
    assert found["failures"] == 0
    counted = recorded(tmp_path)["server"]["whole"]["measured"]
    assert counted["request"]["count"] == found["requests"]
    assert found["mean.handler_ms"] > 0
    assert recorded(tmp_path)["settings"]["api"] == "rest"


def test_failures_over_rest_are_counted_by_grpc_code(
    command: Command, place: Path, addresses: tuple[str, str], tmp_path: Path
) -> None:
    # A picture too many of a batch makes no difference; a version that goes away does.
    (tmp_path / "pictures").mkdir()
    shutil.copytree(place / "pictures", tmp_path / "pictures", dirs_exist_ok=True)
    (tmp_path / "answers.csv").write_text(
        "path,predicted,probability\n"
        + "".join(f"pictures/{at}.png,{'sound' if at else 'defective'},0.25\n" for at in range(5))
    )
    rest = ("--api", "rest", "--target", addresses[1], "--images", str(tmp_path / "pictures"))
    known = ("--answers", str(tmp_path / "answers.csv"))
    load = ("--users", "2", "--duration-s", "2")
    done = command("loadtest.run", *rest, *known, *load, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "x WRONG_ANSWER" in done.stderr
    found = figures(tmp_path)
    assert 0 < found["failures"] < found["requests"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--api", "rest", "--target", "127.0.0.1:1"], "nothing listens on that port: start"),
        (["--api", "rest", "--target", "https://localhost:1"], "speaks no TLS"),
        (["--api", "rest", "--target", "REST", "--label", "nope"], "nope); give a label of the"),
        (["--api", "rest", "--target", "GRPC"], "is this the gRPC port?"),
        (["--api", "rest", "--target", "REST", "--tls"], "Expected no TLS and no token"),
        (["--api", "soap"], "Expected --api of grpc, rest"),
        (["--api", "rest", "--rate", "5"], "they are of the closed loop"),
        (["--think-time", "soon"], "Expected --think-time in seconds"),
        (["--workers", "2", "--remote-workers", "2"], "Expected --workers or --remote-workers"),
        (["--remote-workers", "-1"], "Expected --remote-workers from 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(
    addresses: tuple[str, str],
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    known = {"GRPC": addresses[0], "REST": addresses[1]}
    flags = [known.get(flag, flag) for flag in flags]
    assert run.main(["--images", str(place / "pictures"), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("loadtest: error: ")
    assert words in line
    assert not (tmp_path / "build").exists()


def test_users_that_think_ask_less(
    server: ModelServer, command: Command, place: Path, tmp_path: Path
) -> None:
    load = ("--target", server.target, "--images", str(place / "pictures"), "--duration-s", "4")
    done = command("loadtest.run", *load, "--users", "2", "--think-time", "0.4-0.6", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # Two users, a request every half second each, for four seconds and a little.
    assert 8 <= figures(tmp_path)["requests"] <= 26
    assert "thinks for 0.4-0.6 s and asks again" in done.stdout


def test_an_answer_over_rest_that_comes_drop_by_drop_is_over_at_the_deadline(
    command: Command, place: Path, addresses: tuple[str, str], tmp_path: Path
) -> None:
    class Dripping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with urllib.request.urlopen(f"http://{addresses[1]}{self.path}") as answer:
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
                    time.sleep(0.1)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target = f"127.0.0.1:{server.server_port}"
        flags = ("--api", "rest", "--target", target, "--images", str(place / "pictures"))
        flags += ("--users", "2", "--duration-s", "3", "--timeout-s", "1")
        done = command("loadtest.run", *flags, cwd=tmp_path)
        server.shutdown()
    assert done.returncode == 1, done.stderr
    assert "x DEADLINE_EXCEEDED: " in done.stderr
    assert 2 <= figures(tmp_path)["requests"] <= 8
    kept = (tmp_path / "build" / "loadtest-samples.csv").read_text().splitlines()
    rows = list(csv.DictReader(kept))
    assert all(1000 <= float(row["latency_ms"]) < 3000 for row in rows)


def started(server: ModelServer, place: Path, folder: Path, *flags: str) -> subprocess.Popen[str]:
    load = ("--target", server.target, "--images", str(place / "pictures"))
    return subprocess.Popen(
        [sys.executable, "-m", "loadtest.run", *load, "--users", "4", *flags],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_samples(folder: Path, count: int) -> None:
    """Waits until so many have reached the master."""
    deadline = time.monotonic() + 60
    kept = folder / "build" / "loadtest-samples.csv"
    while not kept.exists() or len(kept.read_text().splitlines()) < count + 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_several_processes_add_up_to_what_the_server_saw(
    server: ModelServer, place: Path, tmp_path: Path
) -> None:
    process = started(server, place, tmp_path, "--workers", "2", "--duration-s", "4")
    _, talk = process.communicate(timeout=120)
    assert process.returncode == 0, talk
    content = recorded(tmp_path)
    served = sum(call == "Predict" for call, _ in server.requests)
    assert figures(tmp_path)["requests"] == served > 20
    assert content["generator"]["workers"] == 2
    assert content["generator"]["sent"] == served
    assert content["generator"]["cpu_share"] > 0
    rows = (tmp_path / "build/loadtest-samples.csv").read_text().splitlines()
    assert len(rows) == served + 1


@pytest.mark.parametrize("killed", [1, 2])
def test_workers_that_are_killed_leave_the_rest_marked_as_partial(
    server: ModelServer, place: Path, tmp_path: Path, killed: int
) -> None:
    process = started(server, place, tmp_path, "--workers", "2", "--duration-s", "8")
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
    found = recorded(tmp_path)
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


def test_a_worker_that_has_nothing_to_send_is_told_of_by_its_failures(
    server: ModelServer, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of images is on the master's machine, and not on the worker's."""
    port = free_port()
    monkeypatch.setenv("LOCUST_MASTER_BIND_PORT", str(port))
    shutil.copytree(place / "pictures", tmp_path / "pictures")
    flags = ("--remote-workers", "1", "--duration-s", "3", "--images", str(tmp_path / "pictures"))
    process = started(server, place, tmp_path, *flags)
    deadline = time.monotonic() + 60
    while not listens(port):
        assert time.monotonic() < deadline
        time.sleep(0.1)
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


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_comes_in_anothers_place_does_not_hide_the_loss(
    server: ModelServer,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    """As a cluster's Job does it, when a pod has died, or was told to end."""
    port = free_port()
    monkeypatch.setenv("LOCUST_MASTER_BIND_PORT", str(port))
    process = started(server, place, tmp_path, "--remote-workers", "2", "--duration-s", "12")
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
    found = recorded(tmp_path)
    # Of three, where the one that came had the time to begin.
    told = r"1 of [23] workers ended in the middle: number [01];"
    assert re.match(told, found["partial"][0]), found["partial"]
    assert found["generator"]["workers"] >= 2, "the one that stayed, and one more"


def test_workers_of_other_machines_are_waited_for_and_told_what_to_send(
    server: ModelServer, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a cluster: the master alone knows target and mix; its workers know the master."""
    port = free_port()
    monkeypatch.setenv("LOCUST_MASTER_BIND_PORT", str(port))
    flags = ("--remote-workers", "1", "--duration-s", "3", "--batch", "2")
    process = started(server, place, tmp_path, *flags)
    worker = remote_worker(port)
    try:
        _, talk = process.communicate(timeout=120)
        assert worker.wait(20) == 0, "it ends with the test"
    finally:
        worker.kill()
        worker.wait()
    assert process.returncode == 0, talk
    served = [request for call, request in server.requests if call == "Predict"]
    assert figures(tmp_path)["requests"] == len(served) > 10
    sizes = {
        request.inputs[contract.INPUT_IMAGE_BYTES].tensor_shape.dim[0].size for request in served
    }
    assert sizes == {2}
