"""The image as it is built from the Dockerfile, run as hard as production runs it.

`make test-container` makes a stand-in for TensorFlow Serving's image where it cannot be pulled;
without an engine that holds one of the two, this is skipped.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.container.engine import IMAGE
from tests.container import stand_in
from tests.integration.local_server_fixtures import ROOT, eventually, save_line
from tfs_client import Client
from training.command_line import InputError

TAG = "image-classifier-serving:test"

HARD = ("--init", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL")

SLOW_S = 120.0
"""Two cores that run other tests, and an image whose files nobody has read yet."""


@pytest.fixture(scope="module")
def engine() -> str:
    try:
        found = stand_in.engine()
    except InputError:
        pytest.skip("no container engine answers on this machine")
    if not stand_in.holds(found, IMAGE):
        pytest.skip(f"{found} does not hold {IMAGE}: make test-container makes a stand-in")
    return found


@pytest.fixture(scope="module")
def ask(engine: str) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        done = subprocess.run([engine, *arguments], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture(scope="module")
def image(ask: Callable[..., str]) -> str:
    dockerfile = "serving/container/Dockerfile"
    ask("build", "-f", dockerfile, "--build-arg", "VARIANT=", "-t", TAG, ".")
    return TAG


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 under the contract's name, so that the image's own models.config serves it."""
    store = tmp_path_factory.mktemp("store")
    save_line(store / "image_classifier" / "1", 1.0)
    for path in (store, *store.parents[:2]):
        path.chmod(0o755)  # the server is another user
    return store


@pytest.fixture
def container(ask: Callable[..., str], image: str, models: Path) -> Iterator[str]:
    ports = ("--publish=127.0.0.1::8500", "--publish=127.0.0.1::8501")
    # Asked once a second, and from the beginning: ten would be a long wait for a test.
    health = ("--health-interval=1s", "--health-start-period=60s")
    options = (*HARD, "--security-opt=no-new-privileges", *ports, *health)
    name = ask("run", "--detach", *options, f"--volume={models}:/models:ro", image)
    yield name
    ask("rm", "--force", name)


def inspect(ask: Callable[..., str], name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask("inspect", name))[0]
    return found


def healthy(ask: Callable[..., str], name: str) -> bool:
    state = inspect(ask, name)["State"]
    assert state["Running"], ask("logs", name)
    return bool(state["Health"]["Status"] == "healthy")


def test_it_serves_as_a_plain_user_without_a_writable_disk_and_says_when_it_can(
    container: str, ask: Callable[..., str]
) -> None:
    eventually(lambda: healthy(ask, container), "the health check", SLOW_S)
    port = ask("port", container, "8500/tcp").rpartition(":")[2]
    with Client(f"127.0.0.1:{port}") as client:
        answer = client.predict({"x": [2.0]}, label="stable")
        assert answer["y"].tolist() == [2.0]
        assert answer.version == 1
    assert ask("exec", container, "id", "-u") == "1000"
    refused = subprocess.run(
        [stand_in.engine(), "exec", container, "touch", "/written"], capture_output=True
    )
    assert refused.returncode != 0


def test_it_stops_promptly_because_process_1_is_an_init(
    container: str, ask: Callable[..., str]
) -> None:
    eventually(lambda: healthy(ask, container), "the health check", SLOW_S)
    begun = time.monotonic()
    ask("stop", "--time=30", container)
    assert time.monotonic() - begun < 10


def test_a_label_that_cannot_answer_makes_it_unhealthy(
    ask: Callable[..., str], image: str, tmp_path: Path
) -> None:
    (tmp_path / "models" / "image_classifier").mkdir(parents=True)
    for path in (tmp_path, tmp_path.parent):
        path.chmod(0o755)
    options = ("--health-interval=1s", "--health-start-period=1s", "--health-retries=2")
    volume = f"--volume={tmp_path / 'models'}:/models:ro"
    name = ask("run", "--detach", *HARD, *options, volume, image)
    try:

        def unhealthy() -> bool:
            return bool(inspect(ask, name)["State"]["Health"]["Status"] == "unhealthy")

        eventually(unhealthy, "an unhealthy container", SLOW_S)
    finally:
        ask("rm", "--force", name)
