"""What `make serve` starts, on free ports, for the tests of a module."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0


@pytest.fixture(scope="module")
def served(store: Path, sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """What `make serve` starts, on free ports: (gRPC address, REST address, its talk)."""
    held = [socket.create_server(("", 0)) for _ in range(2)]
    grpc_port, rest_port = (one.getsockname()[1] for one in held)
    for one in held:
        one.close()
    talk = tmp_path_factory.mktemp("talk") / "serve.log"
    with talk.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.launch", "--server", "local", "--models", str(store)]
            + ["--grpc-port", str(grpc_port), "--rest-port", str(rest_port)],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + READY_S
        while "Try it:" not in talk.read_text():
            assert process.poll() is None, talk.read_text()
            assert time.monotonic() < deadline, talk.read_text()
            time.sleep(0.05)
        yield f"localhost:{grpc_port}", f"localhost:{rest_port}", talk
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
