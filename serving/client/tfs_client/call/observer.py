"""What a client tells its observers.

Without observers nothing is made or called. What an observer raises is logged and does not change
the call. Mirrored requests are not told; Shadow.counts and on_comparison tell of them. Ready
observers: observers.opentelemetry, observers.prometheus.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfs_client.answers import ImagePrediction
    from tfs_client.errors import TfsError


@dataclasses.dataclass(slots=True)
class Call:
    """One call to a server, while it is under way and after it has ended."""

    method: str
    """Such as "Predict"."""
    target: str
    model: str
    label: str | None
    asked_version: int | None
    """The version asked for, if one was."""
    signature: str
    request_bytes: int
    metadata: list[tuple[str, str | bytes]] = dataclasses.field(repr=False)
    """gRPC metadata that is sent along; call_started may add to it. Not in the call's repr, as it
    may hold a token."""
    attempts: int = 0
    version: int = 0
    """The version that answered; 0 until it did, and where the answer does not tell."""
    answer_bytes: int = 0
    latency_s: float = 0.0
    """From the start to the end, retries included."""
    error: BaseException | None = None
    """Why it failed; None where it did not."""
    state: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Where an observer keeps something of its own for this call."""


class Observer:
    """Watches a client: override what is of interest. Called in the caller's thread or task."""

    def call_started(self, call: Call) -> None:
        """Before the first attempt; metadata may be added."""

    def attempt_failed(self, call: Call, error: TfsError, pause_s: float | None) -> None:
        """One attempt failed; the next one follows after pause_s seconds, or none if it is None."""

    def call_ended(self, call: Call) -> None:
        """The call was answered, or failed, or was cancelled: see its error."""

    def fell_back(self, servable: str, to: str, error: TfsError) -> None:
        """`servable` could not answer, so `to` is asked.

        Where no servable is left to ask it is "default", which stands in, or "nobody".
        """

    def images_answered(
        self, model: str, label: str | None, predictions: Sequence[ImagePrediction]
    ) -> None:
        """An image classifier got its answers, with probabilities and review flags."""
