"""Starts the servers that the local server is measured beside."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.processes import HOST, Server
from tests.ports import free_ports
from tfs_client import contract

BATCHING: Final = """\
max_batch_size { value: 32 }
batch_timeout_micros { value: 1000 }
num_batch_threads { value: 2 }
max_enqueued_batches { value: 100 }
"""
"""Batches as large as there are callers at most, with little patience: one thread computes while
another collects."""


def batching_flags(folder: Path) -> list[str]:
    """The local server's flags with batching on."""
    path = folder / "batching.config"
    path.write_text(BATCHING)
    return ["--enable_batching=true", f"--batching_parameters_file={path}"]


def echo(folder: Path) -> tuple[Server, str]:
    """The bare gRPC server and its address."""
    command = [sys.executable, "-m", "tests.bench.server.echo"]
    server = Server("the echo server", command, folder / "echo.log", pipes=True)
    return server, server.read_port()


def in_process(folder: Path, version: Path, files: Sequence[Path], pixels: Path) -> Server:
    """The process that computes without a server."""
    listed = folder / "files.json"
    listed.write_text(json.dumps([str(file.resolve()) for file in files]))
    command = [sys.executable, "-m", "tests.bench.server.in_process"]
    command += [str(version.resolve()), str(listed), str(pixels)]
    server = Server("TensorFlow in process", command, folder / "in_process.log", pipes=True)
    return server.wait_until(lambda: True)


class Rival(Server):
    """Another server of the same SavedModel, over HTTP, in an environment of its own.

    Args: as Server's; and
        port: where it listens.
        ready: the path that answers 200 once it is ready.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, folder: Path, port: int, ready: str
    ) -> None:
        super().__init__(name, command, log, folder=folder)
        self.address = (HOST, port)
        self._ready = f"http://{HOST}:{port}{ready}"

    def wait(self) -> Rival:
        """Waits until it says that it is ready."""

        def answers() -> bool:
            time.sleep(0.1)
            with contextlib.suppress(OSError), urllib.request.urlopen(self._ready, timeout=5):
                return True
            return False

        self.wait_until(answers)
        return self


def fastapi(python: Path, folder: Path, version: Path, workers: int = 1) -> Rival:
    """FastAPI under uvicorn, see rivals/fastapi_app.py."""
    app = Path(__file__).with_name("rivals") / "fastapi_app.py"
    (port,) = free_ports(1)
    command = [str(python), str(app), str(version.resolve()), str(port), str(workers)]
    return Rival("FastAPI", command, folder / "fastapi.log", folder, port, "/openapi.json")


def mlserver(python: Path, folder: Path, version: Path) -> Rival:
    """MLServer with adaptive batching, see rivals/mlserver_app.py."""
    home = folder / "mlserver"
    home.mkdir()
    port, grpc_port, metrics_port = free_ports(3)
    settings = {
        "host": HOST,
        "http_port": port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "parallel_workers": 0,  # in this process: no second copy of each request
        "debug": False,
    }
    model = {
        "name": contract.MODEL_NAME,
        "implementation": "mlserver_app.Classifier",
        "parameters": {"uri": str(version.resolve())},
        "max_batch_size": 32,
        "max_batch_time": 0.005,
    }
    (home / "settings.json").write_text(json.dumps(settings))
    (home / "model-settings.json").write_text(json.dumps(model))
    (home / "mlserver_app.py").write_bytes(
        (Path(__file__).with_name("rivals") / "mlserver_app.py").read_bytes()
    )
    command = [str(python.with_name("mlserver")), "start", "."]
    return Rival("MLServer", command, folder / "mlserver.log", home, port, "/v2/health/ready")
