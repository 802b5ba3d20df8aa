"""One call, from bytes to bytes: attempts, pauses, hedges, the circuit, and the observers.

As steps (steps.py), so that a thread and an event loop run the same code.
"""

from __future__ import annotations

import asyncio
import logging
import operator
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from tfs_client.background.forks import Grpc
from tfs_client.call.about import About, Settings, blocked, late
from tfs_client.call.channel import METHODS, check_no_secrets, checked_metadata
from tfs_client.call.identity import Tokens
from tfs_client.call.observer import Call, Observer
from tfs_client.errors import (
    CallError,
    ClosedClientError,
    ForkedClientError,
    LabelNotFoundError,
    RequestError,
)
from tfs_client.failures.codes import Again, again_after, from_rpc_error
from tfs_client.failures.policy import (
    LOST_PAUSE_S,
    MOST_NOT_BEGUN,
    Budget,
    Circuit,
    Losses,
    says_something,
)
from tfs_client.steps import Metadata, Pause, Send, Start, Steps, WaitAny

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_WITH_CIRCUIT = frozenset(METHODS) - {"GetModelStatus", "HandleReloadConfigRequest"}
"""An operator's calls are never held back."""


class _Failures:
    """What went wrong in one call so far, as far as it bears on sending it again."""

    __slots__ = ("losses", "not_begun")

    def __init__(self, losses: Losses | None):
        self.losses = Losses() if losses is None else losses
        self.not_begun = 0


class Sender:
    """Sends for one client; all its threads or tasks use it.

    Args:
        settings: of the client.
        stub: method path to gRPC's multi-callable; asked once for each method.
    """

    def __init__(self, settings: Settings, stub: Callable[[str], Any]):
        self.settings = settings
        self.closed = False
        self.used = False
        self.check_loop: Callable[[], None] | None = None
        """Refuses a call in another event loop than the client's."""
        self.stub_for = stub
        self._stubs: dict[str, Any] = {}
        self._pid = os.getpid()
        self._budget = Budget(settings.retry)
        self._circuits: dict[str, Circuit] = {}
        self._metadata: Metadata | None = settings.metadata or None
        self._tokens = settings.token and Tokens(settings.token, settings.target)

    def exchange(
        self, about: About, request: bytes, read: Callable[[bytes], Answer]
    ) -> Steps[tuple[Answer, float]]:
        """Sends the request and reads the answer; gives it with the seconds that it took.

        Args:
            about: the call.
            request: its bytes.
            read: bytes to answer; what it raises is the call's error.

        Raises:
            RequestError: the client was closed, or belongs to another process or event loop.
            CallError: all attempts failed; the error of the last one.
        """
        self.check_usable()
        if self.check_loop is not None:
            self.check_loop()
        start = time.perf_counter()
        metadata, call = self._metadata, None
        if self.settings.observers or self._tokens or about.metadata:
            token = (yield from self._tokens.ask(about)) if self._tokens else ""
            metadata, call = self._prepare(about, request, token)
        try:
            if call is not None:
                self.notify(operator.methodcaller("call_started", call))
                metadata = call.metadata or None
                if self.settings.plain_text:
                    check_no_secrets(call.metadata, self.settings.target)
            data = yield from self._attempts(about, request, metadata, call)
            if call is not None:
                call.answer_bytes = len(data)
            answer = read(data)
        except BaseException as error:
            if call is not None:
                call.error = error
                self._end(call, start)
            raise
        latency_s = time.perf_counter() - start
        if call is not None:
            call.version = getattr(answer, "version", 0)
            self._end(call, start)
        return answer, latency_s

    def close(self) -> None:
        """Refuses calls from now on."""
        self.closed = True
        if self._tokens:
            self._tokens.close()

    def check_usable(self) -> None:
        """Refuses a client that was closed, or that another process opened.

        Raises:
            ClosedClientError: it was closed.
            ForkedClientError: it was used before a fork, or gRPC does not work in this process.
        """
        if self.closed:
            raise ClosedClientError(
                "Expected an open client. Received: a closed one; open a new one"
            )
        if Grpc.lost:
            raise ForkedClientError(
                "Expected a process in which gRPC works. Received: one that was forked "
                f"{Grpc.lost}, or start the process by spawning"
            )
        if self._pid != os.getpid():
            if self.used:
                raise ForkedClientError(
                    f"Expected a client opened in this process ({os.getpid()}). Received: one of "
                    f"process {self._pid}, from before a fork; open one in each process, after "
                    "the fork"
                )
            self._pid = os.getpid()  # it was only made before the fork

    def notify(self, tell: Callable[[Observer], None]) -> None:
        """Tells every observer; what one of them raises is logged."""
        for observer in self.settings.observers:
            _tell(observer, tell)

    def _attempts(
        self, about: About, request: bytes, metadata: Metadata | None, call: Call | None
    ) -> Steps[bytes]:
        """Sends until one attempt is answered, or there is to be no other."""
        circuit = self._circuit(about)
        stub = self._stubs.get(about.method)
        if stub is None:
            self.used = True
            stub = self._stubs[about.method] = self.stub_for(METHODS[about.method])
        settings = self.settings
        hedge_after_s = None if about.once else settings.hedge_after_s
        failures: _Failures | None = None
        self._budget.deposit()
        attempts = 0
        while True:
            left_s = self._check_may_send(about, attempts, circuit)
            attempts += 1
            if call is not None:
                call.attempts += 1
            send = Send(stub, request, left_s, metadata, settings.wait_for_ready or None)
            try:
                if hedge_after_s is None or (failures is not None and failures.losses.count):
                    data: bytes = yield send
                else:
                    failures = failures or _Failures(about.losses)
                    data = yield from self._hedged(about, send, hedge_after_s, call, failures)
            except (Exception, asyncio.CancelledError) as failure:
                error = self._call_error(about, failure)
                error.attempts = attempts
                failures = failures or _Failures(about.losses)
                pause_s = self._pause_after(about, error, circuit, call, failures)
                if pause_s is None:
                    raise error from failure
            else:
                if circuit is not None:
                    circuit.succeeded()
                return data
            yield Pause(pause_s)

    def _check_may_send(self, about: About, attempts: int, circuit: Circuit | None) -> float:
        """The seconds that are left for the next attempt.

        Raises:
            DeadlineExceededError: none are left.
            CircuitOpenError: the servable is left alone now.
        """
        left_s = about.end - time.monotonic()
        if left_s <= 0:
            raise late(self.settings.target, about, attempts)
        if circuit is not None and (reason := circuit.blocked()):
            raise blocked(self.settings.target, about, reason)
        return left_s

    def _call_error(self, about: About, failure: BaseException) -> CallError:
        """The error for what gRPC raised over one attempt; raises what is no failure of the call.

        Raises:
            ClosedClientError: the client was closed meanwhile, which ends what is under way.
            asyncio.CancelledError: the caller's task was cancelled.
            RequestError: gRPC could not send it.
        """
        if isinstance(failure, asyncio.CancelledError):
            if not _task_is_cancelled():
                self.check_usable()  # grpc.aio cancels what is under way on a closed channel
            raise failure
        self.check_usable()
        if not isinstance(failure, grpc.RpcError):  # of a channel that is closed at this moment
            raise RequestError(
                f"Expected gRPC to send {about.method}. Received: {failure}"
            ) from failure
        error = from_rpc_error(
            failure,
            target=self.settings.target,
            call=about.method,
            timeout_s=about.timeout_s,
        )
        if isinstance(error, LabelNotFoundError) and about.servable is not None:
            error.hint = (
                f"the server has no label {about.servable.label!r} of model "
                f"{about.servable.model!r}, or no such model: compare both names with its "
                "models.config"
            )
        return error

    def _pause_after(
        self,
        about: About,
        error: CallError,
        circuit: Circuit | None,
        call: Call | None,
        failures: _Failures,
    ) -> float | None:
        """Reports a failed attempt; the seconds until the next one, None if there is to be none."""
        if circuit is not None:
            _report(circuit, error)
        pause_s = self._pause_s(about, error, failures)
        if call is not None:
            self.notify(operator.methodcaller("attempt_failed", call, error, pause_s))
        if pause_s is not None:
            logger.debug("%s; again in %.3f s", error, pause_s)
        return pause_s

    def _hedged(
        self,
        about: About,
        send: Send,
        hedge_after_s: float,
        call: Call | None,
        failures: _Failures,
    ) -> Steps[bytes]:
        """One attempt, and a second one if the first is slow; the first answer counts."""
        left_s = send.timeout_s
        futures = [(yield Start(send))]
        try:
            done = yield WaitAny(futures, min(hedge_after_s, left_s))
            if not done and hedge_after_s < left_s and self._budget.withdraw():
                futures.append((yield Start(send.within(left_s - hedge_after_s))))
                if call is not None:
                    call.attempts += 1
            while True:
                for future in done:
                    failure = future.exception()
                    if failure is None:
                        answer: bytes = future.result()
                        return answer
                    if len(futures) == 1:
                        raise failure
                    futures.remove(future)
                    if again_after(self._call_error(about, failure)) is Again.LOST:
                        failures.losses.count += 1
                done = yield WaitAny(futures, left_s)
        finally:
            for future in futures:
                _dismiss(future)

    def _pause_s(self, about: About, error: CallError, failures: _Failures) -> float | None:
        again = again_after(error)
        left_s = about.end - time.monotonic()
        if again is Again.NOT_BEGUN and failures.not_begun < MOST_NOT_BEGUN:
            # Even a reload may be sent again: nothing has come of it.
            pause_s = failures.not_begun * self.settings.retry.backoff_s
            failures.not_begun += 1
            return pause_s if pause_s < left_s else None
        if again is Again.LOST:
            failures.losses.count += 1
            if failures.losses.too_many:
                error.hint = (
                    f"{failures.losses.count} connections were lost while this request was under "
                    "way, so nobody else is asked it: look what ended the servers"
                )
                return None
        if about.once or about.method == "HandleReloadConfigRequest":
            return None  # a reload may have been carried out, and another one since
        found_s = self.settings.retry.pause_s(error, error.attempts - failures.not_begun)
        if found_s is not None and again is Again.LOST:
            found_s = max(found_s, LOST_PAUSE_S)
        if found_s is None or found_s >= left_s:
            return None
        return found_s if self._budget.withdraw() else None

    def _circuit(self, about: About) -> Circuit | None:
        servable, breaker = about.servable, self.settings.breaker
        if servable is None or breaker is None or about.once or about.method not in _WITH_CIRCUIT:
            return None
        circuit = self._circuits.get(servable.name)
        if circuit is None:
            made = Circuit(breaker, f"{servable.name} at {self.settings.target}")
            circuit = self._circuits.setdefault(servable.name, made)
        return circuit

    def _prepare(
        self, about: About, request: bytes, token: str
    ) -> tuple[Metadata | None, Call | None]:
        """The metadata to send, and the record for observers if there are any."""
        own = checked_metadata(about.metadata)
        if self.settings.plain_text:
            check_no_secrets(own, self.settings.target)
        metadata = [*self.settings.metadata, *own]
        if token:
            metadata += checked_metadata([("authorization", f"Bearer {token}")])
        if not self.settings.observers:
            return metadata or None, None
        servable = about.servable
        call = Call(
            method=about.method,
            target=self.settings.target,
            model=servable.model if servable else "",
            label=servable.label if servable else None,
            asked_version=servable.version if servable else None,
            signature=about.signature,
            request_bytes=len(request),
            metadata=metadata,
        )
        return None, call

    def _end(self, call: Call, start: float) -> None:
        call.latency_s = time.perf_counter() - start
        self.notify(lambda observer: observer.call_ended(call))


def _task_is_cancelled() -> bool:
    """Whether somebody cancelled this very task; unknown, so False, before Python 3.11."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is not None and cancelling() > 0


def _tell(observer: Observer, tell: Callable[[Observer], None]) -> None:
    try:
        tell(observer)
    except Exception:  # the call goes on
        logger.exception("observer %r failed; the call goes on", observer)


def _report(circuit: Circuit, error: CallError) -> None:
    if says_something(error):
        circuit.failed(error)
    else:
        circuit.succeeded()


def _dismiss(future: Any) -> None:
    """Gives up an attempt; if it still fails, its error is fetched, so that none is logged."""
    future.cancel()
    future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
