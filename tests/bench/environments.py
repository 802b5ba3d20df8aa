"""Environments of their own for servers and clients that the project does not need.

They are made on demand below build/. What they stand on (TensorFlow, gRPC, protobuf, numpy) comes
from the project's own environment, so that all are measured with the same versions.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from foundation.figures import BUILD_DIR
from tests import environments
from tests.environments import ROOT, UnavailableError

__all__ = ["RIVAL_CLIENTS", "RIVAL_SERVERS", "UnavailableError", "make", "make_all", "packages"]

logger = logging.getLogger("tests.bench")

CLIENTS: Final = Path(__file__).with_name("client") / "clients"


@dataclasses.dataclass(frozen=True)
class _Environment:
    folder: str
    packages: tuple[str, ...]
    flags: tuple[str, ...]
    """Of `uv pip install`."""


def _client(name: str) -> _Environment:
    """One package, and nothing that it depends on."""
    packages = tuple((CLIENTS / f"{name}.txt").read_text().split())
    return _Environment(f"bench-client-environments/{name}", packages, ("--no-deps",))


def _server(name: str, *packages: str) -> _Environment:
    """Packages, and what they depend on in the versions of the project's lock file."""
    constraints = f"--constraints={ROOT / 'requirements.lock'}"
    return _Environment(f"bench-server-environments/{name}", packages, (constraints,))


RIVAL_CLIENTS: Final = ("tensorflow_serving_api", "ovmsclient")
RIVAL_SERVERS: Final = ("fastapi", "mlserver")

_ENVIRONMENTS: Final = {
    **{name: _client(name) for name in RIVAL_CLIENTS},
    "fastapi": _server("fastapi", "fastapi==0.165.0", "uvicorn[standard]==0.54.0"),
    "mlserver": _server("mlserver", "mlserver==1.7.0"),
}


def packages(name: str) -> str:
    """What a rival's environment holds, as pip takes it."""
    return " ".join(_ENVIRONMENTS[name].packages)


def make(name: str) -> Path:
    """Makes a rival's environment, unless it stands.

    Args:
        name: one of RIVAL_CLIENTS or RIVAL_SERVERS.

    Returns:
        Its interpreter.

    Raises:
        UnavailableError: it cannot be made: no network, say.
    """
    wanted = _ENVIRONMENTS[name]
    return environments.make(BUILD_DIR / wanted.folder, wanted.packages, *wanted.flags)


def make_all(names: Iterable[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """The interpreters of those that can be had, and why the others cannot."""
    pythons, absent = {}, {}
    for name in names:
        try:
            pythons[name] = make(name)
        except UnavailableError as error:  # noqa: PERF203  # each has its own reason
            logger.warning("no %s: %s", name, error)
            absent[name] = str(error)
    return pythons, absent
