"""Virtual environments for packages that the project itself does not need: made on demand, with uv.

Packages that they lack are taken from the project's own environment.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
DEADLINE_S: Final = 300


class UnavailableError(Exception):
    """The environment cannot be made; says why."""


def make(folder: Path, packages: Sequence[str], *flags: str) -> Path:
    """Makes an environment, unless it stands.

    Args:
        folder: where.
        packages: as pip takes them.
        flags: of `uv pip install`.

    Returns:
        Its interpreter.

    Raises:
        UnavailableError: no network, say, or no version for this Python.
    """
    python = (folder / "bin" / "python").absolute()
    made_of = folder / "made-of"
    wanted = " ".join([sys.version, *packages])
    if made_of.exists() and made_of.read_text() == wanted:
        return python
    _uv("venv", "--clear", f"--python={sys.executable}", str(folder))
    _uv("pip", "install", f"--python={python}", *flags, *packages)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
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
