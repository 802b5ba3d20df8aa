"""What a client tells those who watch it.

Nothing is made or called where nobody watches. An observer that raises is logged and harms no call.
What a shadow asks is not the caller's and is not told; Shadow.counts and on_comparison tell of it.
Ready ones: observers.opentelemetry, observers.prometheus.
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
    """One call to a server, while it goes on and when it has ended."""

    method: str
    """Such as "Predict"."""
    target: str
    model: str
    label: str | None
    asked_version: int | None
    """The version asked for, if one was."""
    signature: str
    request_bytes: int
    metadata: list[tuple[str, str | bytes]]
    """What is sent along; call_started may add to it."""
    attempts: int = 0
    version: int = 0
    """The version that answered; 0 until it did, and where the answer does not tell."""
    answer_bytes: int = 0
    latency_s: float = 0.0
    """From the start to the end, retries included."""
    error: BaseException | None = None
    """Why it failed; None where it did not."""
    state: dict[str, Any] = dataclasses.field(default_factory=dict)
    """For an observer to keep something of its own."""


class Observer:
    """Watches a client; override what is of interest. Called in the caller's thread or task."""

    def call_started(self, call: Call) -> None:
        """Before the first attempt; metadata may be added."""

    def attempt_failed(self, call: Call, error: TfsError, pause_s: float | None) -> None:
        """One attempt failed; pause_s until the next one, None if there is none."""

    def call_ended(self, call: Call) -> None:
        """The call was answered, or failed, or was cancelled: see its error."""

    def fell_back(self, servable: str, to: str, error: TfsError) -> None:
        """`servable` could not answer, so `to` is asked ("default": nobody is left to ask)."""

    def images_answered(
        self, model: str, label: str | None, predictions: Sequence[ImagePrediction]
    ) -> None:
        """An image classifier was answered; probabilities and review flags are in it."""
