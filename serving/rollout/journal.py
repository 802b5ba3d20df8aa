"""What was done, by whom and why; and what is under way, so that no killed command is forgotten."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from foundation.command_line import InputError
from serving.fleet.place import Place
from serving.rollout.states import State, words


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

    def line(self) -> str:
        """As it stands in the history: JSON in one line."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    def before_state(self) -> State:
        """The state to return to."""
        return _state(self.before)

    def after_state(self) -> State:
        """The state that was meant to come about."""
        return _state(self.after)


class Journal:
    """The history of one models.config, and the change under way. The caller holds its lock.

    Args:
        place: of the models.config.
    """

    def __init__(self, place: Place):
        self._place = place

    def begin(self, change: Change) -> None:
        """Notes what is about to be done."""
        self._place.put_note(change.line())

    def end(self, change: Change) -> None:
        """Writes down how it ended; nothing is under way any more."""
        self._place.drop_note(change.line())

    def drop(self) -> None:
        """Nothing was done: nothing is under way any more, and there is nothing to write down."""
        self._place.drop_note()

    def append(self, change: Change) -> None:
        """Adds a line to the history."""
        self._place.add_line(change.line())

    def pending(self) -> Change | None:
        """The change that a killed command left behind; None, too, if its history line was written.

        Raises:
            InputError: the note was not written by this program.
        """
        text = self._place.note()
        if text is None:
            return None
        change = _change(text)
        if change is None:
            raise InputError(
                f"Expected {self._place.note_name} as a rollout writes it. Received: "
                f"{text[:60]!r}. Compare models.config with what is meant to be served, and remove "
                "that note."
            )
        if any(done.id == change.id for done in self.history()[0]):
            self._place.drop_note()
            return None
        return change

    def history(self) -> tuple[list[Change], int]:
        """All changes, the oldest first, and how many lines could not be read."""
        changes = [_change(line) for line in self._place.lines() if line.strip()]
        good = [change for change in changes if change is not None]
        return good, len(changes) - len(good)


def _state(fields: dict[str, Any]) -> State:
    return State(versions=tuple(fields["versions"]), labels=dict(sorted(fields["labels"].items())))


def _change(text: str) -> Change | None:
    try:
        fields = json.loads(text)
        fields["servers"] = tuple(fields["servers"])
        change = Change(**fields)
        change.before_state(), change.after_state()
    except (ValueError, TypeError, KeyError):
        return None
    return change
