"""What the client's tests stand on: a real server on a free port, and a client of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from serving.client.tests.model_server import ModelServer
from tfs_client import Client


@pytest.fixture
def server() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.stop()


@pytest.fixture
def client(server: ModelServer) -> Iterator[Client]:
    with Client(server.target, timeout_s=5) as client:
        yield client


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """80 wide, 60 high, RGB noise: no two resizings of it agree by chance."""
    pixels = np.random.default_rng(7).integers(0, 256, (60, 80, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="session")
def as_file(picture: Image.Image) -> Callable[..., bytes]:
    """A function that encodes a picture as a file: (picture, "JPEG", exif=…)."""

    def encode(of: Image.Image = picture, kind: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        of.save(buffer, kind, **options)
        return buffer.getvalue()

    return encode
