"""The local server, forked from a process that has imported TensorFlow already.

A server that starts with an interpreter of its own imports TensorFlow first, which takes three
seconds of a core and far more on a busy machine. Here one process imports it, once for all tests of
a pytest process, and each server is a fork of it: a process of its own, that can be killed, and
that does what `python -m serving.local` does. Where the start itself is tested, start the command.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

READY_S = 120.0
"""The first server waits for TensorFlow's import, on a busy machine too."""

END_S = 30.0

_parent = multiprocessing.get_context("forkserver")
_parent.set_forkserver_preload(["tests.preloaded_server", "serving.local.server"])


class Forked:
    """A forked server, with what subprocess.Popen has.

    Args:
        arguments: of serving.local.
        log: receives what it says.
    """

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._process = _parent.Process(target=_serve, args=(list(arguments), str(log)))
        self._process.daemon = True  # it ends with the tests at the latest
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Sends it a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end; returns its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("serving.local", timeout or 0.0)
        return code


@contextlib.contextmanager
def serving(
    folder: Path, *flags: str, config: Path, models: Path
) -> Iterator[tuple[Forked, dict[str, int], Path]]:
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
    with stopped_at_the_end(Forked(arguments, log)) as process:
        deadline = time.monotonic() + READY_S
        while not port_file.exists():
            said = log.read_text() if log.exists() else ""
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
        yield process, json.loads(port_file.read_text()), log


@contextlib.contextmanager
def stopped_at_the_end(process: Forked) -> Iterator[Forked]:
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


def _serve(arguments: list[str], log: str) -> None:
    """In the fork."""
    with Path(log).open("ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    from serving.local.main import main

    sys.exit(main(arguments))
