"""The local server, forked from a process that has imported TensorFlow already.

A server that starts with an interpreter of its own imports TensorFlow first, which takes three
seconds of a core and far more on a busy machine. Here one process imports it, once for all tests of
a pytest process, and each server is a fork of it: a process of its own, that can be killed, with
everything that `python -m serving.local` does after the import. Where the start itself is tested,
start the command instead.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

READY_S = 120.0
"""The first server waits for TensorFlow's import, on a busy machine too."""

END_S = 30.0

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.preloaded_server", "serving.local.server"])


class Running(NamedTuple):
    """A server that serves."""

    grpc: str
    """host:port"""
    rest: str
    """host:port"""
    process: Any
    """multiprocessing's: pid, kill, join."""
    log: Path


@contextlib.contextmanager
def serving(folder: Path, config: Path, models: Path, *flags: str) -> Iterator[Running]:
    """Runs a server on free ports until the end of the block.

    Args:
        folder: receives its log and its port file.
        config: a models.config whose models lie below /models.
        models: the store that stands for /models.
        flags: more of serving.local's; a port given here is taken.
    """
    log, port_file = folder / "server.log", folder / "ports.json"
    port_file.unlink(missing_ok=True)
    arguments = [
        *("--port=0", "--rest_api_port=0", "--grpc_max_threads=128"),
        *(f"--model_config_file={config}", f"--model_path_prefix_map=/models={models}"),
        *(f"--port_file={port_file}", *flags),
    ]
    process = _forks.Process(target=_serve, args=(arguments, str(log)), daemon=True)
    process.start()
    try:
        deadline = time.monotonic() + READY_S
        while not port_file.exists():
            said = log.read_text() if log.exists() else ""
            assert process.is_alive(), said
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
        ports = json.loads(port_file.read_text())
        grpc, rest = (f"127.0.0.1:{ports[name]}" for name in ("grpc", "rest"))
        yield Running(grpc=grpc, rest=rest, process=process, log=log)
    finally:
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGTERM)
        process.join(END_S)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(arguments: Sequence[str], log: str) -> None:
    """In the fork."""
    with Path(log).open("ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    from serving.local.main import main

    sys.exit(main(list(arguments)))
