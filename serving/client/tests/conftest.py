"""Fixtures: a real server on a free port, clients of it, and pictures.

Every test that takes `client` or `open_client` runs twice: with Client, and with AsyncClient on an
event loop in a thread of its own. So one suite tests both.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfs_client import AsyncClient, AsyncImageClassifier, Client, ImageClassifier

from . import examples
from .model_server import ModelServer

examples.register_profiles()

# A script's shell starts what it puts into the background with Ctrl-C ignored; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Loop:
    """An event loop in a thread of its own, for tests that call without await."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Blocking:
    """Wraps an object with coroutines so that they are called like plain methods."""

    def __init__(self, loop: Loop, wrapped: Any):
        self.loop = loop
        self.wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.wrapped, name)
        return self._called(member) if callable(member) else member

    def _called(self, member: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            found = member(*args, **kwargs)
            if inspect.isawaitable(found):
                return self.loop.run(found)
            return self._iterated(found) if hasattr(found, "__anext__") else found

        return call

    def _iterated(self, found: Any) -> Iterator[Any]:
        end = object()

        async def following() -> Any:
            return await anext(found, end)

        try:
            while (item := self.loop.run(following())) is not end:
                yield item
        finally:
            self.loop.run(found.aclose())

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.run(self.wrapped.close())


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def make_server() -> Iterator[Callable[..., ModelServer]]:
    """A function that starts one more server; all are stopped at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(ModelServer(**settings))


@pytest.fixture(params=["threads", "asyncio"])
def open_client(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """A function that opens a client of one kind or the other; all are closed at the end."""
    opened: list[Any] = []
    loop = Loop() if request.param == "asyncio" else None

    def open_one(target: str, **settings: Any) -> Any:
        settings = {"timeout_s": 5, **settings}
        if loop is None:
            opened.append(Client(target, **settings))
        else:
            opened.append(Blocking(loop, AsyncClient(target, **settings)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
    if loop is not None:
        loop.stop()


@pytest.fixture
def client(server: ModelServer, open_client: Callable[..., Any]) -> Any:
    return open_client(server.target)


@pytest.fixture
def make_classifier() -> Callable[..., Any]:
    """A function that makes an image classifier of the client's kind."""

    def make(client: Any, **settings: Any) -> Any:
        if isinstance(client, Blocking):
            return Blocking(client.loop, AsyncImageClassifier(client.wrapped, **settings))
        return ImageClassifier(client, **settings)

    return make


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


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
