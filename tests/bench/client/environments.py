"""Environments of their own for clients that the project does not need, and the clients in them.

An environment has the one package that its client is, in the version of clients/<name>.txt. What
that stands on (gRPC, protobuf, numpy, TensorFlow) comes from the project's environment, so that all
clients stand on the same.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from foundation.figures import BUILD_DIR
from tests import environments
from tests.bench.server.servers import Server
from tests.environments import UnavailableError

logger = logging.getLogger("tests.bench.client")

CLIENTS: Final = Path(__file__).with_name("clients")
"""Each client's script, which is run by its environment, and its package."""

OURS: Final = "ours"
RIVALS: Final = ("tensorflow_serving_api", "ovmsclient")

SCRIPTS: Final = {
    OURS: "with_tfs_client.py",
    "tensorflow_serving_api": "with_tensorflow.py",
    "ovmsclient": "with_ovmsclient.py",
}


def make(name: str) -> Path:
    """Makes a rival's environment, unless it stands.

    Args:
        name: one of RIVALS.

    Returns:
        Its interpreter.

    Raises:
        UnavailableError: no network, say.
    """
    folder = BUILD_DIR / "bench-client-environments" / name
    packages = (CLIENTS / f"{name}.txt").read_text().split()
    return environments.make(folder, packages, "--no-deps")


def make_all() -> tuple[dict[str, Path], dict[str, str]]:
    """The interpreters of the rivals that can be had, and why the others cannot."""
    pythons, absent = {}, {}
    for name in RIVALS:
        try:
            pythons[name] = make(name)
        except UnavailableError as error:  # noqa: PERF203  # each has its own reason
            logger.warning("no %s: %s", name, error)
            absent[name] = str(error)
    return pythons, absent


def start(
    stack: contextlib.ExitStack, names: Iterable[str], pythons: Mapping[str, Path], folder: Path
) -> dict[str, Server]:
    """Starts clients, each in a process of its own; they are asked on pipes (clients/frame.py).

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
