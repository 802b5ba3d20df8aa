"""models.config in a folder, as the rollout writes it: by one operator at a time, and whole.

models.config.history.jsonl      one line a change, for people and for git
.models.config.pending.json      the change under way; gone when its line is written
.models.config.lock              who is at work
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from foundation import files
from foundation.command_line import InputError, explained
from serving import models_config
from serving.fleet.place import EditedMeanwhileError, operator_in_words
from serving.models_config import ModelsConfig

_log = logging.getLogger("serving.rollout")


class ConfigFile:
    """The file, its lock, and the folder beside it: a Place.

    Args:
        path: of models.config; a symbolic link is followed, and stays one.
    """

    def __init__(self, path: Path):
        self.path = path
        self._real = path.resolve()
        self._read = b""

    @property
    def name(self) -> str:
        """Its name in messages."""
        return str(self.path)

    @property
    def note_name(self) -> str:
        """The name in messages of the note of a change."""
        return str(self.beside("pending.json"))

    @property
    def text(self) -> str:
        """The text that was read or written last."""
        return self._read.decode()

    def beside(self, name: str) -> Path:
        """A hidden companion in the same folder, such as .models.config.lock."""
        return self._real.with_name(f".{self._real.name}.{name}")

    def read(self) -> ModelsConfig:
        """What it says now.

        Raises:
            ConfigError: it is not valid; says where, with line and column.
            OSError: it cannot be read.
        """
        self._read = self._real.read_bytes()
        return models_config.read(self.path)

    def write(self, config: ModelsConfig, *, urgent: bool = False) -> None:
        """Replaces the content by one rename, after it is on the disk.

        Args:
            config: what it is to say.
            urgent: where there is no room for a second file, write over this one: that needs none.

        Raises:
            EditedMeanwhileError: the file is not as it was read, or written, last.
            OSError: it cannot be written; it is as it was.
        """
        text = models_config.render(config)
        assert models_config.parse(text) == config, "what is written is what is meant"
        if self._real.read_bytes() != self._read:
            raise EditedMeanwhileError(
                f"Expected {self.path} as it was read a moment ago. Received: another content. "
                "Somebody edits it; look at it, and start again."
            )
        mode = stat.S_IMODE(self._real.stat().st_mode)
        try:
            files.write(self._real, text, durable=True, mode=mode, aside=self.beside("new"))
        except OSError as error:
            if not urgent:
                raise
            text = self._write_over(text)
            _log.warning("%s: wrote over %s itself", explained(error), self.path)
        self._read = text.encode()

    def _write_over(self, text: str) -> str:
        """Writes over the file as it stands; returns what it says then.

        It gets no shorter, so that a server that polls it in between does not read the end of the
        text before as well.

        Raises:
            OSError: it cannot be written; it is as it was.
        """
        content = text.encode().ljust(len(self._read), b"\n")
        with self._real.open("r+b", buffering=0) as file:
            try:
                _write_all(file, content)
                os.fsync(file.fileno())
            except OSError:
                file.seek(0)
                file.write(self._read)
                file.truncate(len(self._read))
                raise
        return content.decode()

    def note(self) -> str | None:
        """The note that put_note wrote; None where there is none."""
        try:
            return self.beside("pending.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def put_note(self, text: str) -> None:
        """Writes a note of what is about to be done, and has it reach the disk."""
        pending, aside = self.beside("pending.json"), self.beside("pending.new")
        files.write(pending, text, durable=True, aside=aside)

    def drop_note(self, line: str = "") -> None:
        """Adds a line to the history, then removes the note."""
        if line:
            self.add_line(line)
        self.beside("pending.json").unlink(missing_ok=True)

    def add_line(self, line: str) -> None:
        """Adds a line to the history, and has it reach the disk."""
        with self._history.open("ab+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and not _ends_with_newline(file):
                line = "\n" + line  # ends the line that a killed command left half written
            try:
                _write_all(file, f"{line}\n".encode())
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise

    def lines(self) -> list[str]:
        """The history, the oldest first."""
        try:
            return self._history.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []

    @property
    def _history(self) -> Path:
        return self._real.with_name(f"{self._real.name}.history.jsonl")

    @contextlib.contextmanager
    def sole_operator(self, about: dict[str, Any]) -> Iterator[None]:
        """Holds the lock, which the system releases even after kill -9.

        Args:
            about: what a second operator is told: who, verb, pid, time.

        Raises:
            InputError: another operator holds it.
        """
        with self._open_lock() as file:
            # Tried again, because `operator` holds the lock for a moment, too.
            if not any(_locked(file, fcntl.LOCK_EX, wait_s) for wait_s in (0.0, 0.01, 0.05)):
                raise InputError(
                    f"Expected to be the only operator of {self.path}. Received: "
                    f"{_told(self.beside('lock'))}. Wait for that command, or end it (it undoes "
                    "what it began), and start again."
                )
            try:
                file.truncate(0)
                _write_all(file, json.dumps(about).encode())
            except OSError as error:  # a full disk: the lock itself needs no room
                _log.warning("who is at work could not be written: %s", explained(error))
            yield

    def _open_lock(self) -> IO[bytes]:
        """The file that is locked.

        On a disk that takes no new file, models.config will do: nobody can make the other one.
        """
        lock = self.beside("lock")
        try:
            return lock.open("ab+", buffering=0)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            return (lock if lock.exists() else self._real).open("rb", buffering=0)

    def operator(self) -> str | None:
        """Who holds the lock now, in words; None where nobody does."""
        try:
            with self.beside("lock").open(encoding="utf-8") as file:
                return None if _locked(file, fcntl.LOCK_SH) else _told(self.beside("lock"))
        except FileNotFoundError:
            return None


def _locked(file: IO[Any], kind: int, wait_s: float = 0.0) -> bool:
    time.sleep(wait_s)
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_all(file: IO[bytes], content: bytes) -> None:
    """Writes to an unbuffered file; where there is no room for all of it, says so."""
    while content:
        content = content[file.write(content) :]


def _ends_with_newline(file: IO[bytes]) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _told(lock: Path) -> str:
    try:
        return operator_in_words(lock.read_text(encoding="utf-8"))
    except OSError:
        return operator_in_words("")
