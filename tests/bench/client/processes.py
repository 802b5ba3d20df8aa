"""The clients that are compared, each in a process of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tests.bench.environments import CLIENTS
from tests.bench.processes import Server

OURS: Final = "ours"

SCRIPTS: Final = {
    OURS: "with_tfs_client.py",
    "tensorflow_serving_api": "with_tensorflow.py",
    "ovmsclient": "with_ovmsclient.py",
}


def start(
    stack: contextlib.ExitStack, names: Iterable[str], pythons: Mapping[str, Path], folder: Path
) -> dict[str, Server]:
    """Starts clients; they are asked on pipes (clients/frame.py).

    Args:
        stack: ends them.
        names: of the clients; those that cannot be had are left out.
        pythons: the rivals' interpreters.
        folder: what they work on, see material.py; receives their logs.
    """
    started = {}
    for name in names:
        python = Path(sys.executable) if name == OURS else pythons.get(name)
        if python is None:
            continue
        command = [str(python), str(CLIENTS / SCRIPTS[name]), str(folder)]
        process = Server(name, command, folder / f"{name}.log", pipes=True)
        started[name] = stack.enter_context(process.wait_until(lambda: True))
    return started
