"""A server for each candidate: what `make serve` starts, on ports of its own.

TensorFlow Serving reads its batching parameters once, at its start.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from foundation.command_line import InputError
from loadtest.tuning.candidates import Candidate

ROOT: Final = Path(__file__).resolve().parents[2]

READY: Final = "Try it:"
"""What serving.launch prints when the label `stable` answers."""

READY_S: Final = 300.0
"""A container with a GPU starts slowly."""

END_S: Final = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployment:
    """What is served, whatever the batching parameters are."""

    config: Path
    """The models.config; it and a monitoring.config beside it are copied."""
    models: Path
    """The store."""
    server: str
    """auto, container or local, as serving.launch has it."""


@contextlib.contextmanager
def serving(candidate: Candidate, deployment: Deployment) -> Iterator[str]:
    """Runs a server with these parameters until the end of the block.

    Yields:
        host:port of its gRPC port.

    Raises:
        InputError: it does not start; the message ends with its last lines.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _configure(folder, candidate, deployment)
        grpc_port, rest_port = _free_ports(2)
        talk = folder / "server.log"
        with talk.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-u", "-m", "serving.launch"),
                    *("--server", deployment.server, "--models", str(deployment.models.resolve())),
                    *("--config", str(folder / "models.config")),
                    *("--grpc-port", str(grpc_port), "--rest-port", str(rest_port)),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process, which then ends the server
            )
        try:
            _wait_until_ready(process, talk, candidate)
            yield f"localhost:{grpc_port}"
        finally:
            _end(process)


def _configure(folder: Path, candidate: Candidate, deployment: Deployment) -> None:
    """Puts models.config, monitoring.config and the batching parameters into a folder."""
    shutil.copyfile(deployment.config, folder / "models.config")
    monitoring = deployment.config.with_name("monitoring.config")
    if monitoring.exists():
        shutil.copyfile(monitoring, folder / "monitoring.config")
    if candidate.max_batch_size is not None:
        (folder / "batching.config").write_text(candidate.text(), encoding="utf-8")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], talk: Path, candidate: Candidate) -> None:
    deadline = time.monotonic() + READY_S
    while READY not in talk.read_text(encoding="utf-8", errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            said = talk.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise InputError(
                f"Expected a server with {candidate.name} to start. "
                f"Received: {' | '.join(said[-2:]) or 'silence'}"
            )
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
