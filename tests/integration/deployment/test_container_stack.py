"""The stack, brought up by docker-compose as an operator does: server, load test, Prometheus.

`make test-container` makes the images it needs. Grafana cannot be had where images cannot be
pulled: tests/unit/deployment/test_container_files.py holds its files against the others.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.container.engine import IMAGE
from tests.container import stand_in, trained
from tests.container.asking import SLOW_S, Engine, open_to_all
from tests.container.stand_in import ROOT, TOOLS, TRAINING
from tests.integration.local_server_fixtures import eventually
from tests.ports import free_port
from tfs_client import Client

PARTS = ("serving", "loadtest", "foundation", "training", "export", ".dockerignore")

PROFILES = ("gpu", "monitoring", "loadtest")


class Stack:
    """A copy of the project with a store of its own, and docker-compose over it."""

    def __init__(self, command: list[str], place: Path, store: Path) -> None:
        self.place = place
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__*__"))
            else:
                shutil.copy2(ROOT / part, place / part)
        shutil.copytree(store, place / "models")
        open_to_all(place).joinpath("build").mkdir()
        open_to_all(place / "build")
        self.name = f"image-classifier-test-{time.monotonic_ns()}"
        self.ports = {f"{one}_PORT": str(free_port()) for one in ("GRPC", "REST", "PROMETHEUS")}
        self._command = [*command, f"--project-name={self.name}"]
        self._command.append(f"--file={place / 'serving' / 'container' / 'compose.yaml'}")

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Whatever comes of it."""
        return subprocess.run(
            [*self._command, *arguments],
            env={**os.environ, **self.ports, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def __call__(self, *arguments: str, **environ: str) -> str:
        """What a command that must succeed prints."""
        done = self.run(*arguments, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def get(self, port: str, path: str) -> Any:
        """JSON from a port of this machine."""
        url = f"http://127.0.0.1:{self.ports[port]}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def ask() -> Engine:
    return Engine(IMAGE, TOOLS, TRAINING, stand_in.prometheus_image())


@pytest.fixture(scope="module")
def compose(ask: Engine) -> list[str]:
    """The newer command where both are there."""
    if ask.run("compose", "version").returncode == 0:
        return [ask.name, "compose"]
    if shutil.which("docker-compose") and ask.name == "docker":
        return ["docker-compose"]
    pytest.skip("needs docker compose: apt-get install docker-compose")


@pytest.fixture(scope="module")
def stack(
    ask: Engine, compose: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    stack = Stack(compose, tmp_path_factory.mktemp("stack"), trained.store(ask, tmp_path_factory))
    try:
        stack("up", "--detach", "--build", "server")
        yield stack
    finally:
        stack.run("--profile=monitoring", "down", "--volumes", "--timeout=1")


@pytest.fixture
def server(ask: Engine, stack: Stack) -> str:
    """The server's container, healthy."""
    name = stack("ps", "--quiet", "server")
    eventually(lambda: ask.health(name) == "healthy", "a healthy server", SLOW_S)
    return name


def test_the_server_answers_on_this_machine_and_on_no_other_address(
    ask: Engine, stack: Stack, server: str
) -> None:
    with Client(f"127.0.0.1:{stack.ports['GRPC_PORT']}") as client:
        assert client.metadata(label="stable").version == 1
    bound = ask.inspect(server)["NetworkSettings"]["Ports"]
    assert {one["HostIp"] for where in bound.values() for one in where or ()} == {"127.0.0.1"}


def test_the_load_test_ends_by_itself_and_leaves_its_report_on_this_machine(
    stack: Stack, server: str
) -> None:
    done = stack.run("run", "--rm", "loadtest", LOADTEST_DURATION_S="3", LOADTEST_USERS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((stack.place / "build" / "loadtest.json").read_text("utf-8"))
    found = {row["name"]: row["value"] for row in content["results"]}
    assert found["requests"] > 10
    assert found["failures"] == 0
    assert found["users"] == 2
    assert "<html" in (stack.place / "build" / "loadtest.html").read_text("utf-8")


def test_prometheus_scrapes_the_server_and_holds_the_rules(stack: Stack, server: str) -> None:
    stack("--profile=monitoring", "up", "--detach", "--no-deps", "prometheus")

    def scraped() -> bool:
        try:
            found = stack.get("PROMETHEUS_PORT", "/api/v1/targets")["data"]["activeTargets"]
        except OSError:  # it does not listen yet
            return False
        for target in found:  # none at first
            if target["labels"]["job"] == "tensorflow-serving":
                page = "http://server:8501/monitoring/prometheus/metrics"
                assert target["scrapeUrl"] == page
                return bool(target["health"] == "up")
        return False

    eventually(scraped, "the server as a target that is up", SLOW_S)
    groups = stack.get("PROMETHEUS_PORT", "/api/v1/rules")["data"]["groups"]
    held = {rule["name"] for group in groups for rule in group["rules"]}
    text = (ROOT / "serving" / "monitoring" / "rules.yaml").read_text("utf-8")
    written = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    assert held == {rule.get("alert") or rule["record"] for rule in written}


def test_a_port_in_use_is_named(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {"GRPC_PORT": port, "REST_PORT": str(free_port())}
        done = stack.run("run", "--rm", "--no-deps", "--service-ports", "server", **ports)
    assert done.returncode != 0
    assert f"127.0.0.1:{port}" in done.stderr
    assert "address already in use" in done.stderr


def test_a_build_folder_that_the_load_test_may_not_write_to_is_named(
    stack: Stack, server: str
) -> None:
    (stack.place / "build").chmod(0o555)
    try:
        done = stack.run("run", "--rm", "--no-deps", "loadtest", LOADTEST_DURATION_S="1")
    finally:
        (stack.place / "build").chmod(0o777)
    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert "python -m loadtest.run: error: [Errno 13] Permission denied: 'build/" in said
    assert "Traceback" not in said


def test_a_store_that_is_missing_is_named_and_not_made(compose: list[str], stack: Stack) -> None:
    if compose != ["docker-compose"]:
        pytest.skip("needs docker-compose 1, as 2 makes the folder: apt-get install docker-compose")
    (stack.place / "models").rename(stack.place / "elsewhere")
    try:
        done = stack.run("run", "--rm", "--no-deps", "server")
        assert done.returncode != 0
        assert f"bind source path does not exist: {stack.place}/models" in done.stderr
    finally:
        (stack.place / "elsewhere").rename(stack.place / "models")


def test_docker_compose_reads_every_profile(stack: Stack) -> None:
    every = [f"--profile={name}" for name in PROFILES]
    shown = yaml.safe_load(stack(*every, "config"))
    assert set(shown["services"]) == set(stand_in.compose_file()["services"])


def test_down_ends_everything_within_seconds_and_leaves_nothing(
    ask: Engine, stack: Stack, server: str
) -> None:
    begun = time.monotonic()
    stack("--profile=monitoring", "down", "--volumes")
    assert time.monotonic() - begun < 15  # one that ignores TERM takes its whole 10 s, after others
    mine = f"--filter=label=com.docker.compose.project={stack.name}"
    assert ask("ps", "--all", "--quiet", mine) == ""
    assert ask("network", "ls", "--quiet", mine) == ""
    assert ask("volume", "ls", "--quiet", mine) == ""
