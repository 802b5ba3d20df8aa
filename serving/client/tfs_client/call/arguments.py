"""Arguments of a call that several of its callers check: deadlines, names of outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tfs_client.errors import RequestError

LONGEST_S: Final = 366 * 24 * 3600
"""The longest deadline in seconds: gRPC takes one that is centuries away for a past one."""


def checked_timeout(timeout_s: float) -> float:
    """The deadline of a call, in seconds.

    Raises:
        RequestError: not a number, not above 0, or longer than LONGEST_S.
    """
    if (
        isinstance(timeout_s, bool)
        or not isinstance(timeout_s, (int, float))
        or not 0 < timeout_s <= LONGEST_S
    ):
        raise RequestError(
            "Expected timeout_s as a number of seconds above 0, a year at most: every call has a "
            f"deadline. Received: timeout_s={timeout_s!r:.40}"
        )
    return float(timeout_s)


def checked_outputs(outputs: Sequence[str]) -> tuple[str, ...]:
    """The names of the outputs wanted.

    Raises:
        RequestError: not a list of names.
    """
    if (
        isinstance(outputs, str)
        or not isinstance(outputs, Iterable)
        or not all(isinstance(name, str) for name in outputs)
    ):
        raise RequestError(f"Expected outputs as a list of names. Received: outputs={outputs!r}")
    return tuple(outputs)
