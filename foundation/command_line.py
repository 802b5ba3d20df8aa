"""What every command of this project does the same way: errors, exit codes, logging."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn


class InputError(ValueError):
    """A mistake that the user can correct: bad data, a wrong path, a wrong value.

    The message says what was expected, what was received and what to do, in one line.
    """


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, as all errors of this project are."""

    def error(self, message: str) -> NoReturn:
        """Prints the message and ends the process with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def run(name: str, body: Callable[[], int]) -> int:
    """Runs a command's body and turns what a person can mend into one line and exit code 2.

    Args:
        name: the command as it is typed, for the error line.
        body: does the work and returns the exit code.

    Returns:
        The body's exit code; 2 after an InputError or an operating system's refusal (a missing
        file, no permission, a full disk); 130 after Ctrl-C, as a shell would report it.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, _on_interrupt) if in_main_thread else None
    try:
        return body()
    except (InputError, OSError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, before)


_interrupted = threading.Event()


def _on_interrupt(number: int, frame: object) -> NoReturn:
    _interrupted.set()
    raise KeyboardInterrupt


def raise_if_interrupted() -> None:
    """Raises KeyboardInterrupt if Ctrl-C was pressed since the command began.

    For long loops: Python prints and forgets an interrupt that lands in a destructor, of which
    TensorFlow has many; then only asking again ends the loop.
    """
    if _interrupted.is_set():
        raise KeyboardInterrupt


def configure_logging(verbose: bool = False) -> None:
    """Sends INFO (DEBUG if verbose) and above to stderr; called once, in main()."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(levelname).1s %(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    for noisy in ("absl", "tensorflow", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
