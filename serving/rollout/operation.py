"""Carries out one command: state by state, each seen at every server before the next.

    lock → see to what a killed command left → are all servers where the file says? → note the
    change → step by step to the end → history

A change that fails is undone, through the same states in reverse. Only a rollback (and `apply`)
goes on without the servers that are down: they read the file when they start.
"""

from __future__ import annotations

import datetime
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from foundation.command_line import InputError, explained
from serving.fleet.fleet import Fleet
from serving.fleet.place import EditedMeanwhileError, Place
from serving.rollout import states
from serving.rollout.journal import Change, Journal
from serving.rollout.states import Plan, State
from serving.rollout.steps import Settings, StepFailedError, Steps

_log = logging.getLogger("serving.rollout")

_FORWARD: Final = ("rollback", "apply")
"""Verbs that go on with the servers that are up, and are never undone."""

_EDIT_STAYS: Final = "Nothing was undone, so that no edit is lost."


class NotDoneError(Exception):
    """A change that was not carried out, or not everywhere; says how things stand now.

    Attributes:
        nobody_answered: whether no server was heard of.
    """

    def __init__(self, message: str, *, nobody_answered: bool = False):
        super().__init__(message)
        self.nobody_answered = nobody_answered


@dataclass(frozen=True, kw_only=True)
class Command:
    """One verb, as it was asked for."""

    verb: str
    """For the lock and the history."""
    plan: Callable[[State], Plan]
    """The present state to what is to be done."""
    version: int | None = None
    """The version that was named; one command that names another version is another command."""
    once: bool = False
    """Given twice, it means two changes: never taken for the end of one that was killed."""

    def continues(self, left: Change) -> bool:
        """Whether a change that was killed is this very command."""
        return not self.once and left.verb == self.verb and self.version in (None, left.version)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of a command."""

    change: Change
    plan: Plan


class Operation:
    """One command's work on one model. The place's lock is held while `run` works.

    Args:
        place: of models.config.
        fleet: all servers.
        settings: how.
    """

    def __init__(self, place: Place, fleet: Fleet, settings: Settings):
        self._place = place
        self._fleet = fleet
        self._settings = settings
        self._journal = Journal(place)
        self._steps = Steps(place, fleet, settings)

    def run(self, command: Command) -> Done:
        """Plans from the present state, and carries it out.

        Raises:
            InputError: refused, nothing was changed.
            NotDoneError: it failed and was undone, or (rollback) some servers did not follow.
        """
        who, verb = self._settings.operator(), command.verb
        with self._place.sole_operator(
            {"who": who, "verb": verb, "pid": os.getpid(), "time": _now()}
        ):
            self._steps.read()
            made, left = self._plan(command)
            forward = verb in _FORWARD
            back = made.start if left is None or forward else left.before_state()
            self._steps.look_at_new_models(made)
            if not forward:
                self._steps.settle(made)
            change = self._change(made, back)
            if back == made.end and not forward:
                return Done(change=replace(change, outcome="done"), plan=made)
            self._steps.changed = False  # what was left is seen to, and that is written down
            noted = self._noted(change, left)
            try:
                return self._carry_out(made, back, change, noted=noted)
            except (InputError, OSError) as error:
                if not self._steps.changed:
                    if noted and left is None:
                        self._journal.drop()
                    raise
                raise NotDoneError(
                    f"{made.words} has changed what is served, which is now "
                    f"{self._steps.state()}; what came after that failed. Received: "
                    f"{explained(error)} Compare with: {self._settings.typed('status')}"
                ) from error

    def _noted(self, change: Change, left: Change | None) -> bool:
        """Notes what is about to be done; a rollback is done even where it cannot be noted.

        Args:
            change: for the history.
            left: the killed change that it continues.
        """
        try:
            self._journal.begin(change)
            if left is not None:
                self._journal.append(replace(left, outcome="interrupted"))
        except (InputError, OSError) as error:
            if change.verb not in _FORWARD:
                raise
            _log.warning("not noted: %s; going on, as a rollback must", explained(error))
            return False
        return True

    def _carry_out(self, made: Plan, back: State, change: Change, *, noted: bool) -> Done:
        """Makes the change, and writes down how it ended.

        Args:
            made: what is to be done.
            back: the state to return to if it fails.
            change: for the history.
            noted: whether the next command will know of it.
        """
        started = time.monotonic()
        if made.verb in _FORWARD:
            error = self._steps.go_to_the_end(made)
            outcome = "incomplete" if error else "done"
        else:
            outcome, error = self._go_or_undo(made, back, change)
        change = replace(
            change,
            outcome=outcome,
            error=error,
            by=self._steps.by(),
            servers=self._steps.servers,
            seconds=round(time.monotonic() - started, 3),
        )
        unwritten = self._ended(change, noted=noted)
        if unwritten:
            error = f"{error or f'Done, {made.says}'}; but {unwritten}"
        if unwritten or outcome != "done":
            raise NotDoneError(error, nobody_answered=self._steps.nobody_answered)
        return Done(change=change, plan=made)

    def _ended(self, change: Change, *, noted: bool = True) -> str:
        """Writes down how a change has ended; returns what is wrong where it cannot be."""
        try:
            self._journal.end(change)
        except (InputError, OSError) as error:
            # The line itself, so that it is not lost.
            _log.error("not written down: %s", change.line())
            again = "The same command again writes it down"
            if not noted:
                again = "What would have been written is above"
            elif change.verb not in _FORWARD:
                again += "; any other undoes it first"
            received = explained(error)
            return f"it is not written down in the history. Received: {received} {again}."
        return ""

    def _go_or_undo(self, made: Plan, back: State, change: Change) -> tuple[str, str]:
        """Goes state by state, and back to where it began if one is not reached.

        Returns:
            The outcome for the history, and the error.
        """
        try:
            for before, after in zip((back, *made.states), made.states):
                if before != after:
                    self._steps.step(before, after)
        except StepFailedError as failure:
            _log.error("a state was not reached: undoing %s", made.words)
            return self._undone(made, back, f"{made.words} failed: {failure}.")
        except EditedMeanwhileError as edited:
            return "incomplete", f"{edited} {_EDIT_STAYS}"
        except (InputError, OSError) as failure:
            _log.error("%s: undoing %s", failure, made.words)
            return self._undone(made, back, f"{made.words} failed: {explained(failure)}")
        except BaseException as stop:
            _log.error("stopped (%s): undoing %s", type(stop).__name__, made.words)
            outcome, error = self._undone(made, back, type(stop).__name__)
            change = replace(change, outcome=outcome, error=error, by=self._steps.by())
            _log.info("%s", error)
            if unwritten := self._ended(change):
                _log.error("%s", unwritten)
            raise
        return "done", ""

    def _undone(self, made: Plan, back: State, failed: str) -> tuple[str, str]:
        """Undoes it; returns the outcome for the history, and how things stand now.

        Raises:
            NotDoneError: it could not be undone either.
        """
        try:
            return "undone", f"{failed} {self._steps.undo(back)}"
        except EditedMeanwhileError as edited:
            return "incomplete", f"{failed} {edited} {_EDIT_STAYS}"
        except (InputError, OSError) as error:
            raise NotDoneError(
                f"{made.words} has failed, and could not be undone. Received: {explained(error)} "
                "It is noted as under way: the next command sees to it."
            ) from error

    def _plan(self, command: Command) -> tuple[Plan, Change | None]:
        """Plans, after seeing to what a killed command left.

        - The same command again continues from the present state.
        - A rollback does so as well: it does not wait until the past is tidied up.
        - Any other command first undoes what was left.

        Returns:
            The plan, and the killed change that it continues.
        """
        left = self._journal.pending()
        if left is None:
            return command.plan(self._steps.state()), None
        if left.model != self._settings.model:
            raise InputError(
                f"Expected nothing left of another model's change. Received: {left.words} of "
                f"{left.model} by {left.who}, begun {left.time}, which was killed. See to it "
                f"first, with --model {left.model}."
            )
        same = command.continues(left)
        if same and left.after_state() == self._steps.state():
            # Before planning: planned anew, a rollback would go one step further back.
            _log.warning("%s: seeing to the rest", _killed(left))
            return self._nothing_left_of(left, "done"), left
        if same or command.verb == "rollback":
            return self._continue(command, left)
        self._tidy(left)
        return command.plan(self._steps.state()), None

    def _continue(self, command: Command, left: Change) -> tuple[Plan, Change | None]:
        """Plans from the present state; where that makes no sense, undoes what was left.

        To have undone it is all that a rollback was asked for.
        """
        now = self._steps.state()
        try:
            made = command.plan(now)
        except InputError:
            self._tidy(left)
            if command.verb != "rollback" or self._steps.state() == now:
                raise
            return replace(self._nothing_left_of(left, "undone"), verb="rollback"), None
        _log.warning("%s: going on from where it is", _killed(left))
        return made, left

    def _nothing_left_of(self, left: Change, word: str) -> Plan:
        """A plan that stays where things are."""
        now, says = self._steps.state(), f"{left.words} is {word}"
        return Plan(verb=left.verb, version=left.version, start=now, end=now, says=says)

    def _tidy(self, left: Change) -> None:
        """Undoes what a killed command did, except a rollback, and except later edits by hand."""
        way = states.path(left.before_state(), left.after_state())
        if left.verb in _FORWARD or self._steps.state() not in way:
            _log.warning("%s: the file stays as it is", _killed(left))
            self._journal.end(replace(left, outcome="interrupted"))
            return
        _log.warning("%s: undoing it first", _killed(left))
        try:
            stands = self._steps.undo(left.before_state())
            by = self._steps.by()
        except (InputError, OSError) as error:
            if not self._steps.changed:
                raise
            raise NotDoneError(
                f"{left.words} could be undone in part only: {self._steps.state()}. Received: "
                f"{explained(error)} The next command sees to it."
            ) from error
        _log.warning("%s", stands)
        if unwritten := self._ended(replace(left, outcome="undone", error="killed", by=by)):
            raise NotDoneError(f"{left.words} is undone; but {unwritten}")

    def _change(self, made: Plan, back: State) -> Change:
        return Change(
            id=os.urandom(8).hex(),
            model=self._settings.model,
            verb=made.verb,
            version=made.version,
            who=self._settings.operator(),
            time=_now(),
            why="; ".join(filter(None, [self._settings.why, made.why])),
            by="",
            servers=self._fleet.known,
            before=back.as_json(),
            after=made.end.as_json(),
            gate=made.gate,
        )


def _killed(left: Change) -> str:
    return f"{left.words} by {left.who}, begun {left.time}, was killed"


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
