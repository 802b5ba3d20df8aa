"""A closed loop: Locust's users, each of which asks again when it has its answer.

One Locust process; or a master, which collects the samples of several workers here or on other
machines.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Final

from loadtest.loops.job import plain
from loadtest.plan.settings import Settings
from loadtest.results import samples
from loadtest.results.generator import State
from loadtest.results.recording import Recording
from loadtest.results.taken import INTERRUPTED, Taken

ROOT: Final = Path(__file__).resolve().parents[2]

LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")

PORT: Final = 5557
"""Locust's own: where workers of other machines find the master."""

GRACE_S: Final = 20.0
"""How long the generator may take for its start and its end, beyond duration and deadline."""

WORKERS_S: Final = 120.0
"""How long workers of other machines may take to connect."""


def run(settings: Settings, csv: Path, progress: Callable[[float], Any] | None = None) -> Taken:
    """Runs Locust headless in processes of its own, because gevent patches the whole process.

    Args:
        settings: what to do.
        csv: where the samples are written.
        progress: called now and then with the seconds since the first request could begin.

    Returns:
        What was measured; after Ctrl-C too, marked as partial.
    """
    partial = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        states = Path(folder) / "states.json"
        lead, others = _commands(settings, csv.resolve(), states)
        process, talk = stack.enter_context(_process(lead))
        workers = [stack.enter_context(_process(command)) for command in others]
        try:
            _watch(process, settings, csv, progress)
        except KeyboardInterrupt:
            partial.append(INTERRUPTED)
            process.terminate()  # Locust then stops its users and writes what they have measured
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                process.wait(settings.timeout_s + GRACE_S / 2)
        if process.poll() is None:
            process.kill()
        if process.wait() and not partial:
            told = [*(one for one in workers if one[0].poll()), (process, talk)]
            words = _last_words(told[0][1])
            partial.append(f"the load generator ended with {process.returncode}: {words}")
        found, left = _read(states)
    expected = settings.remote_workers or settings.workers
    # By number, not by count: a worker that replaced another one has a number of its own.
    stayed = {one["worker"] for one in found} - set(left)
    gone = sorted({*range(expected), *left} - stayed)
    if gone and not partial:
        partial.append(
            f"{len(gone)} of {len(gone) + len(stayed)} workers ended in the middle: number "
            f"{', '.join(map(str, gone))}; what they had sent until then counts"
        )
    taken = samples.read(csv)
    begin_s = taken[0].start_s if taken else time.time()
    # A closed loop has no lateness: nothing is due.
    known = [State(**{**one, "late": "", "held_back": 0}) for one in found]
    return Taken(taken, Recording.of(taken, begin_s), known, partial)


def _commands(settings: Settings, csv: Path, states: Path) -> tuple[list[str], list[list[str]]]:
    """The commands of the leading process, and of its workers on this machine."""
    locust = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--loglevel", "WARNING"]
    ours = [
        *("--host", settings.target, "--api", settings.api, "--model", settings.model),
        *("--signature", settings.signature, "--label", settings.label, "--batch", settings.batch),
        *("--format", settings.format, "--size", settings.size),
        *("--think-time", settings.think_time, "--seed", str(settings.seed)),
        *("--timeout-s", f"{settings.timeout_s:g}"),
        *("--connection", json.dumps(plain(settings.connection))),
    ]
    for flag, path in (("--images", settings.images), ("--answers", settings.answers)):
        if path is not None:
            ours += [flag, str(path.resolve())]
    lead = [
        *(*locust, *ours, "--headless", "--only-summary", "--exit-code-on-error", "0"),
        *("--users", str(settings.asking), "--spawn-rate", str(settings.asking)),
        *("--stop-timeout", f"{settings.timeout_s + 1:g}"),
        *("--duration-s", f"{settings.seconds:g}"),
        *("--samples", str(csv), "--states", str(states)),
    ]
    if settings.remote_workers:
        wait = ("--expect-workers-max-wait", f"{WORKERS_S:g}")
        lead += ["--master", "--expect-workers", str(settings.remote_workers), *wait]
        return lead, []
    if settings.workers == 1:
        return lead, []
    port = str(_free_port())
    lead += ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
    wait = ("--expect-workers-max-wait", f"{WORKERS_S:g}")
    lead += ["--expect-workers", str(settings.workers), *wait]
    worker = [*locust, *ours, "--worker", "--master-host", "127.0.0.1", "--master-port", port]
    return lead, [worker] * settings.workers


@contextlib.contextmanager
def _process(command: Sequence[str]) -> Any:
    """Runs a process until the end of the block; yields it, and the file of its messages."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as talk:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "LOCUST_WAIT_FOR_WORKERS_REPORT_AFTER_RAMP_UP": "0.1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=talk,
            start_new_session=True,  # Ctrl-C reaches this process, which keeps what there is
        )
        try:
            yield process, talk
        finally:
            if process.poll() is None:  # a worker ends by itself when its master has
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1.0)
                process.kill()
            process.wait()


def _watch(
    process: subprocess.Popen[bytes],
    settings: Settings,
    csv: Path,
    progress: Callable[[float], Any] | None,
) -> None:
    """Reports the progress until the process ends, or is long overdue."""
    begin = start = time.monotonic()
    overdue_s = settings.seconds + settings.timeout_s + GRACE_S
    while process.poll() is None and time.monotonic() - begin < overdue_s:
        time.sleep(0.2)
        if not csv.exists():  # still reading images, or waiting for workers
            start = time.monotonic()
            if settings.remote_workers or settings.workers > 1:
                begin = start
        if progress is not None:
            progress(time.monotonic() - start)


def _read(states: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """The state of each process, and the numbers of the workers that left before the end."""
    if not states.exists():
        return [], []
    content = json.loads(states.read_text(encoding="utf-8"))
    return content["states"], content["left"]


def _last_words(talk: IO[str]) -> str:
    talk.seek(0)
    return " | ".join(talk.read().strip().splitlines()[-5:])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port
