"""One process of the open loop: sends its share of the arrivals, and writes down what became of it.

    python -m loadtest.loops.worker       started by loadtest.loops.open_loop, which talks to it

Reads its order on stdin, says when it is ready, and begins when it is told. Stops, with what it
has, when stdin ends: after Ctrl-C, and when the parent is gone.
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

from foundation import files
from foundation.command_line import InputError
from loadtest.loops.job import Job, job_from_json
from loadtest.loops.sending import Senders
from loadtest.results import samples
from loadtest.results.generator import Meter
from loadtest.results.recording import Recording
from loadtest.traffic import arrivals, workload
from loadtest.traffic.answers import Answers, read_known
from tfs_client import Client, TfsError

SWITCH_S: Final = 0.0005
"""Python hands over between threads that compute after 5 ms, unless told otherwise: a send that is
due would wait as long."""


PR_SET_TIMERSLACK: Final = 29


def sleep_precisely() -> None:
    """Has this thread, and those that it starts, wake when they should; on Linux.

    Linux wakes whoever sleeps up to 50 us late, to wake several at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)


def main() -> int:
    """See the module."""
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
    requests = workload.prepare(client, job.model, job.mix, job.images, job.seed)
    times = arrivals.times(job.plan)
    numbers = arrivals.of_worker(times, number, job.workers)
    for label in job.mix.labels:  # and the connection is there
        client.metadata(model=job.model, label=label)
    meter, kept = Meter(number), _Kept()
    senders = Senders(
        client,
        job.model,
        requests=requests,
        answers=Answers(read_known(job.known) if job.known else None),
        meter=meter,
        keep=kept.new.append,  # safe from any thread
        due_s=times[numbers].tolist(),
        numbers=numbers.tolist(),
        timeout_s=job.timeout_s,
        in_flight=job.in_flight,
    )
    gc.collect()
    gc.freeze()  # what lives as long as the process is not looked at again
    last_due_s = float(times[-1]) if len(times) else 0.0
    print(json.dumps({"ready": True, "last_due_s": last_due_s}), flush=True)
    line = sys.stdin.readline()
    if not line:
        return 1
    start = json.loads(line)
    threading.Thread(target=_stop_at_end_of, args=(sys.stdin, senders), daemon=True).start()
    kept.open(csv, start["begin_unix_s"])
    ended = threading.Event()
    keeper = threading.Thread(target=_keep_keeping, args=(kept, meter, ended))
    meter.begin()
    keeper.start()
    try:
        senders.run(start["begin"], start["begin_unix_s"])
    finally:
        ended.set()
        keeper.join()
    state = dataclasses.asdict(meter.end(senders.most_in_flight))
    content = {"recording": kept.close().to_json(), "state": state}
    files.write(result, json.dumps(content))
    return 0


class _Kept:
    """Samples, on their way to file and recording."""

    def __init__(self) -> None:
        self.new: list[samples.Sample] = []
        self._writer: samples.Writer | None = None
        self._recording = Recording(0.0)

    def open(self, csv: Path, begin_unix_s: float) -> None:
        self._writer = samples.Writer(csv)
        self._recording = Recording(begin_unix_s)

    def move(self) -> None:
        """Writes down what there is."""
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


def _keep_keeping(kept: _Kept, meter: Meter, ended: threading.Event) -> None:
    while not ended.wait(1.0):
        meter.tick()
        kept.move()


def _stop_at_end_of(file: Any, senders: Senders) -> None:
    while file.readline():
        pass
    senders.stop()


if __name__ == "__main__":
    sys.exit(main())
