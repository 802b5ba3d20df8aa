"""The processes that are measured: how they are started, asked and ended, and what they use."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from foundation.command_line import InputError
from tests.environments import ROOT
from tfs_client import contract

DEADLINE_S: Final = 120.0

HOST: Final = "127.0.0.1"


class Server:
    """A running process that serves or answers questions; a `with` block ends it.

    Args:
        name: for errors.
        command: starts it.
        log: receives its stderr, and its stdout unless `pipes`.
        folder: where it runs.
        pipes: whether it is talked to on stdin and stdout.
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
        self.name = name
        self._log = log
        self.started = time.monotonic()
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                # The same for all: TensorFlow computes on the CPU and logs nothing about GPUs.
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

    def read_port(self) -> str:
        """The first line on its stdout, which is the port that it chose; needs `pipes`.

        Returns:
            Its address, host:port.

        Raises:
            InputError: it ended.
        """
        assert self.process.stdout is not None
        port = self.process.stdout.readline().strip()
        if not port:
            raise self.failed("its end")
        self.wait_until(lambda: True)
        return f"{HOST}:{port}"

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
        """The error that quotes the end of its log."""
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
    """serving.local, as `make serve` starts it.

    Args:
        folder: receives its log and its port file.
        name: of both.
        models: the store.
        config: models.config.
        flags: more flags.
    """

    def __init__(self, folder: Path, name: str, models: Path, config: Path, *flags: str) -> None:
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
        """Waits until it has opened its ports; then `grpc` and `rest` are its addresses.

        Raises:
            InputError: it ended, or was not ready in time.
        """
        self.wait_until(self._port_file.exists)
        self.ready_s = time.monotonic() - self.started
        ports = json.loads(self._port_file.read_text())
        self.grpc = f"{HOST}:{ports['grpc']}"
        self.rest = (HOST, int(ports["rest"]))
        return self


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
