"""A Locust user who classifies images over gRPC, through tfs_client.

    locust -f loadtest/grpc_user.py --headless --host localhost:8500 -u 8 -r 8 -t 20s

Usually started by loadtest.run, which checks the server first and reports afterwards. A closed
loop: each user sends the next image when it has the last answer, so a slow server gets fewer
requests. Every request is one image, labelled with its signature; failures are named by gRPC code.
An answer that says an image is not valid is a failure too: these images are good ones.

The module is not called grpc.py: under Locust it would stand in the way of grpc itself.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from pathlib import Path
from typing import Any, ClassVar

import gevent
import grpc.experimental.gevent as grpc_gevent

# Before the first channel: gRPC's threads and gevent's greenlets block each other otherwise.
grpc_gevent.init_gevent()

from locust import User, constant, events, task  # noqa: E402

from loadtest import images, samples  # noqa: E402
from tfs_client import (  # noqa: E402
    CallError,
    Client,
    ImageClassifier,
    TfsError,
    contract,
    image_to_array,
)
from training.command_line import InputError  # noqa: E402

PAUSE_AFTER_FAILURE_S = 0.1
"""A server that is gone refuses at once; without a pause it would be asked all the time."""

FLUSH_S = 1.0


class InvalidImageError(Exception):
    """The server answered that a good image is not valid."""


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # Locust's
def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings of this user, beside Locust's own."""
    add = parser.add_argument
    add("--images", default="", help="folder of images (default: the sample set)")
    add(
        "--signature",
        default=contract.SIGNATURE_DEFAULT,
        choices=(contract.SIGNATURE_DEFAULT, contract.SIGNATURE_IMAGES),
        help="send files (serving_default) or pixels (predict_images)",
    )
    add("--label", default=contract.LABEL_STABLE, help="label of the version to ask")
    add("--model", default=contract.MODEL_NAME, help="name of the model")
    add("--timeout-s", type=float, default=10.0, help="deadline of each request, in seconds")
    add(
        "--duration-s",
        type=float,
        default=0.0,
        help="seconds from the first request on (0: until --run-time, which counts the start too)",
    )
    add("--seed", type=int, default=0, help="of the choice of images")
    add("--samples", default="", help="write one line a request to this CSV file")


@events.init.add_listener  # type: ignore[untyped-decorator]  # Locust's
def load_images(environment: Any, **_: Any) -> None:
    """Reads (and for predict_images decodes) the images before the clock starts."""
    options = environment.parsed_options
    try:
        chosen = images.choose(Path(options.images) if options.images else None, seed=options.seed)
        sources: list[Any] = [path.read_bytes() for path in chosen]
        if options.signature == contract.SIGNATURE_IMAGES:
            with Client(environment.host, timeout_s=options.timeout_s) as client:
                asked = ImageClassifier(client, label=options.label, model=options.model)
                size = asked.input_size()
            sources = [image_to_array(content, size) for content in sources]
    except (InputError, TfsError, OSError) as error:
        # Locust logs a listener's exception and goes on, with nothing to send.
        raise SystemExit(f"loadtest: {error}") from error
    ImageUser.sources = sources


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # Locust's
def open_samples(environment: Any, **_: Any) -> None:
    """Begins the file of samples."""
    options = environment.parsed_options
    ImageUser.numbers = itertools.count()
    if options.samples:
        ImageUser.writer = samples.Writer(Path(options.samples))
        gevent.spawn(_keep_flushing, ImageUser.writer)


@events.test_stop.add_listener  # type: ignore[untyped-decorator]  # Locust's
def close_samples(environment: Any, **_: Any) -> None:
    """Ends the file of samples."""
    if ImageUser.writer is not None:
        ImageUser.writer.close()
        ImageUser.writer = None


def _keep_flushing(writer: samples.Writer) -> None:
    while ImageUser.writer is writer:
        writer.flush()
        gevent.sleep(FLUSH_S)


class ImageUser(User):
    """Sends one image after the other."""

    wait_time = constant(0)

    sources: ClassVar[list[Any]] = []
    """Image files as bytes, or, for predict_images, pixels as uint8 [H, W, 3]."""
    numbers: ClassVar[Any] = itertools.count()
    writer: ClassVar[samples.Writer | None] = None

    def on_start(self) -> None:
        """Opens this user's own client; its choices follow from the seed and its number."""
        options = self.environment.parsed_options
        number = next(self.numbers)
        if number == 0 and options.duration_s:
            gevent.spawn_later(options.duration_s, self.environment.runner.quit)
        self.random = random.Random(f"{options.seed}/{number}")
        self.signature: str = options.signature
        assert self.host, "locust --host"
        # What the server does is measured: nothing is sent twice, nothing is held back.
        self.client = Client(self.host, timeout_s=options.timeout_s, retry=None, breaker=None)
        self.classifier = ImageClassifier(self.client, label=options.label, model=options.model)

    def on_stop(self) -> None:
        """Ends the connection."""
        self.client.close()

    @task
    def classify(self) -> None:
        """One image, one request, one sample."""
        source = self.random.choice(self.sources)
        version: int | None = None
        error: Exception | None = None
        start_s, start = time.time(), time.perf_counter()
        try:
            answer = self.classifier.predict(source)
            version = answer.model_version
            if not answer.valid:
                error = InvalidImageError("the server says that a good image is not valid")
        except Exception as caught:  # whatever goes wrong is a failed request
            error = caught
        self._record(start_s, 1000 * (time.perf_counter() - start), version, error)
        if error is not None:
            gevent.sleep(PAUSE_AFTER_FAILURE_S)

    def _record(
        self, start_s: float, latency_ms: float, version: int | None, error: Exception | None
    ) -> None:
        code = samples.OK if error is None else failure_code(error)
        self.environment.events.request.fire(
            request_type="grpc",
            name=self.signature,
            response_time=latency_ms,
            response_length=0,
            exception=None if error is None else RuntimeError(code),  # Locust groups by text
            context={},
        )
        if self.writer is not None:
            self.writer.write(
                samples.Sample(
                    start_s=start_s,
                    latency_ms=latency_ms,
                    name=self.signature,
                    code=code,
                    version=version if error is None else None,
                    details="" if error is None else str(error),
                )
            )


def failure_code(error: Exception) -> str:
    """What a failure is counted under: the gRPC code, or what was wrong with the answer."""
    if isinstance(error, CallError):
        return error.code.name
    return "INVALID_IMAGE" if isinstance(error, InvalidImageError) else type(error).__name__
