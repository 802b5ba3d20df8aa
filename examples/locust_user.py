"""A Locust user who classifies pictures over gRPC.

    pip install ./serving/client locust
    locust -f examples/locust_user.py --host localhost:8500 --pictures FOLDER
    locust -f examples/locust_user.py --host localhost:8500 --pictures FOLDER \
        --headless --users 20 --spawn-rate 5 --run-time 1m

The first opens Locust's page on http://localhost:8089. This project's own load test (`make
loadtest`) has more: an open loop, batches, labels, and a report.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import grpc.experimental.gevent as grpc_gevent

# Before the first channel: without it a call would block all of Locust's users.
grpc_gevent.init_gevent()

from locust import User, between, events, task  # noqa: E402

from tfs_client import Client, ImageClassifier, TfsError  # noqa: E402


@events.init_command_line_parser.add_listener
def add_arguments(parser):
    """Adds our own setting to Locust's."""
    parser.add_argument("--pictures", required=True, help="folder, searched to the bottom")


class Inspector(User):
    """Sends a picture, reads the answer, and thinks for a moment."""

    wait_time = between(0.05, 0.2)

    def on_start(self):
        """Opens a client that sends each call once: a load test measures the server alone."""
        folder = Path(self.environment.parsed_options.pictures)
        self.pictures = [path.read_bytes() for path in sorted(folder.rglob("*.png"))]
        if not self.pictures:
            raise FileNotFoundError(f"Expected PNG files. Received: {folder} without any")
        self.client = Client(self.host, timeout_s=2, retry=None, breaker=None)
        self.classifier = ImageClassifier(self.client, label="stable")

    def on_stop(self):
        """Closes the connection."""
        self.client.close()

    @task
    def classify(self):
        """One request; Locust groups failures by their text, so it is the error's class."""
        problem = None
        start = time.perf_counter()
        try:
            answer = self.classifier.predict(random.choice(self.pictures))
            if not answer.valid:
                problem = RuntimeError("the picture was not valid")
        except TfsError as error:
            problem = RuntimeError(type(error).__name__)
        self.environment.events.request.fire(
            request_type="grpc",
            name="classify",
            response_time=1000 * (time.perf_counter() - start),
            response_length=0,
            exception=problem,
        )
