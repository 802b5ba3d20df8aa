"""One process of the open loop: sends its share of the arrivals, and writes what it measured.

    python -m loadtest.loops.worker       started by loadtest.loops.open_loop

Reads its order on stdin, says on stdout that it is ready, and begins when stdin says when. When
stdin ends, after Ctrl-C or because the parent is gone, it stops and keeps what it has.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

from foundation.command_line import InputError
from foundation.figures import write_json
from loadtest.loops.job import Job, job_from_json
from loadtest.loops.sending import Senders, Share
from loadtest.results import samples
from loadtest.results.generator import Meter
from loadtest.results.recording import Recording
from loadtest.traffic import arrivals, workload
from loadtest.traffic.answers import Answers, read_known
from tfs_client import Client, TfsError

SWITCH_S: Final = 0.0005
"""After how long Python switches between threads that compute; by default 5 ms, which a send that
is due would have to wait."""

PR_SET_TIMERSLACK: Final = 29


def sleep_precisely() -> None:
    """Lets this thread, and those that it starts, wake on time; on Linux.

    By default Linux wakes a sleeping thread up to 50 us late, so as to wake several at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)


def main() -> int:
    """Runs one worker; see the module."""
    sleep_precisely()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_S)
    order = json.loads(sys.stdin.readline())
    job, number = job_from_json(order["job"]), order["worker"]
    try:
        with job.client() as client:
            return _work(job, number, client, Path(order["csv"]), Path(order["result"]))
    except (InputError, TfsError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 2


def _work(job: Job, number: int, client: Client, csv: Path, result: Path) -> int:
    meter, kept = Meter(number), _Kept()
    senders, last_due_s = _senders(job, client, meter, kept)
    gc.collect()
    gc.freeze()  # the collector never looks again at what stays until the end
    print(json.dumps({"ready": True, "last_due_s": last_due_s}), flush=True)
    line = sys.stdin.readline()
    if not line:
        return 1
    start = json.loads(line)
    threading.Thread(target=_stop_at_end_of, args=(sys.stdin, senders), daemon=True).start()
    kept.open(csv, start["begin_unix_s"])
    ended = threading.Event()
    keeper = threading.Thread(target=_move_every_second, args=(kept, meter, ended))
    meter.begin()
    keeper.start()
    try:
        senders.run(start["begin"], start["begin_unix_s"])
    finally:
        ended.set()
        keeper.join()
    state = dataclasses.asdict(meter.end(senders.most_in_flight))
    write_json(result, {"recording": kept.close().to_json(), "state": state})
    return 0


def _senders(job: Job, client: Client, meter: Meter, kept: _Kept) -> tuple[Senders, float]:
    """Everything that is to be sent, and the second at which the last request of all is due."""
    requests = workload.prepare(client, job.model, job.mix, job.images, job.seed)
    times = arrivals.times(job.plan)
    numbers = arrivals.of_worker(times, meter.worker, job.workers)
    for label in job.mix.labels:  # opens the connection
        client.metadata(model=job.model, label=label)
    share = Share(
        model=job.model,
        requests=requests,
        due_s=times[numbers].tolist(),
        numbers=numbers.tolist(),
        timeout_s=job.timeout_s,
        in_flight=job.in_flight,
    )
    answers = Answers(read_known(job.known) if job.known else None)
    keep = kept.new.append  # safe from any thread
    senders = Senders(client, share, answers=answers, meter=meter, keep=keep)
    return senders, float(times[-1]) if len(times) else 0.0


class _Kept:
    """Samples on their way into the file and the recording."""

    def __init__(self) -> None:
        self.new: list[samples.Sample] = []
        self._writer: samples.Writer | None = None
        self._recording = Recording(0.0)

    def open(self, csv: Path, begin_unix_s: float) -> None:
        self._writer = samples.Writer(csv)
        self._recording = Recording(begin_unix_s)

    def move(self) -> None:
        """Writes and counts the samples that are new."""
        assert self._writer is not None
        count = len(self.new)
        for sample in self.new[:count]:
            self._writer.write(sample)
            self._recording.add(sample)
        del self.new[:count]
        self._writer.flush()

    def close(self) -> Recording:
        self.move()
        assert self._writer is not None
        self._writer.close()
        return self._recording


def _move_every_second(kept: _Kept, meter: Meter, ended: threading.Event) -> None:
    while not ended.wait(1.0):
        meter.tick()
        kept.move()


def _stop_at_end_of(file: Any, senders: Senders) -> None:
    while file.readline():
        pass
    senders.stop()


if __name__ == "__main__":
    sys.exit(main())
