"""Programs in the background: their logs, when they are ready, and their end.

A program that is started here gets SIGKILL from the kernel when
the thread that started it ends, so that even a killed test run leaves none behind.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from tests.cluster.places import HOST, LOGS, RECORD

END_S: Final = 20.0
"""For a node with all that runs on it to end."""

TAIL: Final = 15
"""Lines of a log that an error shows."""


class ClusterError(Exception):
    """The cluster cannot be brought up, or does not do what it should; says why."""


def answers(port: int, path: str, trusted: ssl.SSLContext | None = None) -> bool:
    """Whether a program on this machine answers with 200.

    Args:
        port: on 127.0.0.1.
        path: such as "/healthz".
        trusted: for HTTPS.
    """
    # http.client, because it never asks a proxy.
    if trusted is None:
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
    else:
        connection = http.client.HTTPSConnection(HOST, port, timeout=5, context=trusted)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except http.client.HTTPException as error:
        raise OSError(f"no answer in HTTP: {error!r}") from error
    finally:
        connection.close()


def wait_until(
    what: str,
    ready: Callable[[], bool],
    *,
    deadline_s: float,
    pause_s: float = 0.1,
    why_not: Callable[[], str] = lambda: "",
) -> None:
    """Asks again and again until the answer is yes.

    Args:
        what: "the node to be ready", for the error.
        ready: the question; OSError counts as no.
        deadline_s: for how long.
        pause_s: between two questions.
        why_not: more words for the error.

    Raises:
        ClusterError: not in time.
    """
    started = time.monotonic()
    last: object = "no"
    while time.monotonic() < started + deadline_s:
        try:
            if ready():
                return
        except OSError as error:
            last = error
        time.sleep(pause_s)
    raise ClusterError(
        f"Expected {what} within {deadline_s:.0f} s. Received: {last}. {why_not()}".rstrip()
    )


class Program:
    """A program that runs until stop().

    Args:
        name: for its log and for errors.
        argv: the command.
        environment: all of it. Nothing is inherited, in particular no proxy.
    """

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str]):
        self.name = name
        self.log = LOGS / f"{name}.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL", *argv],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C reaches this process alone, which ends the programs in order.
                start_new_session=True,
            )
        with RECORD.open("a") as record:
            record.write(f"{self.pid} {_start_time(self.pid)}\n")

    @property
    def pid(self) -> int:
        """Its process id, on this machine."""
        return self._process.pid

    def wait_until_ready(self, ready: Callable[[], bool], *, deadline_s: float) -> None:
        """Waits until it is ready.

        Raises:
            ClusterError: it ended, or was not ready in time; the end of its log.
        """

        def alive_and_ready() -> bool:
            code = self._process.poll()
            if code is not None:
                raise ClusterError(
                    f"Expected {self.name} to run. Received: its end, code {code}. {self.tail()}"
                )
            return ready()

        wait_until(
            f"{self.name} to be ready", alive_and_ready, deadline_s=deadline_s, why_not=self.tail
        )

    def tail(self) -> str:
        """The end of its log, for an error."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL:]
        return "\n".join([f"{self.log} ends with:", *lines])

    def kill(self) -> None:
        """Kills it at once: its data is thrown away, so no orderly end is needed."""
        self._process.kill()
        self._process.wait()

    def kill_inner(self) -> None:
        """Ends process 1 of the namespaces that it has made, and with it all that is in them.

        It ends by itself after them: then none of them is left.
        """
        for inner in psutil.Process(self.pid).children():
            inner.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        self.kill()


def kill_recorded() -> int:
    """Kills what an earlier run has recorded and left behind; returns how many."""
    killed = 0
    lines = RECORD.read_text().splitlines() if RECORD.exists() else []
    for line in lines:
        pid, _, started = line.partition(" ")
        # The number alone may be another process's by now.
        if started and _start_time(int(pid)) == started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
                killed += 1
    RECORD.unlink(missing_ok=True)
    return killed


def _start_time(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
