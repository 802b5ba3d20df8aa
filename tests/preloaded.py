"""A Python that has imported TensorFlow already: `python -m module …` without waiting for it.

A command that imports TensorFlow spends most of its time on that (6 s on a quiet machine). One
process imports it once and then forks a child for each command. In place of sys.executable stands
a small program that hands over its arguments, folder, environment and open files, passes signals
on, and ends as the child ends. So a command is still a process of its own, for itself and for
whoever starts it.

    with preloaded.python(folder) as python:
        subprocess.run([python, "-m", "training.train", "--epochs", "1"])
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]

HEAVY = ("tensorflow", "keras", "sklearn.metrics", "matplotlib.figure")
"""What training and export import, and what takes long."""

# Without site and without the environment: it starts in 20 ms. PYTHON* is for the child.
LAUNCHER = """#!{python} -IS
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
words = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(words).to_bytes(8, "big")], [0, 1, 2])
server.sendall(words)
pid = int.from_bytes(server.recv(8), "big")
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(pid, number))
status = server.recv(8)
if not status:
    sys.exit("the preloaded Python is gone")
code = os.waitstatus_to_exitcode(int.from_bytes(status, "big"))
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextlib.contextmanager
def python(folder: Path, imports: Sequence[str] = HEAVY) -> Iterator[str]:
    """Starts the preloaded process; ends it, and what still runs of it, with the block.

    Args:
        folder: receives the program and the socket.
        imports: modules to import beforehand; none of them may touch a device.

    Yields:
        The program to start in place of sys.executable; sys.executable itself where the system has
        no pidfd (it is not Linux).
    """
    if not hasattr(os, "pidfd_open"):
        yield sys.executable
        return
    folder.mkdir(parents=True, exist_ok=True)
    address = os.path.relpath(folder / "socket")  # a socket's name has at most 107 bytes
    launcher = folder / "python"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        launcher.write_text(
            LAUNCHER.format(python=sys.executable, address=str((folder / "socket").resolve()))
        )
        launcher.chmod(0o755)
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.preloaded",
                str(listener.fileno()),
                str(launcher),
                *imports,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
    try:
        yield str(launcher)
    finally:
        server.stdin.close()
        server.wait(30)


def main(listening: int, launcher: str, imports: Sequence[str]) -> NoReturn:
    """Imports, then serves until stdin is closed."""
    for name in imports:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
    listener = socket.socket(fileno=listening)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)  # TensorFlow's destructors would take seconds
        caller, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os.close(0)
            _attend(caller, launcher)
        caller.close()


def _attend(caller: socket.socket, launcher: str) -> NoReturn:
    """Forks the command, tells the caller its end, and kills it if the caller is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, files, _, _ = socket.recv_fds(caller, 8, 3)
    words = b""
    while len(words) < int.from_bytes(head, "big"):
        words += caller.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        caller.close()
        _become(launcher, files, *json.loads(words))
    for file in files:
        os.close(file)
    caller.sendall(pid.to_bytes(8, "big"))
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([ended, caller], [], [])
    if ended not in ready:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        caller.sendall(status.to_bytes(8, "big"))
    os._exit(0)


def _become(
    launcher: str, files: list[int], arguments: list[str], folder: str, environment: dict[str, str]
) -> NoReturn:
    """Does what Python does with these arguments, and ends as it does."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in files:
        if file > 2:
            os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        for number, mode, errors in ((0, "r", None), (1, "w", None), (2, "w", "backslashreplace"))
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    places = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [folder, *filter(None, places), *(p for p in sys.path if p != str(ROOT))]
    sys.executable = launcher
    if arguments[:2] == ["-X", "faulthandler"]:
        faulthandler.enable(sys.stderr)
        arguments = arguments[2:]
    kind, what, *rest = arguments
    sys.argv = [what if kind == "-m" else kind, *rest]
    code = 0
    try:
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        elif kind == "-c":
            exec(what, {"__name__": "__main__"})
        else:
            raise ValueError(f"Expected -m or -c. Received: {arguments}")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        traceback.print_exc()
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if code < 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
