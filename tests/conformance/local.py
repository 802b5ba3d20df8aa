"""Starts the local model server over the table's models, for the tests and for `make conformance`.

Everything else here knows a server by its addresses only.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests import forked_server
from tests.conformance import setups
from tests.conformance.ask import Server
from tests.conformance.case import Setup
from tests.forked_server import ForkedServer

_START_S: Final = 120.0


class LocalServer(Server):
    """A server under test that was started here.

    Attributes:
        ports: "grpc" and "rest" → the port.
    """

    def __init__(
        self,
        process: ForkedServer,
        log: Path,
        ports: dict[str, int],
        models: str,
        setup: Setup,
    ) -> None:
        super().__init__(f"127.0.0.1:{ports['grpc']}", f"127.0.0.1:{ports['rest']}", models, setup)
        self.ports = ports
        self._process = process
        self._log = log

    def lives(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def running(models: Path, setup: Setup, folder: Path) -> Iterator[LocalServer]:
    """A local server on free ports, prepared as the table expects it; ended afterwards.

    Args:
        models: the folder that `models.make` and `setups.write_files` filled.
        setup: which of the two.
        folder: receives the ports and the log.

    Raises:
        RuntimeError: it does not start.
    """
    port_file, log = folder / f"{setup}.ports", folder / f"{setup}.log"
    port_file.unlink(missing_ok=True)
    own = ["--port=0", "--rest_api_port=0", f"--port_file={port_file}"]
    process = forked_server.start([*setups.flags(setup, str(models)), *own], log)
    try:
        deadline = time.monotonic() + _START_S
        while not port_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the local server does not start:\n{log.read_text()}")
            time.sleep(0.05)
        ports = json.loads(port_file.read_text())
        server = LocalServer(process, log, ports, str(models), setup)
        try:
            server.prepare()
            yield server
        finally:
            server.close()
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
