"""Makes the environment: stages of one line each, and one line where one of them fails."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from foundation import files
from foundation.command_line import InputError, one_line
from foundation.make import made_of
from foundation.make.made_of import CLIENT, COMPLETE, FOLDER, PYTHON
from foundation.text import did_you_mean

LOG: Final = FOLDER / "setup.log"
"""What the programs say."""

_PIP: Final = (str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input")

_OF_PIP: Final = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "no-cache-dir": "UV_NO_CACHE",
}
"""Setting of pip → the variable that tells uv the same."""

_BETWEEN: Final = {"extra-index-url": " ", "find-links": ",", "trusted-host": " "}
"""Settings that have several values: what uv expects between them."""

_A_FAILURE: Final = re.compile("ERROR:|error:|\N{MULTIPLICATION SIGN}")
"""How a line begins from which on pip or uv says why it failed."""

_MOST_SAID: Final = 400
"""Characters of it that are shown."""


class _StageError(Exception):
    """A program failed; the message is what it said of that, in one line."""


def make(lock: str) -> int:
    """Makes .venv anew.

    Args:
        lock: a file of requirements, with hashes.

    Returns:
        0.

    Raises:
        InputError: there is no such lock, .venv is not ours to clear, or a program failed.
    """
    _check(lock)
    with _alone() as held:
        wanted = made_of.wanted(lock)
        if made_of.read() == wanted:  # another one has just made it
            return 0
        begun = time.monotonic()
        COMPLETE.unlink(missing_ok=True)
        if FOLDER.exists():
            _say(f"clearing {FOLDER}\n")
        venv.EnvBuilder(clear=True, symlinks=True).create(FOLDER)
        try:
            _install(lock, held)
        except _StageError as error:
            raise InputError(
                f"Expected to install {lock}. Received: {error} (all of it: {LOG}). Mend that, and "
                "run the same command again: it begins from the beginning."
            ) from error
        files.write(COMPLETE, json.dumps(wanted) + "\n")
        seconds = time.monotonic() - begun
        _say(f"{FOLDER} is complete: {lock}, Python {wanted['python']}, {seconds:.0f} s\n")
    return 0


def _check(lock: str) -> None:
    """Refuses before anything is changed."""
    if not Path(lock).is_file():
        meant = did_you_mean(lock, [str(path) for path in Path().glob("*.lock")])
        raise InputError(f"Expected a lock file. Received: LOCK={lock}, which is none.{meant}")
    if FOLDER.is_symlink() or (FOLDER.exists() and not FOLDER.is_dir()):
        kind = f"a link to {FOLDER.readlink()}" if FOLDER.is_symlink() else "a file"
        raise InputError(
            f"Expected {FOLDER} to be a folder of its own, which may be cleared. Received: {kind}. "
            f"Remove it (rm {FOLDER}), and run the same command again."
        )
    if importlib.util.find_spec("ensurepip") is None:
        raise InputError(
            f"Expected Python's module ensurepip, which brings pip. Received: {sys.executable} "
            "without it. Install it (apt-get install python3-venv), or name another Python: "
            "make setup PYTHON=python3.12"
        )


@contextlib.contextmanager
def _alone() -> Iterator[int]:
    """Waits until nobody else makes the environment.

    Yields:
        a file descriptor. Programs that inherit it keep others waiting as long as they run, also
        after this process was killed.
    """
    folder = os.open(".", os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another one is making the environment: waiting for it\n")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)


def _install(lock: str, held: int) -> None:
    """Installs everything into an empty environment.

    Raises:
        _StageError: a program failed.
    """
    requirements = ("--no-deps", "--require-hashes", "-r", lock)
    _stage(f"pip into {FOLDER}", (str(PYTHON), "-m", "ensurepip", "--default-pip"), held)
    try:
        install, variables = _uv(lock, held), _variables_of_uv()
        _stage(f"{lock} by uv", (*install, "--compile-bytecode", *requirements), held, variables)
    except _StageError as error:
        _say(f"without uv: {error}\n")
        # --force-reinstall: uv may have left half a package
        install, variables = (*_PIP, "install", "--force-reinstall"), {}
        _stage(f"{lock} by pip", (*install, *requirements), held)
    editable = ("--no-deps", "--no-build-isolation", "-e", str(CLIENT))
    _stage(str(CLIENT), (*install, *editable), held, variables)


def _uv(lock: str, held: int) -> tuple[str, ...]:
    """Installs uv as the lock has it; returns the command that installs other things.

    Raises:
        _StageError: the lock has none, or none for this machine, or it cannot be had.
    """
    text = Path(lock).read_text(encoding="utf-8")
    requirement = re.search(r"^uv==.*(?:\n[ \t].*)*", text, re.MULTILINE)
    if requirement is None:
        raise _StageError(f"{lock} does not list it")
    alone = FOLDER / "uv.lock"
    alone.write_text(f"{requirement[0]}\n", encoding="utf-8")
    flags = ("--only-binary", "uv", "--no-deps", "--require-hashes", "-r", str(alone))
    _stage("uv by pip", (*_PIP, "install", *flags), held)
    return (str(FOLDER / "bin" / "uv"), "pip", "install", "--python", str(PYTHON))


def _variables_of_uv() -> dict[str, str]:
    """What pip is set to by its files and by PIP_…, for uv, which reads neither.

    What the environment sets uv to stays.
    """
    command = [*_PIP, "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for section, name, value in re.findall(r"^([a-z:]+)\.([a-z-]+)=(.*)", listed, re.MULTILINE):
        found.setdefault(section, {})[name] = str(ast.literal_eval(value))
    settings = found["global"] | found["install"] | found[":env:"]  # as pip: the last one counts
    variables = {}
    for name in settings.keys() & _OF_PIP.keys():
        between = _BETWEEN.get(name)
        value = settings[name]
        variables[_OF_PIP[name]] = value if between is None else between.join(value.split())
    if "UV_INDEX" in variables:
        # as pip: what has the hash is taken, whichever index it lies on
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in variables.items() if name not in os.environ}


def _stage(
    words: str, command: Sequence[str], held: int, variables: Mapping[str, str] | None = None
) -> None:
    """Runs a program, with one line on stderr: what it does, and how long it took.

    Raises:
        _StageError: it failed.
    """
    begun = time.monotonic()
    on_terminal = sys.stderr.isatty()
    said_from = LOG.stat().st_size if LOG.exists() else 0

    def tell_time() -> None:
        if on_terminal:
            _say(f"{words} … {time.monotonic() - begun:.0f} s", begin="\r")

    _say(f"{words} …")
    try:
        code = _run(command, held, variables or {}, tell_time)
    except OSError as error:  # it is not for this machine, say
        raise _StageError(str(error)) from error
    finally:
        print("" if on_terminal else f" {time.monotonic() - begun:.0f} s", file=sys.stderr)
    if code != 0:
        raise _StageError(_why(said_from) or f"exit code {code}")


def _run(
    command: Sequence[str],
    held: int,
    variables: Mapping[str, str],
    every_second: Callable[[], None],
) -> int:
    """Runs a program, whose words go to LOG; returns its exit code."""
    with LOG.open("ab") as log:
        log.write(f"$ {shlex.join(command)}\n".encode())
        log.flush()
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            pass_fds=(held,),
        ) as process:
            try:
                while process.poll() is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(1)
                    every_second()
            except BaseException:  # Ctrl-C
                process.kill()
                raise
            return process.returncode


def _why(said_from: int) -> str:
    """What the last program said of its failure, in one line."""
    said = LOG.read_bytes()[said_from:].decode(errors="replace").splitlines()
    lines = [line.strip() for line in said if line.strip() and not line.startswith("$ ")]
    first = next((at for at, line in enumerate(lines) if _A_FAILURE.match(line)), -1)
    return one_line(" ".join(lines[first:]))[:_MOST_SAID].rstrip(".")


def _say(text: str, begin: str = "") -> None:
    print(f"{begin}make setup: {text}", end="", file=sys.stderr, flush=True)
