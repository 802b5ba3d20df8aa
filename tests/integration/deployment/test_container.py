"""The image as it is built from the Dockerfile, run as hard as production runs it.

`make test-container` makes a stand-in for TensorFlow Serving's image where it cannot be pulled;
without an engine that holds one of the two, this is skipped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.container.engine import IMAGE
from tests.container.asking import HARD, SLOW_S, Engine, open_to_all
from tests.integration.local_server_fixtures import eventually, save_line
from tfs_client import Client

TAG = "image-classifier-serving:test"


@pytest.fixture(scope="module")
def ask() -> Engine:
    return Engine(IMAGE)


@pytest.fixture(scope="module")
def image(ask: Engine) -> str:
    dockerfile = "serving/container/Dockerfile"
    ask("build", "-f", dockerfile, "--target", "server", "--build-arg", "VARIANT=", "-t", TAG, ".")
    return TAG


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 under the contract's name, so that the image's own models.config serves it."""
    store = tmp_path_factory.mktemp("store")
    save_line(store / "image_classifier" / "1", 1.0)
    return open_to_all(store)


@pytest.fixture
def container(ask: Engine, image: str, models: Path) -> Iterator[str]:
    ports = ("--publish=127.0.0.1::8500", "--publish=127.0.0.1::8501")
    # Asked once a second, and from the beginning: ten would be a long wait for a test.
    health = ("--health-interval=1s", "--health-start-period=60s")
    name = ask("run", "--detach", *HARD, *ports, *health, f"--volume={models}:/models:ro", image)
    yield name
    ask("rm", "--force", name)


def test_it_serves_as_a_plain_user_without_a_writable_disk_and_says_when_it_can(
    container: str, ask: Engine
) -> None:
    eventually(lambda: ask.health(container) == "healthy", "the health check", SLOW_S)
    port = ask("port", container, "8500/tcp").rpartition(":")[2]
    with Client(f"127.0.0.1:{port}") as client:
        answer = client.predict({"x": [2.0]}, label="stable")
        assert answer["y"].tolist() == [2.0]
        assert answer.version == 1
    assert ask("exec", container, "id", "-u") == "1000"
    refused = ask.run("exec", container, "touch", "/written")
    assert refused.returncode != 0


def test_it_stops_promptly_because_process_1_is_an_init(container: str, ask: Engine) -> None:
    eventually(lambda: ask.health(container) == "healthy", "the health check", SLOW_S)
    begun = time.monotonic()
    ask("stop", "--time=30", container)
    assert time.monotonic() - begun < 10


def test_a_label_that_cannot_answer_makes_it_unhealthy(
    ask: Engine, image: str, tmp_path: Path
) -> None:
    (tmp_path / "models" / "image_classifier").mkdir(parents=True)
    open_to_all(tmp_path)
    options = ("--health-interval=1s", "--health-start-period=1s", "--health-retries=2")
    volume = f"--volume={tmp_path / 'models'}:/models:ro"
    name = ask("run", "--detach", *HARD, *options, volume, image)
    try:
        eventually(lambda: ask.health(name) == "unhealthy", "an unhealthy container", SLOW_S)
    finally:
        ask("rm", "--force", name)
