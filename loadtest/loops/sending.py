"""Sends requests on schedule, whatever the server does meanwhile.

One thread keeps the schedule: it prepares the next request, waits until it is due, hands it to gRPC
and goes on. gRPC's own thread notes the time when an answer arrives, and a third thread reads and
judges it. So a latency contains no work of this process before the sending or after the answer, and
a burst of answers, as at the end of a stall, is timed at the speed of gRPC. When as many requests
are in flight as may be, arrivals wait and are sent late: their latency counts from when they were
due.

The calls are tfs_client's. Its steps are driven here by callbacks, where Client drives them in a
waiting thread and AsyncClient in an event loop. Measured at 300 requests/s with answers after
100 ms: callbacks see 101.0 ms at p50 and 103 at p99. A thread for each request sees 102.0 and 113
(threads wake one after the other, and take 1.5 times the processor time). The event loop sees 102.7
and 118 (its timers are whole milliseconds).
"""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc

from loadtest.results.generator import Meter
from loadtest.results.samples import NOT_SENT, OK, Sample
from loadtest.traffic import workload
from loadtest.traffic.answers import Answers, code_of
from tfs_client import Client, Prediction
from tfs_client.steps import Send, Step, Steps

READ_AFTER_S: Final = 0.03
"""How long an answer waits before it is read. Python runs one thread at a time, so the whole of a
burst is to be timed before the reading of its answers begins."""

PATIENCE_S: Final = 0.2
"""How long the schedule may take to notice that it is to stop."""


@dataclasses.dataclass(kw_only=True, slots=True)
class _Call:
    """One request on its way. Times are time.monotonic()'s."""

    request: workload.Request
    due: float
    start: float = 0.0
    end: float = 0.0
    steps: Steps[Prediction] | None = None
    send: Send | None = None
    future: Any = None
    error: Exception | None = None
    """Why it could not be sent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Share:
    """What one process sends, and when."""

    model: str
    """The servable's name."""
    requests: workload.Workload
    due_s: Sequence[float]
    """When each request is due, in seconds since the begin, ascending."""
    numbers: Sequence[int]
    """Which of the workload's requests each of them is."""
    timeout_s: float
    """Deadline of each request, from its sending."""
    in_flight: int
    """How many requests may be under way at once."""


class Senders:
    """The threads of one process.

    Args:
        client: open; without retries.
        share: of the requests.
        answers: judges the server's.
        meter: of this process.
        keep: called with every sample, from one thread.
    """

    def __init__(
        self,
        client: Client,
        share: Share,
        *,
        answers: Answers,
        meter: Meter,
        keep: Callable[[Sample], Any],
    ):
        self._client, self._share = client, share
        self._answers, self._meter, self._keep = answers, meter, keep
        self._begin = self._begin_unix_s = 0.0
        self._places = threading.Semaphore(share.in_flight)
        self._lock = threading.Lock()
        self._under_way = self.most_in_flight = 0
        self._ended: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._stopped_at = float("inf")

    def run(self, begin: float, begin_unix_s: float) -> None:
        """Sends everything, and returns when the last one is answered or given up.

        Args:
            begin: second 0 on time.monotonic()'s clock.
            begin_unix_s: the same moment on time.time()'s.
        """
        self._begin, self._begin_unix_s = begin, begin_unix_s
        share = self._share
        if share.due_s:
            # A request that has no place in flight by then is not sent.
            self._stopped_at = begin + share.due_s[-1] + share.timeout_s
        reader = threading.Thread(target=self._read_all, name="reader")
        reader.start()
        try:
            for due_s, number in zip(share.due_s, share.numbers):
                if not self._send_when_due(begin + due_s, number):
                    break
            for _ in range(share.in_flight):  # until the last one is answered
                self._places.acquire()
        finally:
            self._ended.put(None)
            reader.join()

    def stop(self) -> None:
        """Sends no more requests than are due now; waits for those under way."""
        self._stopped_at = min(self._stopped_at, time.monotonic())
        self._stop.set()

    def _send_when_due(self, due: float, number: int) -> bool:
        """Prepares, waits for and sends one request; False: no more are to be sent."""
        call = self._prepared(due, number)
        while not self._places.acquire(timeout=PATIENCE_S):
            if time.monotonic() > self._stopped_at:
                if due > self._stopped_at:
                    return False
                self._give_up(call)
                return True
        held_back = time.monotonic() > due and self._under_way >= self._share.in_flight - 1
        while (rest_s := due - time.monotonic()) > 0:
            if self._stop.is_set():
                self._places.release()
                return False
            time.sleep(min(rest_s, PATIENCE_S))
        if held_back and time.monotonic() > self._stopped_at:
            self._places.release()
            self._give_up(call)
            return True
        self._start(call, held_back=held_back)
        return True

    def _prepared(self, due: float, number: int) -> _Call:
        share = self._share
        call = _Call(request=share.requests[number], due=due)
        try:
            steps = workload.steps(self._client, share.model, call.request, share.timeout_s)
            step: Step = next(steps)
            while not isinstance(step, Send):
                step = steps.send(step.wait())
            call.steps, call.send = steps, step.within(share.timeout_s)
        except Exception as error:  # whatever goes wrong is a failed request
            call.error = error
        return call

    def _start(self, call: _Call, *, held_back: bool) -> None:
        """Sends a request that has a place in flight."""
        with self._lock:
            self._under_way += 1
            self.most_in_flight = max(self.most_in_flight, self._under_way)
        call.start = time.monotonic()
        self._meter.sent(call.start - call.due, held_back=held_back)
        try:
            if call.send is not None:
                call.future = call.send.start()
        except Exception as error:  # gRPC's own, as for a channel that is closed
            call.error = error
        if call.future is None:
            self._note(call)
        else:
            call.future.add_done_callback(lambda _: self._note(call))

    def _note(self, call: _Call) -> None:
        """Notes, in gRPC's thread, that the answer is there. The reader does what takes time."""
        call.end = time.monotonic()
        with self._lock:
            self._under_way -= 1
        self._ended.put(call)
        self._places.release()

    def _give_up(self, call: _Call) -> None:
        self._meter.not_sent()
        call.start = call.end = time.monotonic()
        call.steps = call.error = None
        self._ended.put(call)

    def _read_all(self) -> None:
        while (call := self._ended.get()) is not None:
            rest_s = call.end + READ_AFTER_S - time.monotonic()
            if rest_s > 0:
                time.sleep(rest_s)
            self._read(call)

    def _read(self, call: _Call) -> None:
        version, code, details = None, NOT_SENT, "all places in flight were taken until the end"
        try:
            if call.error is not None:
                raise call.error
            if call.steps is not None:
                answer = _result(call.steps, call.future)
                code, details = self._answers.judge(call.request, answer)
                version = answer.version if code == OK else None
        except Exception as error:  # whatever goes wrong is a failed request
            code, details = code_of(error), str(error)
        self._keep(
            Sample(
                start_s=self._begin_unix_s + (call.due - self._begin),
                latency_ms=1000 * (call.end - call.due),
                name=call.request.signature,
                code=code,
                version=version,
                details=details,
                late_ms=1000 * (call.start - call.due),
                label=call.request.label,
            )
        )


def _result(steps: Steps[Prediction], future: Any) -> Prediction:
    """Drives the steps to their end with the answer, or the failure, of the sending.

    Raises:
        TfsError: the call failed.
    """
    try:
        try:
            data = future.result()
        except grpc.RpcError as failure:
            step = steps.throw(failure)
        else:
            step = steps.send(data)
        while True:  # not with a client that sends nothing twice
            step = steps.send(step.wait())
    except StopIteration as end:
        answer: Prediction = end.value
        return answer
