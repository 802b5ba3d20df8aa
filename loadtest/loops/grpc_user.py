"""A Locust user who classifies images over gRPC, through tfs_client.

    locust -f loadtest/loops/grpc_user.py --headless --host localhost:8500 -u 8 -r 8 -t 20s

Usually started by loadtest.run, which checks the server first and reports afterwards. A closed
loop: each user sends the next request when it has the last answer, so a slow server gets fewer.
What is sent is the workload's: with the same seed the same requests as an open loop sends. Failures
are named by gRPC code; an answer that is wrong, or says that an image is not valid, is one too.

The module is not called grpc.py: under Locust it would stand in the way of grpc itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any, ClassVar

import gevent
import grpc.experimental.gevent as grpc_gevent

# Before the first channel: gRPC's threads and gevent's greenlets block each other otherwise.
grpc_gevent.init_gevent()

from locust import User, constant, events, task  # noqa: E402

from loadtest.loops.job import connection_from, open_client  # noqa: E402
from loadtest.results import samples  # noqa: E402
from loadtest.traffic import workload  # noqa: E402
from loadtest.traffic.answers import Answers, code_of, read_known  # noqa: E402
from tfs_client import Client, TfsError, contract  # noqa: E402
from training.command_line import InputError  # noqa: E402

PAUSE_AFTER_FAILURE_S = 0.1
"""A server that is gone refuses at once; without a pause it would be asked all the time."""

FLUSH_S = 1.0

NUMBERS_OF_A_WORKER = 1_000_000_000
"""Each of Locust's worker processes takes its requests from numbers of its own."""


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # Locust's
def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings of this user, beside Locust's own."""
    add = parser.add_argument
    add("--images", default="", help="folder of images (default: the sample set)")
    add("--answers", default="", help="right answers: a run's predictions.csv")
    add(
        "--signature",
        default=contract.SIGNATURE_DEFAULT,
        help="send files (serving_default) or pixels (predict_images); or both, with weights",
    )
    add("--label", default=contract.LABEL_STABLE, help="of the version to ask; or with weights")
    add("--batch", default="1", help="images in a request; or with weights")
    add("--format", default=workload.AS_IS, help="of the files; or with weights")
    add("--size", default=workload.AS_IS, help="pixels of the longer side; or with weights")
    add("--model", default=contract.MODEL_NAME, help="name of the model")
    add("--timeout-s", type=float, default=10.0, help="deadline of each request, in seconds")
    add(
        "--duration-s",
        type=float,
        default=0.0,
        help="seconds from the first request on (0: until --run-time, which counts the start too)",
    )
    add("--seed", type=int, default=0, help="of every choice")
    add("--samples", default="", help="write one line a request to this CSV file")
    # One flag: Locust has flags of the same names, for its own web page.
    add("--connection", default="{}", help="JSON: tfs_client's connection flags, by name")


@events.init.add_listener  # type: ignore[untyped-decorator]  # Locust's
def load_images(environment: Any, **_: Any) -> None:
    """Reads (and for predict_images decodes) the images before the clock starts."""
    options = environment.parsed_options
    try:
        mix = workload.Mix(
            signatures=workload.parse_weights("--signature", options.signature),
            labels=workload.parse_weights("--label", options.label),
            batches=workload.parse_weights("--batch", options.batch),
            formats=workload.parse_weights("--format", options.format),
            sizes=workload.parse_weights("--size", options.size),
        )
        mix.check()
        folder = Path(options.images) if options.images else None
        with client_of(environment) as client:
            work = workload.prepare(client, options.model, mix, folder, options.seed)
        known = read_known(Path(options.answers)) if options.answers else None
    except (InputError, TfsError, OSError) as error:
        # Locust logs a listener's exception and goes on, with nothing to send.
        raise SystemExit(f"loadtest: {error}") from error
    ImageUser.requests, ImageUser.answers = work, Answers(known)


def client_of(environment: Any) -> Client:
    """Opens a client; what the server does is measured: nothing is sent twice or held back."""
    options = environment.parsed_options
    connection = connection_from(json.loads(options.connection))
    return open_client(environment.host, options.timeout_s, connection, check_inputs=False)


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # Locust's
def open_samples(environment: Any, **_: Any) -> None:
    """Begins the file of samples."""
    options = environment.parsed_options
    worker = max(0, getattr(environment.runner, "worker_index", 0))
    ImageUser.numbers = itertools.count(worker * NUMBERS_OF_A_WORKER)
    ImageUser.users = itertools.count()
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
    """Sends one request after the other."""

    wait_time = constant(0)

    requests: ClassVar[workload.Workload]
    answers: ClassVar[Answers]
    numbers: ClassVar[Any] = itertools.count()
    """Of the next request, whichever user sends it."""
    users: ClassVar[Any] = itertools.count()
    writer: ClassVar[samples.Writer | None] = None

    def on_start(self) -> None:
        """Opens this user's own client."""
        options = self.environment.parsed_options
        if next(self.users) == 0 and options.duration_s:
            gevent.spawn_later(options.duration_s, self.environment.runner.quit)
        self.model, self.timeout_s = options.model, options.timeout_s
        assert self.host, "locust --host"
        self.client = client_of(self.environment)

    def on_stop(self) -> None:
        """Ends the connection."""
        self.client.close()

    @task
    def classify(self) -> None:
        """One request, one sample."""
        request = self.requests[next(self.numbers)]
        version: int | None = None
        start_s, start = time.time(), time.perf_counter()
        end = 0.0
        try:
            answer = workload.send(self.client, self.model, request, self.timeout_s)
            end = time.perf_counter()
            version = answer.version
            code, details = self.answers.judge(request, answer)
        except Exception as error:  # whatever goes wrong is a failed request
            code, details = code_of(error), str(error)
        latency_ms = 1000 * ((end or time.perf_counter()) - start)
        self.environment.events.request.fire(
            request_type="grpc",
            name=request.signature,
            response_time=latency_ms,
            response_length=0,
            exception=None if code == samples.OK else RuntimeError(code),  # Locust groups by text
            context={},
        )
        if self.writer is not None:
            self.writer.write(
                samples.Sample(
                    start_s=start_s,
                    latency_ms=latency_ms,
                    name=request.signature,
                    code=code,
                    version=version if code == samples.OK else None,
                    details=details,
                    label=request.label,
                )
            )
        if code != samples.OK:
            gevent.sleep(PAUSE_AFTER_FAILURE_S)
