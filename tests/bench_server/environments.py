"""Environments of their own for servers that the project does not need: made on demand.

Beside the project's pins: the packages of its lock file in the lock's versions, and TensorFlow from
the project's environment itself, so that all servers compute with the same one.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from training.figures import BUILD_DIR

ROOT: Final = Path(__file__).parents[2]

PACKAGES: Final = {
    "fastapi": ("fastapi==0.165.0", "uvicorn[standard]==0.54.0"),
    "mlserver": ("mlserver==1.7.0",),
}

DEADLINE_S: Final = 300


class UnavailableError(Exception):
    """The environment cannot be made; says why."""


def make(name: str) -> Path:
    """Makes an environment, unless it stands.

    Args:
        name: one of PACKAGES.

    Returns:
        Its interpreter.

    Raises:
        UnavailableError: no network, say, or no version for this Python.
    """
    folder = BUILD_DIR / "bench-server-environments" / name
    python = (folder / "bin" / "python").absolute()
    made_of = folder / "made-of"
    wanted = " ".join([sys.version, *PACKAGES[name]])
    if made_of.exists() and made_of.read_text() == wanted:
        return python
    lock = ROOT / "requirements.lock"
    _uv("venv", "--clear", f"--python={sys.executable}", str(folder))
    _uv("pip", "install", f"--python={python}", f"--constraints={lock}", *PACKAGES[name])
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # Written last, so that half an environment is made again.
    made_of.write_text(wanted)
    return python


def _uv(*arguments: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    try:
        done = subprocess.run(
            [str(uv), "--quiet", *arguments],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(str(error)) from error
    if done.returncode != 0:
        raise UnavailableError(" ".join(done.stderr.split()))
