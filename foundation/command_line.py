"""What every command of this project does the same way: errors, exit codes, logging."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import signal
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from foundation.flags import Parser as Parser
from foundation.text import is_unicode as is_unicode, lines as lines, one_line as one_line

_MAKE_ROOM: Final = (
    "Make room there and run the same command again; what was whole before is still there"
)
_GET_PERMISSION: Final = "Take a place that you may read and write, or ask for the permission"
_CHECK_HOST: Final = "Check that it runs, its address, and the network between"
_MORE_FILES: Final = "Raise the limit of open files (ulimit -n), or end other programs"
_REMEDIES: Final = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: "Raise the limit of a file's size (ulimit -f), or take another file system",
    errno.ENAMETOOLONG: "Give a shorter path",
    errno.ENOENT: "Correct the path",
    errno.EISDIR: "Give a file",
    errno.ENOTDIR: "Give a folder",
    errno.EEXIST: "Remove what is there, or give another path",
    errno.ENOTEMPTY: "Empty that folder, or give another path",
    errno.ELOOP: "Correct the links, which lead in a circle",
    errno.EACCES: _GET_PERMISSION,
    errno.EPERM: _GET_PERMISSION,
    errno.EROFS: "Take a place that can be written to",
    errno.EXDEV: "Keep both places on one file system",
    errno.EBUSY: "End what uses it, or unmount it, and run the same command again",
    errno.ETXTBSY: "End what uses it, and run the same command again",
    errno.EIO: "Check the disk (the system's log says more); have a copy of what matters",
    errno.ESTALE: "Mount that file system again, and run the same command again",
    errno.EMFILE: _MORE_FILES,
    errno.ENFILE: _MORE_FILES,
    errno.ENOMEM: "End other programs, or take a machine with more memory",
    errno.EAGAIN: "End other programs, or raise the limit of processes (ulimit -u)",
    errno.EADDRINUSE: "Take another port, or end the program that listens there",
    errno.EADDRNOTAVAIL: "Take an address of this machine",
    errno.ECONNREFUSED: _CHECK_HOST,
    errno.ECONNRESET: _CHECK_HOST,
    errno.EHOSTUNREACH: _CHECK_HOST,
    errno.ENETUNREACH: _CHECK_HOST,
    errno.ETIMEDOUT: _CHECK_HOST,
    errno.EPIPE: "Run it again with a reader that stays until the end",
    errno.ENOEXEC: "Take a program for this machine",
    errno.EINVAL: "Correct the path, or take another file system",
}
"""What to do after an operating system's refusal."""

_OTHER_REMEDY: Final = "See to what the system refuses there, and run the same command again"

_ENOUGH_MEMORY: Final = "Expected enough memory."
_LESS_AT_ONCE: Final = "Take smaller batches or images."

_OF_BROKEN_FILES: Final = (
    *(SyntaxError, ValueError, LookupError, ArithmeticError, EOFError),
    *(struct.error, zlib.error),
)


class InputError(ValueError):
    """A mistake that the user can correct: bad data, a wrong path, a wrong value.

    The message says what was expected, what was received and what to do, in one line.
    """


def run(name: str, body: Callable[[], int]) -> int:
    """Runs a command's body and turns what a person can mend into one line and exit code 2.

    Args:
        name: the command as it is typed, for the error line.
        body: does the work and returns the exit code.

    Returns:
        The body's exit code; 2 after an error that `explained` knows; 130 after Ctrl-C, as a shell
        would report it.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, _on_interrupt) if in_main_thread else None
    try:
        return _told(name, body())
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        text = explained(error)
        if text is None:
            raise
        print(f"{name}: error: {text}", file=sys.stderr)
        return 2
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, before)


def say(text: str) -> None:
    """Prints a command's result, one line or more, and sees that it arrives.

    What is in it of other people's making (names of files, labels, a server's words) cannot move
    the cursor or colour the terminal: see `lines`.

    Raises:
        OSError: it does not (a full disk, a reader that has gone). Nothing more is printed then.
    """
    try:
        print(lines(text), flush=True)
    except OSError:
        _silence()
        raise


def _told(name: str, code: int) -> int:
    """The exit code of a command whose result may still be in a buffer."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader had enough, as `head` has
        _silence()
    except OSError as error:
        _silence()
        text = f"done, but its result could not be printed: {explained(error)}"
        print(f"{name}: error: {text}", file=sys.stderr)
        return code or 1
    return code


def _silence() -> None:
    """Keeps Python from trying once more at its end, which would change the exit code."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def explained(error: Exception) -> str | None:
    """What a person should know of an error that files, settings or the machine have caused.

    That is an InputError, an operating system's refusal (a missing file, no permission, a full
    disk), too little memory, text that is not UTF-8, JSON without bottom, and what TensorFlow and
    Pillow say of files and memory. Neither library is imported for it: an error of theirs means
    that they are there.

    Returns:
        one line; None for any other error, which is a fault of this program.
    """
    if isinstance(error, InputError):
        return one_line(str(error))
    if isinstance(error, OSError):  # Pillow's UnidentifiedImageError is one
        return one_line(_of_the_system(error))
    if isinstance(error, UnicodeError):
        return one_line(
            f"Expected text and names of files in UTF-8. Received: {error}. Rename the file, or "
            "save it as UTF-8."
        )
    if isinstance(error, RecursionError) and "JSON" in str(error):
        return "Expected JSON of some hundred levels at most. Received: more. Mend the file."
    if isinstance(error, MemoryError):
        return one_line(f"{_ENOUGH_MEMORY} Received: {error or 'too little'}. {_LESS_AT_ONCE}")
    if _is_a(error, "tensorflow.python.framework.errors_impl", "OpError"):
        return _tensorflows(error)
    if _is_pillows(error):
        return one_line(
            f"Expected a picture that Pillow reads. Received: {type(error).__name__}: {error}. "
            "Mend or remove the file."
        )
    return None


def _of_the_system(error: OSError) -> str:
    text = str(error)
    if error.errno is None:
        return text  # a library's own words, not the system's
    text = text.rstrip(".")
    if isinstance(error, socket.gaierror):  # its numbers are its own
        return f"{text}. Check the name of the host, and the network."
    return f"{text}. {_REMEDIES.get(error.errno, _OTHER_REMEDY)}."


def is_disk_full(error: Exception) -> bool:
    """Whether there was no room to write, whoever says so."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return _is_a(error, "tensorflow.python.framework.errors_impl", "OpError") and any(
        os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)
    )


def _is_a(error: Exception, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(error, kind)


def _tensorflows(error: Exception) -> str:
    """The line of a message that says something: the last one before the names of graph nodes."""
    text = str(getattr(error, "message", None) or error)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
    nodes = [index for index, line in enumerate(lines) if "[[{{node" in line]
    line = lines[nodes[0] - 1] if nodes and nodes[0] else lines[0]
    line = one_line(re.sub(r"\{\{.*?\}\} ?", "", line)).rstrip(".")
    received = f"Received: {type(error).__name__}: {line}."
    if is_disk_full(error):
        return f"Expected room on the disk. {received} {_MAKE_ROOM}."
    if _is_a(error, "tensorflow.python.framework.errors_impl", "ResourceExhaustedError"):
        return f"{_ENOUGH_MEMORY} {received} {_LESS_AT_ONCE}"
    return (
        f"Expected TensorFlow to be able to do it. {received} TF_CPP_MIN_LOG_LEVEL=0 in the "
        "environment shows its own log."
    )


def _is_pillows(error: Exception) -> bool:
    """Whether it is what Pillow raises of a broken file: that need not be a class of its own."""
    if _is_a(error, "PIL.Image", "DecompressionBombError"):
        return True
    if not isinstance(error, _OF_BROKEN_FILES):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return where.partition(".")[0] == "PIL"


_interrupted = threading.Event()
_held = threading.Event()


def _on_interrupt(number: int, frame: object) -> None:
    first = not _interrupted.is_set()
    _interrupted.set()
    if not (_held.is_set() and first):
        raise KeyboardInterrupt


@contextlib.contextmanager
def held_interrupts() -> Iterator[None]:
    """Within, raise_if_interrupted() alone raises after Ctrl-C; a second Ctrl-C raises at once.

    For work with TensorFlow in the main thread: some of its functions call Python, and end the
    process with a segmentation fault where that raises.
    """
    _held.set()
    try:
        yield
    finally:
        _held.clear()
    raise_if_interrupted()


def raise_if_interrupted() -> None:
    """Raises KeyboardInterrupt if Ctrl-C was pressed since the command began.

    For long loops: Python prints and forgets an interrupt that lands in a destructor, of which
    TensorFlow has many; then only asking again ends the loop.
    """
    if _interrupted.is_set():
        raise KeyboardInterrupt


class _Formatter(logging.Formatter):
    """A message is one line: what a name of a file or a server says cannot forge another one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return lines(super().formatException(ei))


class _Handler(logging.StreamHandler):  # type: ignore[type-arg] # not so on Python 3.10
    """Lines stand above a line that renews itself, and do not cut it in two."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm = sys.modules.get("tqdm")
        if tqdm is None:  # then nothing renews itself
            super().emit(record)
            return
        with tqdm.tqdm.external_write_mode(file=self.stream):
            super().emit(record)


def configure_logging(verbose: bool = False) -> None:
    """Sends INFO (DEBUG if verbose) and above to stderr; called once, in main()."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        _Formatter("%(levelname).1s %(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    )
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True
    )
    for noisy in ("absl", "tensorflow", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
