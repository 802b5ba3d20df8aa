"""What is measured side by side, and the rounds in which that is done.

The machine is shared and its speed drifts, so what is compared is measured within seconds of each
other, in an order that changes, again and again; ratios are taken within a round.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from foundation.progress import Progress
from tests.bench import environments
from tests.bench.processes import LocalServer, Server
from tests.bench.samples import rounds_of, write_arrays
from tests.bench.server import load, payloads, servers
from tfs_client import contract, image_to_array

logger = logging.getLogger("tests.bench.server")

FILES: Final = contract.SIGNATURE_DEFAULT
PIXELS: Final = contract.SIGNATURE_IMAGES

CALLERS: Final = (1, 8, 32)
THREADS: Final = (1, 2, 4)
"""In process, at a batch of 32."""

PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"

WARM_UP_ROUND_S: Final = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """One way to have an image classified over a socket."""

    name: str
    signature: str
    callers: load.Callers
    requests: Sequence[bytes]
    check: load.Check
    server: Server
    counts: Sequence[int] = CALLERS
    """Concurrent callers, each measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Served:
    """The model that all servers have."""

    models: Path
    """The store."""
    config: Path
    """models.config."""
    version: Path
    """The folder of the version that `config` labels stable."""


@dataclasses.dataclass(frozen=True)
class InProcess:
    """One measurement without a server."""

    images_per_s: float
    cpu_s_per_image: float


@dataclasses.dataclass
class Measured:
    """All that was seen; the lists have an entry a round."""

    loads: dict[tuple[str, int], list[load.Load]] = dataclasses.field(default_factory=dict)
    """(target, callers) → rounds."""
    in_process: dict[tuple[str, int], list[InProcess]] = dataclasses.field(default_factory=dict)
    """(signature, threads) → rounds."""
    pillow_per_s: list[float] = dataclasses.field(default_factory=list)
    """Files decoded and resized a second by one thread."""
    absent: dict[str, str] = dataclasses.field(default_factory=dict)
    """Server that could not be had → why."""
    errors: int = 0
    first_error: str = ""

    def add(self, name: str, count: int, taken: load.Load) -> None:
        """Keeps a round's load."""
        self.loads.setdefault((name, count), []).append(taken)
        self.count_errors(name, taken)

    def count_errors(self, name: str, taken: load.Load) -> None:
        """Counts what went wrong; the text of the first error is kept."""
        self.errors += taken.errors
        if taken.errors and not self.first_error:
            self.first_error = f"{name}: {taken.first_error}"
            logger.error("%d errors, %s", taken.errors, self.first_error)


def prepare(worker: Server, files: Sequence[Path], pixels: Path) -> payloads.Material:
    """Makes what is sent, and has the right answers computed in process.

    Args:
        worker: see servers.in_process.
        files: image files.
        pixels: where the worker looks for them; written.
    """
    height, width = worker.ask({"do": "size"})
    made = payloads.pixels(files, height, width)
    np.save(pixels, made)
    answers = worker.ask({"do": "answers"})
    contents = [file.read_bytes() for file in files]
    logger.info(
        "%d files of %.1f kB, pixels %dx%dx3",
        *(len(contents), sum(map(len, contents)) / len(contents) / 1000, height, width),
    )
    expected = {name: payloads.Expected(**found) for name, found in answers.items()}
    return payloads.Material(files=contents, pixels=made, expected=expected)


def grpc_target(
    name: str, signature: str, server: LocalServer, material: payloads.Material
) -> Target:
    """A local server's signature over gRPC."""
    return Target(
        name=f"{signature}.{name}",
        signature=signature,
        callers=load.GrpcCallers(server.grpc, PREDICT),
        requests=material.grpc_requests(signature),
        check=payloads.GrpcCheck(material.expected[signature]),
        server=server,
    )


def echo_target(signature: str, server: Server, address: str, alike: Target) -> Target:
    """The echo of a target's requests, with answers of the same size."""
    assert isinstance(alike.server, LocalServer)
    length = len(load.ask_once(alike.server.grpc, PREDICT, alike.requests[0]))
    return Target(
        name=f"{signature}.echo",
        signature=signature,
        callers=load.GrpcCallers(address, f"/Echo/{length}"),
        requests=alike.requests,
        check=payloads.LengthCheck(length),
        server=server,
    )


def http_target(
    name: str, server: Server, address: tuple[str, int], material: payloads.Material
) -> Target:
    """Files over HTTP, in one of the ways of payloads.HTTP."""
    callers = load.HttpCallers(address)
    way = payloads.HTTP[name](material.files, material.expected[FILES])
    return Target(
        name=f"{FILES}.{name}",
        signature=FILES,
        callers=callers,
        requests=[callers.request(way.path, way.content_type, body) for body in way.bodies],
        check=way.check,
        server=server,
        counts=CALLERS[1:],
    )


class Contest:
    """All servers, running; a `with` block ends them.

    Args:
        served: what they serve.
        folder: for logs and settings.
        worker: computes in process.
        material: what is sent.
    """

    def __init__(
        self, served: Served, folder: Path, worker: Server, material: payloads.Material
    ) -> None:
        self.measured = Measured()
        self.targets: list[Target] = []
        self._served, self._folder = served, folder
        self._worker, self._material = worker, material
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Contest:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        """Starts all at the same time, since most of a start is importing, and waits for each."""
        material = self._material
        batching = self._local("batching", *servers.batching_flags(self._folder))
        unbatched = self._local("unbatched")
        pythons, self.measured.absent = environments.make_all(environments.RIVAL_SERVERS)
        fastapi = self._rival(pythons.get("fastapi"), servers.fastapi)
        mlserver = self._rival(pythons.get("mlserver"), servers.mlserver)
        echo, echo_address = servers.echo(self._folder)
        self._stack.enter_context(echo)
        batching.wait(), unbatched.wait()
        for signature in (FILES, PIXELS):
            alike = grpc_target("unbatched", signature, unbatched, material)
            self.targets += [
                grpc_target("batching", signature, batching, material),
                alike,
                echo_target(signature, echo, echo_address, alike),
            ]
        self.targets.append(http_target("rest", batching, batching.rest, material))
        if fastapi is not None:
            fastapi.wait()
            for name in ("fastapi_b64", "fastapi_bytes"):
                self.targets.append(http_target(name, fastapi, fastapi.address, material))
        if mlserver is not None:
            mlserver.wait()
            self.targets.append(http_target("mlserver", mlserver, mlserver.address, material))

    def _local(self, name: str, *flags: str) -> LocalServer:
        server = LocalServer(self._folder, name, self._served.models, self._served.config, *flags)
        self._stack.enter_context(server)
        return server

    def _rival(
        self, python: Path | None, start: Callable[[Path, Path, Path], servers.Rival]
    ) -> servers.Rival | None:
        if python is None:
            return None
        server = start(python, self._folder, self._served.version)
        self._stack.enter_context(server)
        return server

    def run(self, rounds: int, seconds: float) -> Measured:
        """Warms everything up, then measures.

        Args:
            rounds: how often.
            seconds: for each measurement; half of it with a single caller, which is steadier.
        """
        groups = [
            (signature, count) for signature in (FILES, PIXELS) for count in reversed(CALLERS)
        ]
        tests = sum(len(target.counts) for target in self.targets)
        total = len(self.targets) + rounds * (tests + len(THREADS) * 2 + 1)
        with Progress("bench-server", total=total, unit="measurements") as bar:
            for target in self.targets:
                warm_up = ask(target, CALLERS[-1], min(seconds, WARM_UP_ROUND_S))
                self.measured.count_errors(target.name, warm_up)
                bar.add()
            for number in range(rounds):
                turn = number % len(groups)
                for signature, count in groups[turn:] + groups[:turn]:
                    self._measure(signature, count, seconds, random.Random(number), bar)
                self.measured.pillow_per_s.append(self._pillow_per_s(seconds / 2))
                bar.add()
        return self.measured

    def _measure(
        self, signature: str, count: int, seconds: float, order: random.Random, bar: Any
    ) -> None:
        """One round of what is compared at so many callers."""

        def target_task(target: Target) -> Callable[[], None]:
            took = seconds if count > 1 else seconds / 2
            return lambda: self.measured.add(target.name, count, ask(target, count, took))

        def process_task(threads: int) -> Callable[[], None]:
            return lambda: self._in_process(signature, threads, seconds / 2)

        tasks = [
            target_task(target)
            for target in self.targets
            if target.signature == signature and count in target.counts
        ]
        if count == CALLERS[-1]:
            tasks += [process_task(threads) for threads in THREADS]
        order.shuffle(tasks)
        for task in tasks:
            task()
            bar.add()

    def _in_process(self, signature: str, threads: int, seconds: float) -> None:
        took = self._worker.ask(
            {"do": "run", "signature": signature, "threads": threads, "seconds": seconds}
        )
        self.measured.in_process.setdefault((signature, threads), []).append(
            InProcess(took["images"] / took["seconds"], took["cpu_s"] / took["images"])
        )

    def _pillow_per_s(self, seconds: float) -> float:
        """How many files a client decodes and resizes a second, in one thread."""
        contents = self._material.files
        height, width = self._material.pixels.shape[1:3]
        done, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            image_to_array(contents[done % len(contents)], (height, width))
            done += 1
        return done / (time.perf_counter() - begin)


def ask(target: Target, count: int, seconds: float) -> load.Load:
    """One round of so many callers."""
    return load.run(
        target.callers,
        target.requests,
        target.check,
        count=count,
        seconds=seconds,
        server_cpu_s=target.server.cpu_s,
    )


def write_latencies(measured: Measured, path: Path) -> None:
    """Every latency in ms, an array for each target, number of callers and round."""
    latencies_ms = {
        f"{name}.{count}_callers": [taken.latencies_s * 1000 for taken in rounds]
        for (name, count), rounds in measured.loads.items()
    }
    write_arrays(path, rounds_of(latencies_ms))


def write_rounds(measured: Measured, path: Path) -> None:
    """A JSON object a line: each round of each target."""
    lines = [
        json.dumps(
            {
                "target": name,
                "callers": count,
                "round": number,
                "seconds": taken.seconds,
                "answers": len(taken.latencies_s),
                "errors": taken.errors,
                "client_cpu_s": taken.client_cpu_s,
                "server_cpu_s": taken.server_cpu_s,
            }
        )
        for (name, count), rounds in measured.loads.items()
        for number, taken in enumerate(rounds)
    ]
    path.write_text("\n".join(lines) + "\n")
