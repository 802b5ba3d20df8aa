"""Carries out a plan: state by state, each seen at every server before the next.

    lock → what a killed command left → are all servers where the file says? → note the change →
    for each state: write the file, tell the servers, wait until each shows it → history

What fails is undone, through the same states in reverse. A rollback alone goes on without the
servers that are down: they read the file when they start.
"""

from __future__ import annotations

import datetime
import getpass
import itertools
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from foundation.command_line import InputError
from serving.fleet.fleet import Fleet, Problem, Wanted
from serving.fleet.place import EditedMeanwhileError, Place
from serving.models_config import ModelsConfig
from serving.rollout import states
from serving.rollout.journal import Change, Journal
from serving.rollout.states import Plan, State

_log = logging.getLogger("serving.rollout")

By = Literal["auto", "rpc", "file"]

TIMEOUT_S: Final = 180.0
"""A large model is loaded by then, and a ConfigMap has reached every node."""

SETTLED_S: Final = 5.0
"""For servers that poll the file, and have had no reason to be behind it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a change is carried out."""

    model: str
    by: By = "auto"
    timeout_s: float = TIMEOUT_S
    """Seconds that each state may take to show at all servers."""
    settled_s: float = SETTLED_S
    """Seconds that a server which only polls may be behind the file before a change."""
    why: str = ""
    who: str = ""

    def operator(self) -> str:
        """Who does it."""
        return self.who or f"{getpass.getuser()}@{socket.gethostname()}"


_FORWARD: Final = ("rollback", "apply")
"""Verbs that go on with the servers that are up, and are never undone."""


_EDIT_STAYS: Final = "Nothing was undone, so that no edit is lost."


class NotDoneError(Exception):
    """A change that was not carried out, or not everywhere; says how things stand now."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of a change."""

    change: Change
    plan: Plan
    says: tuple[str, ...] = ()
    """What else is worth knowing."""


class _StepFailedError(Exception):
    def __init__(self, state: State, problems: Mapping[str, list[Problem]]):
        self.problems = problems
        told = "; ".join(f"{at}: {_told(found)}" for at, found in problems.items())
        super().__init__(f"not reached: {state} ({told})")


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
        self._config = ModelsConfig()

    def run(
        self, verb: str, plan: Callable[[State], Plan], again: Callable[[Change], bool]
    ) -> Done:
        """Plans from the present state, and carries it out.

        Args:
            verb: for the lock and the history.
            plan: the present state to what is to be done.
            again: whether a change that was killed is this very command.

        Raises:
            InputError: refused, nothing was changed.
            NotDoneError: it failed and was undone, or (rollback) some servers did not follow.
        """
        about = {"who": self._settings.operator(), "verb": verb, "pid": os.getpid(), "time": _now()}
        with self._place.sole_operator(about):
            self._config = self._place.read()
            made, left = self._plan(verb, plan, again)
            forward = verb in _FORWARD
            back = made.start if left is None or forward else left.before_state()
            if not forward:
                self._settle(made)
            change = self._change(made, back)
            if back == made.end and not forward:
                return Done(change=replace(change, outcome="done"), plan=made)
            started = time.monotonic()
            self._journal.begin(change)
            if left is not None:
                self._journal.append(replace(left, outcome="interrupted"))
            outcome, error = (
                self._regardless(made) if forward else self._or_undo(made, back, change)
            )
            change = replace(
                change,
                outcome=outcome,
                error=error,
                by=self._by(),
                servers=self._fleet.addresses,
                seconds=round(time.monotonic() - started, 3),
            )
            self._journal.end(change)
            if outcome != "done":
                raise NotDoneError(error)
            return Done(change=change, plan=made)

    def _state(self) -> State:
        return states.read(self._config, self._settings.model)

    def _plan(
        self, verb: str, plan: Callable[[State], Plan], again: Callable[[Change], bool]
    ) -> tuple[Plan, Change | None]:
        """The plan, after what a killed command left behind was seen to.

        The same command again goes on from where things are. A rollback does not wait for the past
        to be tidied up, and is never undone. Before anything else, the remains are undone.

        Returns:
            The plan, and the change that it goes on with.
        """
        left, now = self._journal.pending(), self._state()
        if left is None:
            return plan(now), None
        if left.model != self._settings.model:
            raise InputError(
                f"Expected nothing left of another model's change. Received: {left.words} of "
                f"{left.model} by {left.who}, begun {left.time}, which was killed. See to it "
                f"first, with --model {left.model}."
            )
        told = f"{left.words} by {left.who}, begun {left.time}, was killed"
        if again(left) and left.after_state() == now:
            # First of all: planned anew, a rollback would go one step further back.
            _log.warning("%s: seeing to the rest", told)
            says = f"{left.words} is done"
            return Plan(verb=verb, version=left.version, start=now, end=now, says=says), left
        if not again(left) and verb != "rollback":
            self._tidy(left, told)
            return plan(self._state()), None
        try:
            made = plan(now)
        except InputError:
            self._tidy(left, told)
            if verb != "rollback" or self._state() == now:
                raise
            now = self._state()
            says = f"{left.words} is undone"
            return Plan(verb=verb, version=left.version, start=now, end=now, says=says), None
        _log.warning("%s: going on from where it is", told)
        return made, left

    def _tidy(self, left: Change, told: str) -> None:
        """Undoes what a killed command has done.

        What a rollback has done stays, and so does what somebody has edited since.
        """
        way = states.path(left.before_state(), left.after_state())
        if left.verb in _FORWARD or self._state() not in way:
            _log.warning("%s: the file stays as it is", told)
            self._journal.end(replace(left, outcome="interrupted"))
            return
        _log.warning("%s: undoing it first", told)
        wrong = self._undo(left.before_state())
        self._journal.end(replace(left, outcome="undone", error="killed", by=self._by()))
        _log.warning("%s", self._standing(wrong))

    def _settle(self, made: Plan) -> None:
        """Every server has to be where the file says before anything is changed.

        Raises:
            InputError: one is not, and does not get there.
        """
        now = self._state()
        ignored = made.version if made.verb == "retire" else None
        labels = {label: at for label, at in now.labels.items() if at != ignored}
        wanted = Wanted(labels=labels, loaded=sorted(set(labels.values())))
        wrong = self._fleet.wait(wanted, 0.0)
        if wrong and not any(one.final for found in wrong.values() for one in found):
            for address, found in wrong.items():
                _log.warning("%s is not where the file says: %s", address, _told(found))
            timeout_s = self._settings.settled_s
            if self._settings.by != "file":
                self._fleet.reload(self._place.text)
                timeout_s = self._settings.timeout_s
            wrong = self._fleet.wait(wanted, timeout_s)
        if wrong:
            told = "; ".join(f"{address}: {_told(found)}" for address, found in wrong.items())
            raise InputError(
                f"Expected all servers where {self._place.name} says: {now}. Received: {told}. "
                "Nothing was changed; see to that server first, or leave it out."
            )

    def _or_undo(self, made: Plan, back: State, change: Change) -> tuple[str, str]:
        """State by state; back to where it began if one is not reached."""
        try:
            for before, state in zip((back, *made.states), made.states):
                if before != state:
                    self._step(before, state)
        except _StepFailedError as failure:
            _log.error("a state was not reached: undoing %s", made.words)
            return self._undone(made, back, f"{made.words} failed: {failure}.")
        except EditedMeanwhileError as edited:
            return "incomplete", f"{edited} {_EDIT_STAYS}"
        except (InputError, OSError) as failure:
            _log.error("%s: undoing %s", failure, made.words)
            return self._undone(made, back, f"{made.words} failed: {failure}")
        except BaseException as stop:
            _log.error("stopped (%s): undoing %s", type(stop).__name__, made.words)
            outcome, error = self._undone(made, back, type(stop).__name__)
            self._journal.end(replace(change, outcome=outcome, error=error, by=self._by()))
            _log.info("%s", error)
            raise
        return "done", ""

    def _regardless(self, made: Plan) -> tuple[str, str]:
        """Goes there at once, with whoever is up."""
        if made.verb != "apply":
            self._write(made.end)
        untold = {} if self._settings.by == "file" else self._fleet.reload(self._place.text)
        wanted = _wanted(made.start, made.end)
        if made.verb == "apply":
            wanted = replace(wanted, loaded=made.end.versions)
        try:
            wrong = dict(self._fleet.wait(wanted, self._settings.timeout_s, patient=True))
        except InputError as error:
            return "incomplete", (
                f"{made.says}, in {self._place.name}; whether the servers follow was not seen: "
                f"{error}"
            )
        for address in untold.keys() & wrong.keys():
            wrong[address] = [untold[address], *wrong[address]]
        if not wrong:
            return "done", ""
        told = "; ".join(f"{address}: {_told(found)}" for address, found in wrong.items())
        others = len(self._fleet.addresses) - len(wrong)
        return "incomplete", (
            f"{made.says}, at {others} of {len(self._fleet.addresses)} servers; not at {told}. "
            f"{self._place.name} says so already: a server takes it when it starts, or polls the "
            "file. See to those servers, then run: python -m serving.rollout apply"
        )

    def _step(self, before: State, state: State) -> None:
        _log.info("%s", state)
        self._write(state)
        if self._settings.by != "file":
            refused = self._fleet.reload(self._place.text)
            if refused:
                raise _StepFailedError(state, {at: [problem] for at, problem in refused.items()})
        wanted = _wanted(before, state)
        wrong = self._fleet.wait(wanted, self._settings.timeout_s)
        if wrong:
            raise _StepFailedError(state, wrong)

    def _undone(self, made: Plan, back: State, failed: str) -> tuple[str, str]:
        """Undoes it; the outcome, and how things stand now."""
        try:
            return "undone", f"{failed} {self._standing(self._undo(back))}"
        except EditedMeanwhileError as edited:
            return "incomplete", f"{failed} {edited} {_EDIT_STAYS}"
        except (InputError, OSError) as error:
            raise NotDoneError(
                f"{made.words} has failed, and could not be undone: {error} It is noted as under "
                "way: the next command sees to it."
            ) from error

    def _undo(self, back: State) -> Mapping[str, list[Problem]]:
        """Over legal states; who is down or does not follow does not hold up the others."""
        wrong: Mapping[str, list[Problem]] = {}
        way = states.path(self._state(), back)
        for before, state in itertools.pairwise(way):
            self._write(state)
            if self._settings.by != "file":
                self._fleet.reload(self._place.text)
            wanted = _wanted(before, state)
            wrong = self._fleet.wait(wanted, self._settings.timeout_s, patient=True)
        return wrong

    def _write(self, state: State) -> None:
        self._config = states.write(self._config, self._settings.model, state)
        self._place.write(self._config)
        self._fleet.hasten()

    def _standing(self, wrong: Mapping[str, list[Problem]]) -> str:
        told = "; ".join(f"{address}: {_told(found)}" for address, found in wrong.items())
        text = f"Undone: {self._state()}"
        return f"{text}, except at {told}" if told else f"{text}, at every server."

    def _by(self) -> str:
        if self._settings.by == "file":
            return "file"
        if not self._fleet.by_file:
            return "rpc"
        return "file" if self._fleet.by_file == {*self._fleet.addresses} else "rpc+file"

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


def _wanted(before: State, after: State) -> Wanted:
    """What has to be seen after a step."""
    added = set(after.versions) - set(before.versions)
    return Wanted(
        labels=after.labels,
        loaded=sorted({*after.labels.values(), *added}),
        gone=sorted(set(before.versions) - set(after.versions)),
    )


def _told(problems: list[Problem]) -> str:
    return ", ".join(dict.fromkeys(one.text for one in problems))


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
