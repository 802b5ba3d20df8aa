"""What was done, by whom and why; and what is under way, so that no killed command is forgotten.

    models.config.history.jsonl      one line a change, for people and for git
    .models.config.pending.json      the change under way; gone when its line is written

Knows nothing about servers.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from serving.rollout.config_file import ConfigFile, sync_folder
from serving.rollout.states import State, words
from training.command_line import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One command that changed, or tried to change, what is served."""

    id: str
    model: str
    verb: str
    version: int | None
    who: str
    time: str
    """UTC, when it began."""
    why: str
    by: str
    """rpc, file, or rpc+file where some servers take no reload by RPC."""
    servers: tuple[str, ...]
    before: dict[str, Any]
    after: dict[str, Any]
    gate: str = ""
    """passed, or why the gate was passed over."""
    outcome: str = ""
    """done, undone, incomplete (some server did not follow), or interrupted."""
    error: str = ""
    seconds: float | None = None

    @property
    def words(self) -> str:
        """What was done, such as "canary 2"."""
        return words(self.verb, self.version)

    def before_state(self) -> State:
        """The state to return to."""
        return _state(self.before)

    def after_state(self) -> State:
        """The state that was meant to come about."""
        return _state(self.after)


class Journal:
    """The history of one models.config, and the change under way. Its lock is held by the caller.

    Args:
        file: whose.
    """

    def __init__(self, file: ConfigFile):
        real = file.path.resolve()
        self.history_path = real.with_name(f"{real.name}.history.jsonl")
        self._pending_path = file.beside("pending.json")
        self._aside = file.beside("pending.new")

    def begin(self, change: Change) -> None:
        """Notes what is about to be done, on the disk."""
        with self._aside.open("w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(change), file)
            file.flush()
            os.fsync(file.fileno())
        self._aside.replace(self._pending_path)
        sync_folder(self._pending_path.parent)

    def end(self, change: Change) -> None:
        """Writes down how it ended; nothing is under way any more."""
        self.append(change)
        self._pending_path.unlink(missing_ok=True)

    def append(self, change: Change) -> None:
        """Adds a line to the history."""
        line = json.dumps(dataclasses.asdict(change), ensure_ascii=False) + "\n"
        with self.history_path.open("ab+") as file:
            if file.tell() and not _ends_with_newline(file):
                line = "\n" + line  # what a killed command left of its line ends here
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def pending(self) -> Change | None:
        """The change that a killed command left behind; forgotten if its line is written.

        Raises:
            InputError: the note is not one of this program's.
        """
        try:
            text = self._pending_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        change = _change(text)
        if change is None:
            raise InputError(
                f"Expected {self._pending_path} as a rollout writes it. Received: {text[:60]!r}. "
                "Compare models.config with what is meant to be served, and remove that file."
            )
        if any(done.id == change.id for done in self.history()[0]):
            self._pending_path.unlink(missing_ok=True)
            return None
        return change

    def history(self) -> tuple[list[Change], int]:
        """All changes, the oldest first, and how many lines could not be read."""
        try:
            lines = self.history_path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return [], 0
        changes = [_change(line) for line in lines if line.strip()]
        good = [change for change in changes if change is not None]
        return good, len(changes) - len(good)


def _state(fields: dict[str, Any]) -> State:
    return State(versions=tuple(fields["versions"]), labels=dict(sorted(fields["labels"].items())))


def _ends_with_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _change(text: str) -> Change | None:
    try:
        fields = json.loads(text)
        fields["servers"] = tuple(fields["servers"])
        change = Change(**fields)
        change.before_state(), change.after_state()
    except (ValueError, TypeError, KeyError):
        return None
    return change
