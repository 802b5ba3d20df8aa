"""Waits for the messages of calls that have begun.

Each such call holds one of grpcio's threads, whether its message comes or not. Without a bound, a
few hundred calls that send nothing would keep everybody else out for as long as they like.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc


class Arrivals:
    """The calls whose message has not come; one too many ends the one that has waited for longest.

    Args:
        most: how many may wait; fewer than there are threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._waiting: dict[grpc.ServicerContext, None] = {}
        """In the order in which they began."""

    def message(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """The one message of a call; ends the call where there is none.

        Args:
            messages: of the call, which grpcio takes for a stream.
            context: gRPC's.
        """
        with self._lock:
            self._waiting[context] = None
            longest = next(iter(self._waiting)) if len(self._waiting) > self._most else None
            if longest is not None:
                del self._waiting[longest]
        if longest is not None:
            longest.cancel()
        try:
            return next(messages)
        except StopIteration:
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED, "the method requires exactly one request message"
            )
        finally:
            with self._lock:
                self._waiting.pop(context, None)
