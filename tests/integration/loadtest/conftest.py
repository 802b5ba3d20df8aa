"""What the load test's tests share: pictures, a plain gRPC server, and one with TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.client.tests.model_server import ModelServer


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A gRPC server without TensorFlow, in this process."""
    server = ModelServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder named pictures with five of them, 0.png to 4.png. Copy it to change it."""
    folder = tmp_path_factory.mktemp("loadtest") / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for at in range(5):
        pixels = random.integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{at}.png")
    return folder
