"""Runs what `make serve` runs, for the tests of a module: as it does, or quickly started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving import models_config
from serving.container import engine
from serving.container.engine import Settings
from serving.rollout import states
from serving.rollout.states import State
from tests import forked_server
from tests.forked_server import ForkedServer
from tests.ports import free_ports
from tests.waiting import eventually
from tfs_client import Client, TfsError, contract

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0


def first_config(folder: Path) -> Path:
    """Writes a models.config of version 1 alone; the project's own may list others by now."""
    own = models_config.read(ROOT / "serving" / "models.config")
    state = State(versions=(1,), labels={contract.LABEL_STABLE: 1})
    path = folder / "models.config"
    path.write_text(models_config.render(states.write(own, contract.MODEL_NAME, state)))
    return path


@contextmanager
def serving(talk: Path, *flags: str) -> Iterator[tuple[str, str, Path]]:
    """Runs what `make serve` runs, on free ports: (gRPC address, REST address, its log).

    Args:
        talk: the log file, which receives its stdout and stderr.
        flags: of serving.launch.
    """
    held = [socket.create_server(("", 0)) for _ in range(2)]
    grpc_port, rest_port = (one.getsockname()[1] for one in held)
    for one in held:
        one.close()
    with talk.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.launch", "--server", "local", *flags]
            + ["--grpc-port", str(grpc_port), "--rest-port", str(rest_port)],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + READY_S
            while "Try it:" not in talk.read_text():
                assert process.poll() is None, talk.read_text()
                assert time.monotonic() < deadline, talk.read_text()
                time.sleep(0.05)
            yield f"localhost:{grpc_port}", f"localhost:{rest_port}", talk
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)


@contextmanager
def quickly_serving(folder: Path) -> Iterator[tuple[str, str, ForkedServer]]:
    """Runs the server that `make serve` starts, with its flags, without the seconds of its start.

    Args:
        folder: holds models/ and models.config, and receives serve.log.

    Yields:
        gRPC address, REST address and process of a server that answers for the label stable.
    """
    grpc_port, rest_port = free_ports(2, "")
    settings = Settings(
        grpc_port=grpc_port,
        rest_port=rest_port,
        models=folder / "models",
        config=folder / "models.config",
    )
    command, log = engine.choose("local", settings).argv, folder / "serve.log"
    arguments = command[command.index("serving.local") + 1 :]
    with forked_server.stopped_at_the_end(forked_server.start(arguments, log)) as process:
        address = f"localhost:{grpc_port}"
        with Client(address) as client:

            def answers() -> bool:
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(TfsError):
                    client.metadata(label=contract.LABEL_STABLE, timeout_s=1)
                    return True
                return False

            eventually(answers, "an answer for the label stable", forked_server.READY_S)
        yield address, f"localhost:{rest_port}", process
