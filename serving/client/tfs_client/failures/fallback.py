"""Fallbacks: the servables that are asked in turn until one answers.

Images and arrays use the same code.
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from tfs_client.errors import (
    AnswerError,
    CallError,
    CancelledError,
    InvalidRequestError,
    LabelNotFoundError,
    MessageTooLargeError,
    SignatureError,
    TfsError,
)
from tfs_client.failures.policy import Losses
from tfs_client.servable import Servable
from tfs_client.steps import Steps

logger = logging.getLogger(__name__)

DEFAULT: Final = "default"
"""Stands for "who answered" where no servable did and the caller's default stands in."""

NOBODY: Final = "nobody"
"""Stands for "who is asked next" where no servable is left and there is no default."""

LOG_EVERY_S: Final = 1.0
"""Seconds between two log lines about the same fallback; the next line counts those left out."""

Answer = TypeVar("Answer")


class Answered(NamedTuple):
    """How a chain ended; `servable` is None where none answered."""

    servable: Servable | None
    reason: str
    """Why the servables before it could not answer; empty if the first one did."""
    failures: Sequence[TfsError]


class Fallbacks:
    """Counts and logs a client's fallbacks.

    Attributes:
        counts: servable that answered, or "default" → how often; of calls with a chain or a
            default. A call that nobody answered is in none of them.
    """

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        self._logged: dict[tuple[str, str, str], tuple[float, int]] = {}

    def answered(self, by: str) -> None:
        """Counts one answer more."""
        with self._lock:
            self.counts[by] += 1

    def log(self, servable: str, to: str, error: TfsError) -> None:
        """Logs that a servable could not answer, at most once a second for each kind of failure."""
        key = (servable, to, type(error).__name__)
        now = time.monotonic()
        with self._lock:
            last, silent = self._logged.get(key, (-LOG_EVERY_S, 0))
            if now - last < LOG_EVERY_S:
                self._logged[key] = last, silent + 1
                return
            self._logged[key] = now, 0
        more = f" (and {silent} times more since the last line)" if silent else ""
        then = f"asking {to}"
        if to in (DEFAULT, NOBODY):
            then = "nobody else to ask" + (", the default stands in" if to == DEFAULT else "")
        logger.warning("%s could not answer, %s: %s%s", servable, then, error, more)


def first_answer(
    chain: Sequence[Servable],
    end: float,
    ask: Callable[[Servable, float], Steps[Answer]],
    fell_back: Callable[[str, str, TfsError], None],
    losses: Losses,
    *,
    has_default: bool,
) -> Steps[tuple[Answer | None, Answered]]:
    """Asks one servable after the other until one answers.

    Each gets an equal part of the time that is left, so that one that hangs leaves time for the
    others; the last one gets all that is left.

    Args:
        chain: the servables, in order.
        end: when the time is up, on time.monotonic()'s clock.
        ask: (servable, its own end) to the steps of asking it.
        fell_back: called after each failure with the servable that failed, the next one (where
            there is none: "default" or "nobody"), and the error.
        losses: of the request, counted by `ask`; with too many of them nobody else is asked.
        has_default: whether a default stands in where no servable answers.

    Raises:
        TfsError: a failure that every servable would share: the caller's mistake.
    """
    failures: list[TfsError] = []
    reasons: list[str] = []
    for at, servable in enumerate(chain):
        now = time.monotonic()
        left_s = max(0.0, end - now) / (len(chain) - at)
        if servable.timeout_s is not None:
            left_s = min(left_s, servable.timeout_s)
        try:
            answer = yield from ask(servable, now + left_s)
        except (CallError, AnswerError, SignatureError) as error:
            if not _is_the_servables(error):
                raise
            failures.append(error)
            reasons.append(f"{servable}: {type(error).__name__}: {error}")
            rest = [str(one) for one in chain[at + 1 :]]
            if rest and losses.too_many:
                reasons.append(f"not asked, as servers fell over this request: {', '.join(rest)}")
                rest = []
            last = DEFAULT if has_default else NOBODY
            fell_back(str(servable), rest[0] if rest else last, error)
            if not rest:
                break
        else:
            return answer, Answered(servable, "; ".join(reasons), failures)
    return None, Answered(None, "; ".join(reasons), failures)


def _is_the_servables(error: TfsError) -> bool:
    """Whether another servable may answer: the request itself is not at fault."""
    if isinstance(error, LabelNotFoundError):
        return True
    return not isinstance(error, (InvalidRequestError, MessageTooLargeError, CancelledError))
