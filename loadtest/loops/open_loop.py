"""An open loop: requests are sent when they are due, however slow the answers are.

Each worker (loadtest.loops.worker) is a process that sends its share of the arrivals. This module
starts them, has them begin at the same moment, and merges what they measured.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from foundation.command_line import InputError
from loadtest.loops.job import Job, job_to_json
from loadtest.results import samples
from loadtest.results.generator import State
from loadtest.results.recording import Recording
from loadtest.results.taken import INTERRUPTED, Taken

ROOT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 120.0
"""How long a worker may take to read its images."""
LEAD_S: Final = 0.3
"""From the message that says when to begin to that moment."""
GRACE_S: Final = 20.0
"""How long a worker may take beyond its last deadline."""


def run(job: Job, folder: Path, progress: Callable[[float], Any] | None = None) -> Taken:
    """Runs the workers and merges what they measured.

    Args:
        job: what they do.
        folder: receives their files.
        progress: called now and then with the seconds since the begin.

    Returns:
        What was measured; after Ctrl-C too, marked as partial.

    Raises:
        InputError: a worker cannot begin; the message is the worker's.
    """
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(_Worker(job, number, folder)) for number in range(job.workers)
        ]
        partial: list[str] = []
        begin_unix_s = time.time()
        try:
            deadline = time.monotonic() + START_S
            for worker in workers:
                worker.wait_ready(deadline)
            begin = time.monotonic() + LEAD_S
            begin_unix_s = time.time() + LEAD_S
            for worker in workers:
                worker.tell({"begin": begin, "begin_unix_s": begin_unix_s})
            last = begin + workers[0].last_due_s + job.timeout_s + GRACE_S
            while any(worker.running for worker in workers) and time.monotonic() < last:
                time.sleep(0.1)
                if progress is not None:
                    progress(max(0.0, time.monotonic() - begin))
        except KeyboardInterrupt:
            partial.append(INTERRUPTED)
        for worker in workers:
            worker.stop(job.timeout_s + GRACE_S / 2)
        taken = Taken([], Recording(begin_unix_s), [], partial)
        for worker in workers:
            worker.collect(taken)
    taken.samples.sort(key=lambda sample: sample.start_s)
    return taken


def sample_files(folder: Path) -> list[Path]:
    """The files into which the workers write their samples, once a second."""
    return sorted(folder.glob("worker-*.csv"))


class _Worker:
    """One process, as the parent sees it."""

    def __init__(self, job: Job, number: int, folder: Path):
        self.number = number
        self.last_due_s = 0.0
        self._csv = folder / f"worker-{number}.csv"
        self._result = folder / f"worker-{number}.json"
        self._talk = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtest.loops.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._talk,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the parent alone, who ends stdin
        )
        self.tell(
            {
                "job": job_to_json(job),
                "worker": number,
                "csv": str(self._csv.resolve()),
                "result": str(self._result.resolve()),
            }
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._talk):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def tell(self, words: Mapping[str, Any]) -> None:
        """Sends it a line. A worker that is gone is noticed later, by its missing answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()

    def wait_ready(self, deadline: float) -> None:
        """Waits until it has read its images and is connected."""
        assert self._process.stdout is not None
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        said: dict[str, Any] = {"error": f"the load generator ended: {self._last_words()}"}
        if line:
            said = json.loads(line)
        if "error" in said:
            raise InputError(said["error"])
        self.last_due_s = said["last_due_s"]

    def stop(self, patience_s: float) -> None:
        """Stops it, if it has not ended by itself."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def collect(self, taken: Taken) -> None:
        """Adds what it measured."""
        found = samples.read(self._csv)
        taken.samples += found
        if self._result.exists():
            result = json.loads(self._result.read_text(encoding="utf-8"))
            taken.recording.merge(Recording.from_json(result["recording"]))
            taken.states.append(State(**result["state"]))
            return
        taken.recording.merge(Recording.of(found, taken.recording.begin_s))
        if INTERRUPTED not in taken.partial or self._process.returncode:
            code, words = self._process.returncode, self._last_words()
            taken.partial.append(f"worker {self.number} ended with {code}: {words}")

    def _last_words(self) -> str:
        self._talk.seek(0)
        return " | ".join(self._talk.read().strip().splitlines()[-3:])
