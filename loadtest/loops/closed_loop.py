"""A closed loop: Locust's users, each of which asks again when it has its answer.

Knows nothing about reports.
"""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from loadtest.loops.job import plain
from loadtest.results import samples
from loadtest.results.generator import State
from loadtest.results.recording import Recording
from loadtest.results.taken import Taken
from loadtest.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
GRACE_S: Final = 20.0
"""How long the generator may take beyond duration and deadline, for its start and its end."""

log = logging.getLogger("loadtest")


def run(settings: Settings, csv: Path, progress: Callable[[float], Any] | None = None) -> Taken:
    """Runs Locust headless in a process of its own, because gevent patches the whole process.

    Args:
        settings: what to do.
        csv: where the users write their samples.
        progress: told the seconds since the first request could begin, now and then.

    Returns:
        What was taken; after Ctrl-C too, marked as partial.
    """
    command = [
        *(sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("grpc_user.py"))),
        *("--headless", "--only-summary", "--loglevel", "WARNING", "--exit-code-on-error", "0"),
        *("--host", settings.target, "--duration-s", f"{settings.seconds:g}"),
        *("--users", str(settings.asking), "--spawn-rate", str(settings.asking)),
        *("--stop-timeout", f"{settings.timeout_s + 1:g}", "--model", settings.model),
        *("--signature", settings.signature, "--label", settings.label, "--batch", settings.batch),
        *("--format", settings.format, "--size", settings.size),
        *("--timeout-s", f"{settings.timeout_s:g}", "--seed", str(settings.seed)),
        *("--samples", str(csv.resolve())),
        *("--connection", json.dumps(plain(settings.connection))),
    ]
    for flag, path in (("--images", settings.images), ("--answers", settings.answers)):
        if path is not None:
            command += [flag, str(path.resolve())]
    partial = []
    before_s, start = _children_cpu_s(), time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as talk:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=talk,
            start_new_session=True,  # Ctrl-C reaches this process, which keeps what there is
        )
        try:
            _watch(process, settings, csv, progress)
        except KeyboardInterrupt:
            partial.append("interrupted")
            process.terminate()  # Locust then stops its users, who write down what they have
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                process.wait(settings.timeout_s + GRACE_S / 2)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        if process.returncode and not partial:
            talk.seek(0)
            last = " | ".join(talk.read().strip().splitlines()[-5:])
            partial.append(f"the load generator ended with {process.returncode}: {last}")
    seconds = time.monotonic() - start
    taken = samples.read(csv)
    begin_s = taken[0].start_s if taken else time.time()
    share = (_children_cpu_s() - before_s) / seconds
    state = State(worker=0, sent=len(taken), cpu_share=share, most_in_flight=settings.asking)
    return Taken(taken, Recording.of(taken, begin_s), [state], partial)


def _watch(
    process: subprocess.Popen[bytes],
    settings: Settings,
    csv: Path,
    progress: Callable[[float], Any] | None,
) -> None:
    """Watches the time go by until the process ends, or is long overdue."""
    begin = start = time.monotonic()
    overdue_s = settings.seconds + settings.timeout_s + GRACE_S
    while process.poll() is None and time.monotonic() - begin < overdue_s:
        time.sleep(0.2)
        if not csv.exists():  # still reading images
            start = time.monotonic()
        if progress is not None:
            progress(time.monotonic() - start)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
