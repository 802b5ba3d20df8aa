"""Locust users that classify images, over gRPC through tfs_client, or over REST.

    locust -f loadtest/loops/locustfile.py --host localhost:8500              its own web page
    locust -f loadtest/loops/locustfile.py --api rest --host localhost:8501 --headless -u 8 -t 20s

Usually started by loadtest.run, which checks the server first and reports afterwards; `make
loadtest-ui` opens Locust's page. A closed loop: each user sends its next request when it has the
last answer and its think time is over, so a slow server gets fewer requests. The requests are the
workload's: with the same seed, the same ones as an open loop sends. Failures are named by gRPC
code. A wrong answer is a failure too, and so is one that says that an image is not valid.

The samples of one process or several are collected by gathering.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import gevent
import grpc.experimental.gevent as grpc_gevent

# Before the first channel: gRPC's threads and gevent's greenlets block each other otherwise.
grpc_gevent.init_gevent()

from locust import User, events, task  # noqa: E402
from locust.exception import StopUser  # noqa: E402
from locust.runners import MasterRunner, WorkerRunner  # noqa: E402

from foundation.command_line import InputError, one_line  # noqa: E402
from loadtest.loops.gathering import Gathering  # noqa: E402
from loadtest.loops.job import connection_from, open_client  # noqa: E402
from loadtest.loops.rest_client import RestAnswer, RestClient, Rows  # noqa: E402
from loadtest.plan.settings import GRPC, REST  # noqa: E402
from loadtest.results import samples  # noqa: E402
from loadtest.traffic import think_time, workload  # noqa: E402
from loadtest.traffic.answers import Answers, code_of, read_known  # noqa: E402
from tfs_client import Client, Prediction, TfsError, contract  # noqa: E402

PAUSE_AFTER_FAILURE_S = 0.1
"""A server that is gone refuses at once; without a pause, users would ask it in a tight loop."""

NUMBERS_OF_A_WORKER = 1_000_000_000
"""Each worker process of Locust takes its requests from a range of numbers of its own."""

LAST_MESSAGES_S = 1.0
"""How long a worker stays after it has stopped, so that its last messages go out."""

UNPREPARED: Final = "UNPREPARED"
"""The failures of a process that has nothing to send, so that its missing share is noticed."""


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # Locust's
def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds these users' settings to Locust's own; those not hidden stand on its page too."""
    add = parser.add_argument
    add("--api", choices=(GRPC, REST), default=GRPC, help="which API; the host is its port")
    add("--model", default=contract.MODEL_NAME, help="name of the model")
    add("--label", default=contract.LABEL_STABLE, help="of the version to ask; or with weights")
    add(
        "--signature",
        default=contract.SIGNATURE_DEFAULT,
        help="send files (serving_default) or pixels (predict_images); or both, with weights",
    )
    add("--batch", default="1", help="images in a request; or with weights")
    add("--format", default=workload.AS_IS, help="of the files; or with weights")
    add("--size", default=workload.AS_IS, help="pixels of the longer side; or with weights")
    add("--think-time", default="0", help="seconds between answer and next request")
    add("--timeout-s", type=float, default=10.0, help="deadline of each request, in seconds")
    add("--seed", type=int, default=0, help="of every choice")
    add("--images", default="", help="folder of images (default: the sample set)")
    add("--answers", default="", help="right answers: a run's predictions.csv")
    hidden: dict[str, Any] = {"include_in_web_ui": False}
    add(
        "--duration-s",
        type=float,
        default=0.0,
        help="seconds from the first request on (0: until --run-time, which counts the start too)",
        **hidden,
    )
    add("--samples", default="", help="write one line a request to this CSV file", **hidden)
    add("--states", default="", help="write how each process did to this JSON file", **hidden)
    # One flag: Locust has flags of the same names, for its own web page.
    add(
        "--connection",
        default="{}",
        help="JSON: tfs_client's connection flags, by name",
        **hidden,
    )


class Shared:
    """What all users of this process share, from one test to the next."""

    environment: ClassVar[Any] = None
    gathering: ClassVar[Gathering]
    requests: ClassVar[workload.Workload]
    prepared: ClassVar[tuple[str, ...]] = ()
    """The settings that `requests` was made from."""
    problem: ClassVar[str] = ""
    """Why there is nothing to send; shown as a failure on Locust's page."""
    rows: ClassVar[Rows] = {}
    """Pictures as JSON, for all users over REST."""
    answers: ClassVar[Answers]
    thinks: ClassVar[Callable[[random.Random], float]]
    numbers: ClassVar[Any] = itertools.count()
    """Of the next request, whichever user sends it."""
    users: ClassVar[Any] = itertools.count()


def client_of(environment: Any) -> Client | RestClient:
    """Opens a client without retries or circuit: what is measured is the server."""
    options = environment.parsed_options
    if options.api == REST:
        return RestClient(environment.host or "", options.model, options.timeout_s, Shared.rows)
    connection = connection_from(json.loads(options.connection))
    return open_client(environment.host or "", options.timeout_s, connection, check_inputs=False)


@events.init.add_listener  # type: ignore[untyped-decorator]  # Locust's
def prepare_early(environment: Any, **_: Any) -> None:
    """Reads the images before the clock starts, where the host is known by then."""
    Shared.environment = environment
    options, runner = environment.parsed_options, environment.runner
    Shared.gathering = Gathering(runner, samples_to=options.samples, states_to=options.states)
    if environment.host and not isinstance(runner, MasterRunner):
        try:
            _prepare(environment)
        except InputError as error:
            # Locust logs a listener's exception and goes on, with nothing to send.
            raise SystemExit(f"loadtest: {error}") from error


def _prepare(environment: Any) -> None:
    """Makes the workload, unless the last one was made from the same settings.

    Raises:
        InputError: settings that cannot be, no server, or images that cannot be read.
    """
    options = environment.parsed_options
    names = ("api", "model", "label", "signature", "batch", "format", "size", "images")
    made_of = (environment.host or "", *(str(getattr(options, name)) for name in names))
    made_of += (str(options.seed), options.connection)
    Shared.thinks = think_time.parse(options.think_time)
    known = read_known(Path(options.answers)) if options.answers else None
    Shared.answers = Answers(known)
    if made_of == Shared.prepared:
        return
    mix = workload.Mix(
        signatures=workload.parse_weights("--signature", options.signature),
        labels=workload.parse_weights("--label", options.label),
        batches=workload.parse_weights("--batch", options.batch),
        formats=workload.parse_weights("--format", options.format),
        sizes=workload.parse_weights("--size", options.size),
    )
    mix.check()
    folder = Path(options.images) if options.images else None
    Shared.prepared, Shared.rows = (), {}
    try:
        with client_of(environment) as client:
            for label in mix.labels:
                client.metadata(model=options.model, label=label)
            requests = workload.prepare(client, options.model, mix, folder, options.seed)
            if isinstance(client, RestClient):
                for request in requests.each_picture():
                    client.body(request)
    except (TfsError, OSError) as error:
        raise InputError(str(error)) from error
    Shared.requests, Shared.prepared = requests, made_of


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # Locust's
def begin(environment: Any, **_: Any) -> None:
    """Begins a test. On Locust's page one follows the other, perhaps with other settings."""
    Shared.problem = ""
    if not isinstance(environment.runner, MasterRunner):
        try:
            _prepare(environment)
        except InputError as error:
            Shared.problem = str(error)
            print(f"loadtest: {one_line(str(error))}", file=sys.stderr, flush=True)
        Shared.numbers = itertools.count(Shared.gathering.worker * NUMBERS_OF_A_WORKER)
        Shared.users = itertools.count()
    Shared.gathering.begin()


@events.spawning_complete.add_listener  # type: ignore[untyped-decorator]  # Locust's
def run_out(**_: Any) -> None:
    """Ends the test after its duration; a worker is told by its master."""
    environment = Shared.environment
    if not isinstance(environment.runner, WorkerRunner) and environment.parsed_options.duration_s:
        gevent.spawn_later(environment.parsed_options.duration_s, _end, environment.runner)


def _end(runner: Any) -> None:
    Shared.gathering.stop()
    runner.quit()


@events.test_stop.add_listener  # type: ignore[untyped-decorator]  # Locust's
def end(environment: Any, **_: Any) -> None:
    """Writes or sends the remaining samples. A worker then quits, if the test has an end."""
    Shared.gathering.end()
    if isinstance(environment.runner, WorkerRunner) and environment.parsed_options.duration_s:
        # The master sends no message to a worker that has stopped, which would wait for a minute.
        gevent.spawn_later(LAST_MESSAGES_S, environment.runner.quit)


class ImageUser(User):
    """Sends one request after the other, with the think time in between."""

    leaving = False

    def stop(self, force: bool = False) -> bool:
        """Ends this user as Locust does: it kills one that waits, a moment later.

        If its think time is over in that very moment, it must not send a request: the kill would
        come before the answer, and the server would have counted a request that left no sample.
        """
        self.leaving = True
        return bool(super().stop(force))

    def on_start(self) -> None:
        """Opens this user's own client."""
        options = self.environment.parsed_options
        self.model, self.timeout_s = options.model, options.timeout_s
        number = next(Shared.users)
        self.random = random.Random(f"{options.seed}/{Shared.gathering.worker}/{number}")
        Shared.gathering.users(self.environment.runner.user_count)
        self.client = client_of(self.environment)

    def on_stop(self) -> None:
        """Ends the connection."""
        self.client.close()

    def wait_time(self) -> float:
        """Seconds until the next request."""
        return Shared.thinks(self.random)

    def ask(self, request: workload.Request, body: bytes | None) -> Prediction | RestAnswer:
        """Sends a request over the API that was chosen."""
        if isinstance(self.client, RestClient):
            # A socket's own limit starts again with every byte that arrives.
            late = TimeoutError(f"no answer within {self.timeout_s:g} s")
            with gevent.Timeout(self.timeout_s, late):
                return self.client.predict(request, body)
        return workload.send(self.client, self.model, request, self.timeout_s)

    @task
    def classify(self) -> None:
        """One request, one sample."""
        if self.leaving:
            raise StopUser
        if Shared.problem:
            self._lack(Shared.problem)
            gevent.sleep(1.0)
            return
        request = Shared.requests[next(Shared.numbers)]
        body = self.client.body(request) if isinstance(self.client, RestClient) else None
        version: int | None = None
        start_s, start = time.time(), time.perf_counter()
        end = 0.0
        try:
            answer = self.ask(request, body)
            end = time.perf_counter()
            version = answer.version
            code, details = Shared.answers.judge(request, answer)
        except Exception as error:  # whatever goes wrong is a failed request
            code, details = code_of(error), str(error)
        latency_ms = 1000 * ((end or time.perf_counter()) - start)
        self._fire(request.signature, latency_ms, "" if code == samples.OK else code)
        Shared.gathering.take(
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

    def _lack(self, problem: str) -> None:
        """Counts a failure: this process has nothing to send."""
        self._fire("nothing to send", 0.0, problem)
        lacked = samples.Sample(
            start_s=time.time(),
            latency_ms=0.0,
            name="nothing to send",
            code=UNPREPARED,
            version=None,
            details=problem,
        )
        Shared.gathering.take(lacked, sent=False)

    def _fire(self, name: str, latency_ms: float, problem: str) -> None:
        self.environment.events.request.fire(
            request_type=self.environment.parsed_options.api,
            name=name,
            response_time=latency_ms,
            response_length=0,
            exception=RuntimeError(problem) if problem else None,  # Locust groups by text
            context={},
        )
