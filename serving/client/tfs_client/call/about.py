"""How a client calls, and what one call is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import grpc

from tfs_client.call.observer import Observer
from tfs_client.errors import CircuitOpenError, DeadlineExceededError
from tfs_client.failures.policy import Breaker, Losses, Retry
from tfs_client.servable import Servable
from tfs_client.steps import Metadata


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a client calls: Connection's arguments of the same names."""

    target: str
    timeout_s: float
    retry: Retry
    breaker: Breaker | None
    hedge_after_s: float | None
    wait_for_ready: bool
    metadata: tuple[tuple[str, str | bytes], ...] = dataclasses.field(repr=False)
    """With the token, where that is a text."""
    token: Callable[[], str] | None = dataclasses.field(repr=False)
    plain_text: bool
    """Others on the way can read what is sent: no TLS, and the target is another machine."""
    observers: tuple[Observer, ...]


class About(NamedTuple):
    """One call, as errors and observers name it, and how it is to be sent."""

    method: str
    servable: Servable | None
    """None for a call about the whole server."""
    signature: str
    timeout_s: float
    """Of the whole call, in seconds; for the error's sentence."""
    end: float
    """When the time is up, on time.monotonic()'s clock."""
    metadata: Metadata = ()
    """Of this call, beside the client's."""
    once: bool = False
    """No retries, no hedge, and no circuit."""
    losses: Losses | None = None
    """Of the route that it is a part of; None where it is the only one that asks this."""

    def __repr__(self) -> str:
        """Without metadata, which may hold secrets."""
        return f"About({self.method!r}, {self.servable!r}, {self.signature!r}, …)"


def late(target: str, about: About, attempts: int) -> DeadlineExceededError:
    """The error of a call whose time is up before its next attempt."""
    error = DeadlineExceededError(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "" if attempts else "no time was left to send it",
        target=target,
        call=about.method,
        timeout_s=about.timeout_s,
    )
    error.attempts = attempts
    return error


def blocked(target: str, about: About, reason: str) -> CircuitOpenError:
    """The error of a call that is not sent, as the circuit is open."""
    return CircuitOpenError(
        grpc.StatusCode.UNAVAILABLE,
        reason,
        target=target,
        call=about.method,
        timeout_s=about.timeout_s,
    )
