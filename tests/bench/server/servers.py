"""Starts the servers that are compared, each in processes of its own, and knows what they use.

Knows nothing about requests.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from foundation.command_line import InputError
from tests.bench.server.environments import ROOT
from tests.ports import free_ports
from tfs_client import contract

DEADLINE_S: Final = 120.0

HOST: Final = "127.0.0.1"

BATCHING: Final = """\
max_batch_size { value: 32 }
batch_timeout_micros { value: 1000 }
num_batch_threads { value: 2 }
max_enqueued_batches { value: 100 }
"""
"""Batches as large as there are callers at most, with little patience: one thread computes while
another collects."""


class Server:
    """A running server; use it in a `with` block, which ends it.

    What it says goes to a log file.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        folder: Path = ROOT,
        pipes: bool = False,
    ) -> None:
        """Args:
        name: for errors.
        command: starts it.
        log: receives its stderr, and stdout unless that is a pipe.
        folder: where it runs.
        pipes: whether it is talked to on stdin and stdout.
        """
        self.name = name
        self._log = log
        self.started = time.monotonic()
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                # The same for all: computes on the CPU, and does not speak of GPUs.
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"},
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else out,
                stderr=out,
                text=True,
            )
        self._family: list[psutil.Process] = []

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        family = _family(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def wait_until(self, ready: Callable[[], bool]) -> Server:
        """Waits until it is ready.

        Raises:
            InputError: it ended, or was not ready in time; its last words.
        """
        deadline = self.started + DEADLINE_S
        while not ready():
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise self.failed("its end" if ended else f"silence for {DEADLINE_S:.0f} s")
            time.sleep(0.005)
        self._family = _family(self.process.pid)
        return self

    def failed(self, received: str) -> InputError:
        """The error that says what became of it."""
        words = " | ".join(self._log.read_text(errors="replace").splitlines()[-3:])
        return InputError(
            f"Expected {self.name} to serve. Received: {received}: {words}. See {self._log}."
        )

    def cpu_s(self) -> float:
        """CPU that it has used, all its processes together."""
        return sum(sum(process.cpu_times()[:2]) for process in self._family)

    def resident_mb(self) -> float:
        """Memory that it holds, all its processes together."""
        return sum(process.memory_info().rss for process in self._family) / 2**20

    def ask(self, question: dict[str, Any]) -> Any:
        """One line of JSON in, one out; of a server with pipes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise self.failed("its end")
        return json.loads(line)


class LocalServer(Server):
    """serving.local, as `make serve` starts it."""

    def __init__(self, folder: Path, name: str, models: Path, config: Path, *flags: str) -> None:
        """Args:
        folder: receives its log and its port file.
        name: of both.
        models: the store.
        config: models.config.
        flags: more flags.
        """
        self._port_file = folder / f"{name}.ports"
        self._port_file.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", "serving.local", "--port=0", "--rest_api_port=0"),
            "--grpc_max_threads=128",
            "--rest_api_num_threads=64",
            "--allow_version_labels_for_unavailable_models=true",
            f"--model_config_file={config.resolve()}",
            f"--model_path_prefix_map={contract.MODEL_STORE}={models.resolve()}",
            f"--port_file={self._port_file}",
            *flags,
        ]
        super().__init__(f"the local server ({name})", command, folder / f"{name}.log")

    def wait(self) -> LocalServer:
        """Until it answers."""
        self.wait_until(self._port_file.exists)
        self.ready_s = time.monotonic() - self.started
        ports = json.loads(self._port_file.read_text())
        self.grpc = f"{HOST}:{ports['grpc']}"
        self.rest = (HOST, int(ports["rest"]))
        return self


def batching_flags(folder: Path) -> list[str]:
    """The local server's flags with batching on."""
    path = folder / "batching.config"
    path.write_text(BATCHING)
    return ["--enable_batching=true", f"--batching_parameters_file={path}"]


def echo(folder: Path) -> tuple[Server, str]:
    """The bare gRPC server and its address."""
    command = [sys.executable, "-m", "tests.bench.server.echo"]
    server = Server("the echo server", command, folder / "echo.log", pipes=True)
    assert server.process.stdout is not None
    port = server.process.stdout.readline().strip()
    if not port:
        raise server.failed("its end")
    return server.wait_until(lambda: True), f"{HOST}:{port}"


def in_process(folder: Path, version: Path, files: Sequence[Path], pixels: Path) -> Server:
    """The process that computes without a server."""
    listed = folder / "files.json"
    listed.write_text(json.dumps([str(file.resolve()) for file in files]))
    command = [sys.executable, "-m", "tests.bench.server.in_process"]
    command += [str(version.resolve()), str(listed), str(pixels)]
    server = Server("TensorFlow in process", command, folder / "in_process.log", pipes=True)
    return server.wait_until(lambda: True)


class Rival(Server):
    """Another server of the same SavedModel, run by an environment of its own; over HTTP."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, folder: Path, port: int, ready: str
    ) -> None:
        """Args: as Server's; the port, and the path that answers 200 once it is ready."""
        super().__init__(name, command, log, folder=folder)
        self.address = (HOST, port)
        self._ready = f"http://{HOST}:{port}{ready}"

    def wait(self) -> Rival:
        """Until it says that it is ready."""

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


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
