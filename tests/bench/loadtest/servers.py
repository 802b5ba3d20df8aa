"""Starts the delaying server."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.loadtest.truth import Slowness
from tests.bench.processes import Server


@contextlib.contextmanager
def delaying(slowness: Slowness, folder: Path) -> Iterator[tuple[Server, str]]:
    """The server in a process of its own, and its address."""
    words = json.dumps(dataclasses.asdict(slowness))
    command = [sys.executable, "-m", "tests.bench.loadtest.delaying", words]
    with Server("the delaying server", command, folder / "delaying.log", pipes=True) as server:
        yield server, server.read_port()
