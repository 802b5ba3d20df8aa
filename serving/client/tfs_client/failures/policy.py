"""When a failed call is sent again, and when nothing is sent to a server for a while.

The settings (`Retry`, `Breaker`) are frozen. The state behind them (`Budget`, `Circuit`) belongs to
one client and may be used by several threads.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import threading
import time
from typing import Final

from tfs_client.errors import (
    CallError,
    CancelledError,
    CircuitOpenError,
    DeadlineExceededError,
    OverloadedError,
    RequestError,
    ServerError,
    UnavailableError,
)
from tfs_client.failures.codes import Again, again_after

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retry:
    """How a call that failed is sent again, within the call's own deadline.

    Only calls that change nothing on the server are sent again (all but `reload`), and only after
    failures that may pass: a connection refused, and, once, a server that is full, or a connection
    lost while the request was under way. When that has happened twice to a request, no servable is
    asked it any more, fallbacks included: it may be what ends the servers. A request whose time is
    up, here or in a proxy, is not sent again: it was being computed.

    The longest pause doubles each time; the pause itself is drawn at random from zero to it ("full
    jitter": M. Brooker, Exponential Backoff and Jitter, 2015), so that callers who failed together
    do not come back together.

    Raises:
        RequestError: a number out of range.
    """

    attempts: int = 3
    """Attempts in all, the first one included; 1 means that nothing is sent again."""
    overload_attempts: int = 2
    """The same after a server says that it is full, since more attempts add to its load."""
    backoff_s: float = 0.05
    """Upper end of the first pause, in seconds."""
    max_backoff_s: float = 1.0
    """Upper end of any pause, in seconds."""
    budget_ratio: float = 0.1
    """Retries and hedges allowed for each call, in the long run, for the whole client: when all
    calls fail, the server gets a tenth more of them, not three times as many."""
    budget_burst: int = 10
    """Retries allowed at once after a quiet time."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        for name in ("attempts", "overload_attempts", "budget_burst"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise _cannot_be(self, name, "a whole number above 0")
        for name in ("backoff_s", "max_backoff_s", "budget_ratio"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise _cannot_be(self, name, "a number, 0 or more")

    def pause_s(self, error: CallError, attempts: int) -> float | None:
        """Seconds to wait before the next attempt; None if there is to be none.

        Args:
            error: of the last attempt.
            attempts: how many there were.
        """
        again = again_after(error)
        if attempts >= self.attempts or again is Again.NEVER:
            return None
        if again is Again.FULL and attempts >= self.overload_attempts:
            return None
        import random  # here, as most callers never need it and its import takes time

        ceiling = min(self.max_backoff_s, self.backoff_s * 2 ** (attempts - 1))
        return random.uniform(0, ceiling)


MOST_LOST: Final = 2
"""So many connections may be lost while one request is under way, over all servers and servables
that are asked it: then the request may be what ends them, and nobody else is asked it."""

LOST_PAUSE_S: Final = 0.02
"""The shortest pause after a connection was lost: an attempt at once may meet the same connection,
which would count as a second loss."""

MOST_NOT_BEGUN: Final = 2
"""So many attempts of a call that the server has not begun are not counted; from the next one on
they are like any other."""


class Losses:
    """How many connections were lost while one request was under way.

    One call's, or that of all servables on its route.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    @property
    def too_many(self) -> bool:
        """Whether the request is to be sent to nobody any more."""
        return self.count >= MOST_LOST


class Budget:
    """Bounds a client's retries and hedges to a share of its calls (a token bucket)."""

    def __init__(self, retry: Retry):
        self._ratio = retry.budget_ratio
        self._burst = float(retry.budget_burst)
        self._tokens = self._burst
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """A call was made, which allows a fraction of a retry more."""
        if self._tokens < self._burst:
            with self._lock:
                self._tokens = min(self._burst, self._tokens + self._ratio)

    def withdraw(self) -> bool:
        """Takes one retry, if one is allowed; returns whether it was."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Breaker:
    """When nothing is sent to a servable that keeps failing, so that callers get errors at once.

    Each servable is counted on its own, so that a model that fails does not stop calls to another.
    The circuit opens when a share of `failure_ratio` of the last `window` attempts failed (of at
    least `min_calls`), because there was no answer, or none in time, or the server was full or
    broken. For `open_s` seconds nothing is sent then; after that, one call is sent, and its outcome
    closes the circuit or keeps it open.

    Raises:
        RequestError: a number out of range.
    """

    window: int = 20
    min_calls: int = 10
    failure_ratio: float = 0.5
    open_s: float = 1.0

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if not 0 < self.failure_ratio <= 1:
            raise _cannot_be(self, "failure_ratio", "a share above 0, at most 1")
        if not 0 < self.min_calls <= self.window:
            raise _cannot_be(self, "min_calls", f"1 to window={self.window}")
        if not 0 < self.open_s < float("inf"):
            raise _cannot_be(self, "open_s", "a number of seconds above 0")


class Circuit:
    """The breaker's state for one servable.

    Args:
        breaker: its settings.
        name: of the servable and the server, for the log.
    """

    def __init__(self, breaker: Breaker, name: str):
        self._breaker = breaker
        self._name = name
        self._failed: collections.deque[bool] = collections.deque(maxlen=breaker.window)
        self._lock = threading.Lock()
        self._closed = True
        self._open_until = 0.0
        self._probe_until = 0.0
        self._reason = ""

    def blocked(self) -> str:
        """Why nothing may be sent now; empty if a call may be sent."""
        if self._closed:
            return ""
        with self._lock:
            now = time.monotonic()
            left_s = self._open_until - now
            if self._closed or (left_s <= 0 and now >= self._probe_until):
                # A probe that never reports back blocks no longer than the circuit does.
                self._probe_until = now + self._breaker.open_s
                return ""
            return f"{self._reason}; the circuit stays open for another {max(0.0, left_s):.1f} s"

    def succeeded(self) -> None:
        """An attempt was answered, perhaps with a refusal."""
        if self._closed:
            self._failed.append(False)
            return
        with self._lock:
            self._failed.clear()
            self._closed = True
        logger.info("%s answers again", self._name)

    def failed(self, error: CallError) -> None:
        """An attempt failed in a way that says something about the server."""
        with self._lock:
            was_closed = self._closed
            self._failed.append(True)
            failures, calls = sum(self._failed), len(self._failed)
            breaker = self._breaker
            if was_closed and (
                calls < breaker.min_calls or failures < breaker.failure_ratio * calls
            ):
                return
            self._reason = (
                f"{failures} of its last {calls} attempts failed, the last with {error.code.name}"
            )
            self._closed = False
            self._probe_until = 0.0
            self._open_until = time.monotonic() + breaker.open_s
        if was_closed:
            logger.warning(
                "%s is left alone for %g s: %s (%s)",
                self._name,
                breaker.open_s,
                self._reason,
                " ".join(error.details.split()),
            )


_SAYS_SOMETHING: Final = (
    UnavailableError,
    OverloadedError,
    DeadlineExceededError,
    ServerError,
    CancelledError,
)


def says_something(error: CallError) -> bool:
    """Whether the failure is the server's, and not the request's."""
    return isinstance(error, _SAYS_SOMETHING) and not isinstance(error, CircuitOpenError)


def _cannot_be(settings: object, name: str, expected: str) -> RequestError:
    return RequestError(
        f"Expected {type(settings).__name__}.{name} as {expected}. "
        f"Received: {name}={getattr(settings, name)!r}"
    )
