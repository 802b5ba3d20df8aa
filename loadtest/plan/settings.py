"""The settings of a load test, and which of them are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.command_line import InputError
from loadtest.change.commands import At, parse_at
from loadtest.server.scraper import page_url
from loadtest.traffic import arrivals, think_time
from loadtest.traffic.workload import AS_IS, Mix, parse_weights
from loadtest.verdicts import objectives
from loadtest.verdicts.objectives import Objectives
from tfs_client import contract
from tfs_client.client import DEFAULT_TARGET

USERS = 8
CLOSED_DURATION_S = 20.0

MOST_WORKERS = 1000

OPEN, CLOSED = "open", "closed"

GRPC, REST = "grpc", "rest"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What one run does. Texts with weights read NAME or NAME=WEIGHT,NAME=WEIGHT."""

    target: str = DEFAULT_TARGET
    """host:port of the server's gRPC port"""

    api: str = GRPC
    """closed loop: which API is asked; target is its port"""

    model: str = contract.MODEL_NAME
    """name of the model"""

    label: str = contract.LABEL_STABLE
    """labels of the versions to ask, with weights"""

    signature: str = contract.SIGNATURE_DEFAULT
    """send files (serving_default) or pixels (predict_images), with weights"""

    batch: str = "1"
    """images in a request, with weights"""

    format: str = AS_IS
    """format of the files, with weights"""

    size: str = AS_IS
    """pixels of the longer side, with weights"""

    users: int | None = None
    """closed loop: how many ask at once; None with rate or trace"""

    think_time: str = "0"
    """closed loop: seconds between an answer and the next request"""

    rate: float | None = None
    """open loop: requests a second"""

    shape: str | None = None
    """open loop: how the rate goes"""

    trace: Path | None = None
    """open loop: recorded arrivals"""

    workers: int = 1
    """processes that send"""

    remote_workers: int = 0
    """closed loop: processes on other machines that send, instead of this one's"""

    in_flight: int = 256
    """open loop: at most so many requests at once, in each worker"""

    duration_s: float | None = None
    """how long requests are sent; None: as long as is usual for the shape"""

    timeout_s: float = 10.0
    """deadline of each request"""

    images: Path | None = None
    """folder of images; None means the sample set"""

    answers: Path | None = None
    """known answers: a run's predictions.csv"""

    seed: int = 0
    """of every choice: arrivals, images, mix"""

    metrics: tuple[str, ...] | None = None
    """REST ports of the servers, for their view; None: the one beside the target, if it tells"""

    at: tuple[str, ...] = ()
    """what is done to the servers meanwhile: second:command"""

    objectives: Path | None = None
    """the gate: a JSON file of limits"""

    connection: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """TLS and token, as tfs_client.flags names them"""

    @property
    def loop(self) -> str:
        """OPEN or CLOSED."""
        return CLOSED if self.rate is None and self.trace is None else OPEN

    @property
    def asking(self) -> int:
        """Users of the closed loop."""
        return USERS if self.users is None else self.users

    @property
    def seconds(self) -> float:
        """How long requests are sent; 0 for a trace, whose end is not known before it is read."""
        if self.loop == CLOSED:
            return CLOSED_DURATION_S if self.duration_s is None else self.duration_s
        return self.plan.seconds if self.trace is None else 0.0

    @property
    def plan(self) -> arrivals.Plan:
        """The arrivals of the open loop."""
        return arrivals.Plan(
            rate_per_s=self.rate,
            shape=self.shape or "steady",
            duration_s=self.duration_s,
            trace=self.trace,
            seed=self.seed,
        )

    @property
    def changes(self) -> tuple[At, ...]:
        """The commands that are run meanwhile.

        Raises:
            InputError: a text is not "SECOND:COMMAND", or this machine lacks the command.
        """
        return tuple(parse_at(text) for text in self.at)

    @property
    def gate(self) -> Objectives | None:
        """The objectives, read.

        Raises:
            InputError: they cannot be read, or no run at this rate could meet them.
        """
        if self.objectives is None:
            return None
        found = objectives.read(self.objectives)
        least = found.limits.get("requests_per_s")
        if least is not None and self.rate is not None:
            mean = self.plan.mean_per_s
            if mean <= least:
                raise InputError(
                    f"Expected a load above the requests_per_s of {found.source}, {least:g}. "
                    f"Received: {mean:g} requests/s on the average; raise --rate"
                )
        return found

    @property
    def mix(self) -> Mix:
        """The weights, read.

        Raises:
            InputError: one of them cannot be read.
        """
        mix = Mix(
            signatures=parse_weights("--signature", self.signature),
            labels=parse_weights("--label", self.label),
            batches=parse_weights("--batch", self.batch),
            formats=parse_weights("--format", self.format),
            sizes=parse_weights("--size", self.size),
        )
        mix.check()
        return mix

    def describe_loop(self) -> str:
        """Which loop it is, and what its latencies mean, in one line."""
        if self.loop == CLOSED:
            thinks = "" if self.think_time == "0" else f", thinks for {self.think_time} s"
            return (
                f"closed loop: each of {self.asking} users waits for its answer{thinks} and asks "
                "again, so that a slow server is asked less; latency from the send"
            )
        rate = f"{self.rate:g} requests/s" if self.rate is not None else "as recorded"
        what = f"trace {self.trace}" if self.trace else f"{self.plan.shape}, Poisson"
        return (
            f"open loop: {rate} ({what}) however slow the answers are; latency from the intended "
            "start"
        )

    def check(self) -> None:
        """Refuses settings that cannot be.

        Raises:
            InputError: naming the first one.
        """
        self._check_flags_that_exclude_each_other()
        self._check_closed_loop()
        self._check_numbers()
        if self.loop == OPEN:
            self.plan.check()
            arrivals.times(self.plan)  # reads the trace
        self.mix, self.gate  # noqa: B018  # reads them
        self._check_servers()

    def _check_flags_that_exclude_each_other(self) -> None:
        open_loop = self.loop == OPEN
        of_the_closed_loop = (self.api, self.think_time, self.remote_workers)
        for wrong, words in (
            (
                open_loop and self.users is not None,
                "Expected --users (closed loop) or --rate and --trace (open loop). Received: both; "
                "leave one out",
            ),
            (
                not open_loop and self.shape is not None,
                "Expected --rate with --shape: it is of the open loop. Received: no --rate",
            ),
            (
                open_loop and of_the_closed_loop != (GRPC, "0", 0),
                "Expected --users with --api rest, --think-time and --remote-workers: they are of "
                "the closed loop. Received: --rate or --trace",
            ),
            (
                self.remote_workers and self.workers != 1,
                "Expected --workers or --remote-workers. Received: both",
            ),
            (
                self.api == REST and any(self.connection.values()),
                "Expected no TLS and no token with --api rest: TensorFlow Serving's REST has "
                "neither. Received: one; ask over gRPC, or through a gateway's address",
            ),
            (
                self.trace is not None and (self.shape is not None or self.duration_s is not None),
                "Expected --trace without --shape and --duration-s: it says when requests are due "
                "itself. Received: both; leave one out",
            ),
        ):
            if wrong:
                raise InputError(words)

    def _check_closed_loop(self) -> None:
        if self.api not in (GRPC, REST):
            raise InputError(f"Expected --api of {GRPC}, {REST}. Received: {self.api}")
        think_time.parse(self.think_time)
        if not 0 <= self.remote_workers <= MOST_WORKERS:
            raise InputError(
                f"Expected --remote-workers from 1 to {MOST_WORKERS}. "
                f"Received: {self.remote_workers}"
            )

    def _check_numbers(self) -> None:
        for name in ("users", "duration_s", "timeout_s", "workers", "in_flight"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1_000_000:
                flag = "--" + name.replace("_", "-")
                raise InputError(f"Expected {flag} above 0. Received: {name}={value}")
        if self.seed < 0:
            raise InputError(f"Expected --seed of 0 or more. Received: {self.seed}")

    def _check_servers(self) -> None:
        """What is done to the servers meanwhile, and where their metrics pages are."""
        for change in self.changes:
            if self.seconds and change.second >= self.seconds:
                raise InputError(
                    f"Expected --at within the load's {self.seconds:g} s. "
                    f"Received: {change.second:g}"
                )
        for address in self.metrics or ():
            page_url(address)
