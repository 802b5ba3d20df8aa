"""A file that lines of JSON are appended to, by any number of threads and processes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from tfs_client.background.forks import renew_after_fork
from tfs_client.errors import RequestError

ROTATION_CHECK_S: Final = 1.0
"""Shortest time between two checks whether a log was rotated away, in seconds."""

_log = logging.getLogger(__name__)

Line = TypeVar("Line")
Own = TypeVar("Own", bound="JsonLines[Any]")


class JsonLines(Generic[Line]):
    """Appends dataclass instances to a file, one line of JSON each.

    Threads and processes may share the file, also across a fork: a line is one write to its end,
    which local file systems keep whole (NFS does not). After a rotation the log goes on in a new
    file within a second. Close it, or use it in a `with` block.

    Args:
        path: the file; created if it is missing.

    Raises:
        RequestError: the folder is missing, or the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path).absolute()
        try:
            self._file = self._open()
        except OSError as exc:
            raise RequestError(
                "Expected a file to append to. Received: "
                f"path={str(self.path)!r} ({exc.strerror}); make its folder, or give another path"
            ) from exc
        self._checked_s = time.monotonic()
        self._start = b""
        self._lock = threading.RLock()
        renew_after_fork(self)

    def __call__(self, line: Line) -> None:
        """Writes one line.

        Raises:
            RequestError: the log is closed, or JSON does not have a value, such as NaN.
            OSError: the line could not be written, or the new file not opened after a rotation.
        """
        try:
            text = json.dumps(vars(line), separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as exc:
            raise RequestError(
                f"Expected values that JSON has. Received: {line} ({exc}); convert them"
            ) from exc
        with self._lock:
            if self._file.closed:
                raise RequestError(
                    f"Expected an open log. Received: one of {self.path} that was closed; "
                    "close it after its last line"
                )
            self._follow()
            data = self._start + text.encode() + b"\n"
            written = os.write(self._file.fileno(), data)
            # The rest of a torn line must not follow other processes' lines, so the line ends here.
            self._start = b"" if written == len(data) else b"\n"
        if written < len(data):
            raise OSError(
                f"Expected {len(data)} bytes to be written to {self.path}. "
                f"Received: {written}; is the disk full?"
            )

    def close(self) -> None:
        """Closes the file; closing twice is fine."""
        with self._lock:
            self._file.close()

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Any:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        file = os.fdopen(os.open(self.path, flags, 0o600), "ab", buffering=0)
        if os.fstat(file.fileno()).st_mode & 0o004:
            _log.warning("%s can be read by everybody on this machine: chmod o-r", self.path)
        return file

    def _follow(self) -> None:
        """Opens the path anew if it is another file now, or missing. The lock is held."""
        now = time.monotonic()
        if now < self._checked_s + ROTATION_CHECK_S:
            return
        there = None
        with contextlib.suppress(FileNotFoundError):
            there = self.path.stat()
        if there is None or not os.path.samestat(there, os.fstat(self._file.fileno())):
            rotated, self._file, self._start = self._file, self._open(), b""
            rotated.close()
        self._checked_s = now
