"""A server for each candidate: what `make serve` starts, on ports of its own.

TensorFlow Serving reads its batching parameters once, at its start. Knows nothing about loads.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from foundation.command_line import InputError
from loadtest.tuning.candidates import Candidate

ROOT: Final = Path(__file__).resolve().parents[2]

READY: Final = "Try it:"
"""What serving.launch says when the label `stable` answers."""

READY_S: Final = 300.0
"""A container with a GPU takes its time."""

END_S: Final = 60.0


class Started(NamedTuple):
    """Where it listens."""

    grpc: str
    rest: str


@contextlib.contextmanager
def serving(
    candidate: Candidate, *, config: Path, models: Path, server: str, folder: Path
) -> Iterator[Started]:
    """Runs a server with these parameters until the end of the block.

    Args:
        candidate: of the batching parameters.
        config: the models.config to serve; it and a monitoring.config beside it are copied.
        models: the store.
        server: auto, container or local, as serving.launch has it.
        folder: receives the configuration and the server's talk; made if it is missing.

    Raises:
        InputError: it does not start; its last words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(config, folder / "models.config")
    monitoring = config.with_name("monitoring.config")
    if monitoring.exists():
        shutil.copyfile(monitoring, folder / "monitoring.config")
    batching = folder / "batching.config"
    batching.unlink(missing_ok=True)
    if candidate.max_batch_size is not None:
        batching.write_text(candidate.text(), encoding="utf-8")
    grpc_port, rest_port = _free_ports(2)
    talk = folder / "server.log"
    with talk.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-u", "-m", "serving.launch", "--server", server),
                *("--grpc-port", str(grpc_port), "--rest-port", str(rest_port)),
                *("--models", str(models.resolve()), "--config", str(folder / "models.config")),
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process, which then ends the server
        )
    try:
        _wait_until_ready(process, talk, candidate)
        yield Started(grpc=f"localhost:{grpc_port}", rest=f"localhost:{rest_port}")
    finally:
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
