"""How many connections the REST port holds."""

from __future__ import annotations

import asyncio
import resource
from typing import Any, Final

from aiohttp import web

_MAX_CONNECTIONS: Final = 1024
"""And at most half of the files that the process may open."""


def most_connections() -> int:
    """How many connections a process with its limit of open files should hold."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        _MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(_MAX_CONNECTIONS, files // 2)
    )


class Connections(web.Server):
    """aiohttp's server, with a bound on its connections.

    One more closes the connection that has been idle for longest: callers who hold connections and
    ask nothing keep nobody out. Idle is what has no whole head of a request in work. All methods
    run on the event loop.
    """

    def __init__(self, handler: Any, most: int, **options: Any) -> None:
        super().__init__(handler, **options)
        self._most = most
        self._open: set[asyncio.Transport] = set()
        self._idle: dict[asyncio.Transport, None] = {}
        """In the order in which they became idle."""

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        """Counts a new connection, and closes another where that is one too many."""
        super().connection_made(handler, transport)
        self._open.add(transport)
        self._idle[transport] = None
        if len(self._open) > self._most:
            longest = next(iter(self._idle))
            self._forget(longest)
            longest.abort()

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        """Forgets a connection."""
        transport = self._connections.get(handler)
        super().connection_lost(handler, exc)
        if transport is not None:
            self._forget(transport)

    def busy(self, transport: asyncio.Transport | None) -> None:
        """A request has begun."""
        self._idle.pop(transport, None)  # type: ignore[arg-type]

    def idle(self, transport: asyncio.Transport | None) -> None:
        """A request has been answered."""
        if transport in self._open:
            self._idle[transport] = None

    def _forget(self, transport: asyncio.Transport) -> None:
        self._open.discard(transport)
        self._idle.pop(transport, None)
