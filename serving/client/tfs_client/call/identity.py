"""Who calls: the caller's function for tokens, asked within a call's time and beside its thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tfs_client.call.about import About, late
from tfs_client.errors import RequestError
from tfs_client.steps import InThread, Steps

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

TOKEN_THREADS: Final = 32
"""So many calls of one client may ask the caller's function for a token at once; others wait."""


class Tokens:
    """Asks the caller's function for a token, for each call anew.

    Args:
        function: the caller's.
        target: the address that is called, for an error.
    """

    def __init__(self, function: Callable[[], str], target: str):
        self._function = function
        self._target = target
        self._threads: ThreadPoolExecutor | None = None

    def ask(self, about: About) -> Steps[str]:
        """The token for one call; what the function raises is the caller's.

        Raises:
            DeadlineExceededError: there was none in time.
            RequestError: the function gave something else.
        """
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor  # here: its import takes its time

            self._threads = ThreadPoolExecutor(TOKEN_THREADS, thread_name_prefix="tfs-token")
        left_s = max(0.0, about.end - time.monotonic())
        asked: Future[Any] = yield InThread(self._threads, self._function, left_s)
        if not asked.done():
            asked.cancel()
            error = late(self._target, about, 0)
            error.details = "the function given as token has given none"
            error.hint = "nothing was sent: make the function quicker, or allow more time"
            raise error
        token = asked.result()
        if not isinstance(token, str) or not token:
            raise RequestError(
                "Expected the function given as token to give a text. "
                f"Received: {type(token).__name__}"
            )
        return token

    def close(self) -> None:
        """Lets the threads end."""
        if self._threads is not None:
            self._threads.shutdown(wait=False)
