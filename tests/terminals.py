"""A program on a terminal of its own: a real pty, of a given size."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def on_terminal(
    command: Sequence[str],
    *,
    columns: int = 80,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    timeout_s: float = 60.0,
) -> tuple[int, str]:
    """Runs a command whose stderr is a terminal; stdout is thrown away.

    Returns:
        its exit code, and everything that was written to the terminal.
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    usual = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**usual, "TERM": "xterm", "PYTHONPATH": str(ROOT), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=its,
    )
    os.close(its)
    deadline = time.monotonic() + timeout_s
    written = b""
    try:
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while piece := os.read(ours, 65536):
                written += piece
                assert time.monotonic() < deadline, written
        return process.wait(timeout_s), written.decode()
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
            process.wait()


def python(code: str, **how: object) -> tuple[int, str]:
    """The same for a few lines of Python."""
    return on_terminal([sys.executable, "-c", code], **how)  # type: ignore[arg-type]


def frames(written: str) -> list[str]:
    """What a line that renews itself showed, one after the other, without spaces at the ends."""
    parts = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", written))
    return [part.strip() for part in parts if part.strip()]
