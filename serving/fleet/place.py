"""What a rollout needs of the place where models.config lies: a folder, or a cluster.

Beside models.config lie the name of the operator at work, a note of the change under way, and the
history.
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
        """Its name in messages."""

    @property
    def note_name(self) -> str:
        """The name in messages of the note of a change."""

    @property
    def text(self) -> str:
        """The text that was read or written last."""

    def read(self) -> ModelsConfig:
        """Reads it; raises ConfigError, or OSError or InputError where it is not there."""

    def write(self, config: ModelsConfig, *, urgent: bool = False) -> None:
        """Replaces the content, whole or not at all.

        Args:
            config: what it is to say.
            urgent: where that fails, also in a way that a power failure could spoil.

        Raises:
            EditedMeanwhileError: it is not as it was read, or written, last.
            OSError, InputError: it cannot be written.
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
        """The note that put_note wrote; None where there is none."""

    def put_note(self, text: str) -> None:
        """Writes a note of what is about to be done, which survives a kill of this process."""

    def drop_note(self, line: str = "") -> None:
        """Adds a line to the history, and removes the note."""

    def add_line(self, line: str) -> None:
        """Adds a line to the history."""

    def lines(self) -> list[str]:
        """The history, the oldest first."""


def operator_in_words(about: str) -> str:
    """Who is at work, from the JSON of what sole_operator was told."""
    try:
        told = json.loads(about)
        return f"{told['who']} runs {told['verb']} since {told['time']} (process {told['pid']})"
    except (ValueError, KeyError, TypeError):
        return "another command that has just begun"
