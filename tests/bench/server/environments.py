"""The environments of servers that the project does not need.

Beside the project's pins: the packages of its lock file in the lock's versions, and TensorFlow from
the project's environment itself, so that all servers compute with the same one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from foundation.figures import BUILD_DIR
from tests import environments
from tests.environments import ROOT, UnavailableError

__all__ = ["PACKAGES", "ROOT", "UnavailableError", "make"]

PACKAGES: Final = {
    "fastapi": ("fastapi==0.165.0", "uvicorn[standard]==0.54.0"),
    "mlserver": ("mlserver==1.7.0",),
}


def make(name: str) -> Path:
    """The interpreter of one of PACKAGES' environments.

    Raises:
        UnavailableError: it cannot be made.
    """
    folder = BUILD_DIR / "bench-server-environments" / name
    return environments.make(folder, PACKAGES[name], f"--constraints={ROOT / 'requirements.lock'}")
