"""Where a models.config lies that a rollout writes: a folder, or a cluster.

Beside it lie who is at work on it, a note of the change under way, and the history. Says what the
rollout needs of such a place; knows none.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import Any, Protocol

from foundation.command_line import InputError
from serving.models_config import ModelsConfig


class EditedMeanwhileError(InputError):
    """Somebody else has changed models.config since it was read."""


class Place(Protocol):
    """One models.config, and what lies beside it."""

    @property
    def name(self) -> str:
        """As people know it."""

    @property
    def note_name(self) -> str:
        """Where the note of a change lies, as people know it."""

    @property
    def text(self) -> str:
        """What was read or written last."""

    def read(self) -> ModelsConfig:
        """What it says now; raises ConfigError, or OSError or InputError where it is not there."""

    def write(self, config: ModelsConfig) -> None:
        """Puts another content in its place, whole or not at all.

        Raises:
            EditedMeanwhileError: it is not as it was read, or written, last.
        """

    def sole_operator(self, about: dict[str, Any]) -> AbstractContextManager[None]:
        """Keeps all other operators away.

        Args:
            about: what a second operator is told: who, verb, pid, time.

        Raises:
            InputError: another operator is at work.
        """

    def operator(self) -> str | None:
        """Who is at work now, in words; None where nobody is."""

    def note(self) -> str | None:
        """What put_note has left."""

    def put_note(self, text: str) -> None:
        """Notes what is about to be done, so that it outlives this process."""

    def drop_note(self, line: str = "") -> None:
        """Nothing is under way any more; adds a line to the history first."""

    def add_line(self, line: str) -> None:
        """Adds a line to the history."""

    def lines(self) -> list[str]:
        """The history, the oldest first."""


def operator_in_words(about: str) -> str:
    """Who is at work, of what was told to sole_operator, as JSON."""
    try:
        told = json.loads(about)
        return f"{told['who']} runs {told['verb']} since {told['time']} (process {told['pid']})"
    except (ValueError, KeyError, TypeError):
        return "another command that has just begun"
