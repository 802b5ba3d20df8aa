"""The channel of a client: made with the first call, and made anew where that was asked for.

gRPC looks a name up again only when a connection was lost. New addresses behind a name are seen by
a new channel; connections to addresses that it has in common with the old one are shared.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tfs_client.background.forks import renew_after_fork


class _Retired(NamedTuple):
    channel: Any
    at_s: float
    """On time.monotonic()'s clock."""


class Channels:
    """The present channel, and those before it whose calls may not have ended.

    Args:
        make: makes a channel.
        end: closes one.
        renew_s: how long one is used for new calls, in seconds; None means for ever.
    """

    def __init__(
        self, make: Callable[[], Any], end: Callable[[Any], object], renew_s: float | None
    ):
        self._make = make
        self._end = end
        self._renew_s = renew_s
        self._present: Any = None
        self._made_s = 0.0
        self._stubs: dict[str, Any] = {}
        self._retired: list[_Retired] = []
        self._longest_s = 0.0
        self._lock = threading.RLock()
        renew_after_fork(self)

    def stub(self, method: str) -> Any:
        """gRPC's multi-callable for a method's path, or what stands for that of each channel."""
        if self._renew_s is not None:
            return _Renewed(self, method)
        with self._lock:
            if self._present is None:
                self._present = self._make()
            return self._present.unary_unary(method)

    def current(self, method: str, timeout_s: float) -> Any:
        """The multi-callable of the channel that calls are to use now.

        Args:
            method: the method's path.
            timeout_s: of the call, in seconds: so long its channel is left open.
        """
        with self._lock:
            now = time.monotonic()
            self._longest_s = max(self._longest_s, timeout_s)
            if self._present is None or now >= self._made_s + (self._renew_s or math.inf):
                made = self._make()
                if self._present is not None:
                    self._retired.append(_Retired(self._present, now))
                self._present, self._made_s = made, now
                self._stubs.clear()
                while self._retired and now > self._retired[0].at_s + self._longest_s:
                    self._end(self._retired.pop(0).channel)
            stub = self._stubs.get(method)
            if stub is None:
                stub = self._stubs[method] = self._present.unary_unary(method)
            return stub

    def taken(self) -> list[Any]:
        """All that are open, for the caller to close; there are none any more."""
        with self._lock:
            channels = [one.channel for one in self._retired]
            if self._present is not None:
                channels.append(self._present)
            self._present, self._retired = None, []
            return channels


class _Renewed:
    """Stands for a method's multi-callable on whichever channel is the present one."""

    def __init__(self, channels: Channels, method: str):
        self._channels = channels
        self._method = method

    def __call__(self, request: bytes, *, timeout: float, **settings: Any) -> Any:
        stub = self._channels.current(self._method, timeout)
        return stub(request, timeout=timeout, **settings)

    def future(self, request: bytes, *, timeout: float, **settings: Any) -> Any:
        stub = self._channels.current(self._method, timeout)
        return stub.future(request, timeout=timeout, **settings)
