"""A disk of a few megabytes, so that a test can fill it and make room again."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@dataclasses.dataclass(frozen=True)
class Disk:
    """A file system of its own, mounted at `path`."""

    path: Path

    def resize(self, kilobytes: int) -> None:
        """Gives it another size; what is on it stays."""
        options = f"remount,size={kilobytes}k"
        subprocess.run(["mount", "-o", options, str(self.path)], check=True, timeout=30)


@contextlib.contextmanager
def mounted(path: Path, kilobytes: int) -> Iterator[Disk]:
    """Mounts an empty disk; skips the test where that is not allowed.

    Args:
        path: the mount point; is made.
        kilobytes: its size.
    """
    if shutil.which("mount") is None:
        pytest.skip("needs the command mount, for a small disk")
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount a small disk: {done.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=30)
