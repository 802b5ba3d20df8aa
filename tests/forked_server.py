"""Local servers as forks of one process that has imported TensorFlow already.

The import takes a server three seconds, and many more on a busy machine; a fork takes none. Apart
from that a forked server is `python -m serving.local`: the same entry point in a process of its
own, with its own flags, log, signals and exit code. The one parent of a test process starts with
the first server and ends with the test process.

    python -m tests.forked_server FD    # the parent, on its end of a socket pair
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from serving import models_config
from serving.models_config import ModelsConfig, Specific
from tfs_client import Client

ROOT = Path(__file__).parents[1]

READY_S = 120.0
"""The first server waits for TensorFlow's import, on a busy machine too."""

END_S = 30.0

_MAX_MESSAGE = 2**16


class ForkedServer:
    """A server's process, with what is used of subprocess.Popen."""

    def __init__(self, pid: int, parent: _Parent) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._parent = parent

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._parent.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("serving.local", timeout or 0)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(flags: Sequence[str], log: Path, before: str = "") -> ForkedServer:
    """Starts a server.

    Args:
        flags: its command line.
        log: receives what it prints; begun anew.
        before: Python code that runs in its process first.
    """
    log.write_bytes(b"")
    parent = _parent()
    pid = parent.ask({"start": list(flags), "log": str(log), "before": before})
    return ForkedServer(pid, parent)


@contextlib.contextmanager
def serving(
    folder: Path, *flags: str, config: Path, models: Path
) -> Iterator[tuple[ForkedServer, dict[str, int], Path]]:
    """Runs a server on free ports until the end of the block.

    Args:
        folder: receives its log and its port file.
        flags: more of serving.local's; a port that is given here is used.
        config: a models.config whose models lie below /models.
        models: the store that stands for /models.

    Yields:
        The process, its ports ("grpc" and "rest"), and its log.
    """
    log, port_file = folder / "server.log", folder / "ports.json"
    port_file.unlink(missing_ok=True)
    arguments = [
        *("--port=0", "--rest_api_port=0", "--grpc_max_threads=128"),
        *(f"--model_config_file={config}", f"--model_path_prefix_map=/models={models}"),
        *(f"--port_file={port_file}", *flags),
    ]
    with stopped_at_the_end(start(arguments, log)) as process:
        deadline = time.monotonic() + READY_S
        while not port_file.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        ports = json.loads(port_file.read_text())
        _wait_for_all(models_config.read(config), f"127.0.0.1:{ports['grpc']}")
        yield process, ports, log


def _wait_for_all(config: ModelsConfig, target: str) -> None:
    """Waits for every version; the ports open when any one version of each model is loaded."""
    with Client(target) as client:
        for model in config.models:
            policy = model.policy
            for version in policy.versions if isinstance(policy, Specific) else (None,):
                client.wait_ready(model=model.name, version=version, timeout_s=READY_S)


@contextlib.contextmanager
def stopped_at_the_end(process: ForkedServer) -> Iterator[ForkedServer]:
    """Has it stop as it does after SIGTERM, unless it has ended."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Parent:
    """The process whose children the servers are, as the test process sees it."""

    def __init__(self) -> None:
        self._socket, its_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with its_socket:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked_server", str(its_socket.fileno())],
                cwd=ROOT,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
                pass_fds=[its_socket.fileno()],
                start_new_session=True,
            )

    def ask(self, question: dict[str, Any]) -> Any:
        with self._lock:
            self._socket.sendall(json.dumps(question).encode())
            answer = self._socket.recv(_MAX_MESSAGE)
        if not answer:
            raise RuntimeError("Expected a process that starts servers. Received: it has ended.")
        return json.loads(answer)

    def close(self) -> None:
        """Ends it, and the servers that it still has."""
        self._socket.close()
        self._process.wait(20)


@functools.cache
def _parent() -> _Parent:
    parent = _Parent()
    atexit.register(parent.close)
    return parent


def _serve(control: socket.socket) -> None:
    """The parent's loop, until the test process has gone."""
    running: set[int] = set()
    while question := control.recv(_MAX_MESSAGE):
        asked = json.loads(question)
        answer: int | None
        if "start" in asked:
            answer = os.fork()
            if answer == 0:
                control.close()
                _become_server(**asked)
            running.add(answer)
        else:
            pid, status = os.waitpid(asked["poll"], os.WNOHANG)
            running.discard(pid)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        control.sendall(json.dumps(answer).encode())
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _become_server(start: list[str], log: str, before: str) -> None:
    out = os.open(log, os.O_WRONLY)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(out)
    sys.argv = ["serving.local", *start]
    try:
        exec(before, {})
        runpy.run_module("serving.local", run_name="__main__")
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    from foundation import quiet_tensorflow

    quiet_tensorflow.import_tensorflow(keras=False)
    # Imported for the forks; http and api bring aiohttp.
    from serving.local import server  # noqa: F401
    from serving.local.rest import api, http  # noqa: F401

    _serve(socket.socket(fileno=int(sys.argv[1])))
