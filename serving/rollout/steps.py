"""Takes the servers from one state to the next: write the file, tell them, wait until all show it.

What a whole command does with these steps is in operation.py.
"""

from __future__ import annotations

import getpass
import itertools
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from foundation.command_line import InputError, explained
from serving import models_config
from serving.fleet.fleet import Fleet, Problem, Wanted
from serving.fleet.place import EditedMeanwhileError, Place
from serving.models_config import ModelsConfig
from serving.rollout import new_models, states
from serving.rollout.states import Plan, State

_log = logging.getLogger("serving.rollout")

By = Literal["auto", "rpc", "file"]

TIMEOUT_S: Final = 180.0
"""Long enough to load a large model, and for a ConfigMap to reach every node."""

SETTLED_S: Final = 5.0
"""For servers that poll the file, where nothing was changed just now."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a change is carried out."""

    model: str
    by: By = "auto"
    timeout_s: float = TIMEOUT_S
    """Seconds that each state may take to show at all servers."""
    settled_s: float = SETTLED_S
    """Seconds that a server which only polls may be behind the file before a change."""
    models: Path | None = None
    """The store, as this machine sees it; None where it does not."""
    why: str = ""
    who: str = ""
    typed: Callable[[str], str] = "make rollout ARGS={}".format
    """A verb to the command that one types for it, at this place."""

    def operator(self) -> str:
        """Who makes the change."""
        return self.who or f"{getpass.getuser()}@{socket.gethostname()}"


class StepFailedError(Exception):
    """Some servers did not reach a state; says which, and why."""

    def __init__(self, state: State, problems: Mapping[str, Sequence[Problem]]):
        super().__init__(f"not reached: {state} ({_told(problems)})")


class NoServerError(InputError):
    """No server answers; nothing was changed."""


class Steps:
    """One model's states, at all servers of a fleet. Call `read` before anything else.

    Args:
        place: of models.config; its lock is held by the caller.
        fleet: all servers.
        settings: how.
    """

    def __init__(self, place: Place, fleet: Fleet, settings: Settings):
        self._place = place
        self._fleet = fleet
        self._settings = settings
        self._config = ModelsConfig()
        self.changed = False
        """Whether models.config was written, or may have been, or servers were told."""
        self.nobody_answered = False
        """Whether go_to_the_end has heard of no server at all."""

    def read(self) -> None:
        """Reads models.config."""
        self._config = self._place.read()

    def state(self) -> State:
        """What models.config says of the model, as read or written last."""
        return states.read(self._config, self._settings.model)

    @property
    def servers(self) -> tuple[str, ...]:
        """Names of the servers as of now."""
        return self._fleet.addresses

    def look_at_new_models(self, plan: Plan) -> None:
        """Refuses models for which a server would wait without limit: see new_models.look."""
        new_models.look(
            self._config,
            plan,
            self._fleet,
            model=self._settings.model,
            store=self._settings.models,
            polls_for_s=self._settings.settled_s if self._settings.by == "file" else None,
            place=self._place.name,
        )

    def settle(self, plan: Plan) -> None:
        """Waits until every server is where the file says, before anything is changed.

        Raises:
            InputError: a server is elsewhere and does not get there.
        """
        now = self.state()
        ignored = plan.version if plan.verb == "retire" else None
        labels = {label: at for label, at in now.labels.items() if at != ignored}
        wanted = Wanted(labels=labels, loaded=sorted(set(labels.values())))
        wrong = self._fleet.wait(wanted, 0.0)
        if wrong and not any(one.final for found in wrong.values() for one in found):
            for address, found in wrong.items():
                _log.warning("%s is not where the file says: %s", address, _in_words(found))
            timeout_s = self._settings.settled_s
            if self._settings.by != "file":
                self._tell(self._place.text)
                timeout_s = self._settings.timeout_s
            wrong = self._fleet.wait(wanted, timeout_s)
        if not wrong:
            return
        if _silent(wrong, self.servers):
            raise NoServerError(
                f"No server follows: {self._none_of_all(wrong)}. Nothing was changed: {plan.words} "
                "waits for every server. See to the servers, and start again."
            )
        raise InputError(
            f"Expected all servers where {self._place.name} says: {now}. Received: "
            f"{_told(wrong)}. Nothing was changed; see to that server first, or leave it out."
        )

    def step(self, before: State, after: State) -> None:
        """Goes from one state to the next one.

        Raises:
            StepFailedError: a server refuses the new state or does not show it in time.
        """
        _log.info("%s", after)
        self._write(after)
        if self._settings.by != "file":
            refused = self._tell(self._place.text)
            if refused:
                raise StepFailedError(after, {at: [problem] for at, problem in refused.items()})
        wrong = self._fleet.wait(_wanted(before, after), self._settings.timeout_s)
        if wrong:
            raise StepFailedError(after, wrong)

    def go_to_the_end(self, plan: Plan) -> str:
        """Goes to the plan's last state at once, with the servers that are up.

        Where models.config cannot be written, servers that can be told are told all the same.

        Returns:
            What is not done, with what to do about it; empty where all is done.

        Raises:
            EditedMeanwhileError, OSError, InputError: models.config cannot be written, and it is
                the only way to tell the servers.
        """
        wanted = _wanted(plan.start, plan.end)
        unwritten = ""
        if plan.verb == "apply":
            wanted = replace(wanted, loaded=plan.end.versions)
        else:
            try:
                self._write(plan.end, urgent=True)
            except EditedMeanwhileError:
                raise
            except (InputError, OSError) as error:
                if self._settings.by == "file":
                    raise
                unwritten = explained(error) or str(error)
                _log.error("%s: telling the servers all the same", unwritten)
        text = models_config.render(self._config) if unwritten else self._place.text
        untold = {} if self._settings.by == "file" else self._tell(text)
        self.changed = True
        try:
            wrong = dict(self._fleet.wait(wanted, self._settings.timeout_s, patient=True))
        except InputError as error:
            return (
                f"{plan.says}, in {self._place.name}; whether the servers follow was not seen: "
                f"{error}"
            )
        self.nobody_answered = _silent(wrong, self.servers)
        for address in untold.keys() & wrong.keys():
            wrong[address] = [untold[address], *wrong[address]]
        count = len(self.servers)
        if wrong and len(wrong) >= count:
            return f"No server follows: {self._none_of_all(wrong)}. {self._alone(plan, unwritten)}"
        if unwritten:
            seen = f"{count - len(wrong)} of {count} servers"
            others = f"; not at {_told(wrong)}" if wrong else ""
            return (
                f"{plan.says}, at {seen}{others}; but {self._place.name} could not be written, and "
                "a server that polls it, or starts, takes back what it says. Received: "
                f"{unwritten}"
            )
        if not wrong:
            return ""
        return (
            f"{plan.says}, at {count - len(wrong)} of {count} servers; not at {_told(wrong)}. "
            f"{self._place.name} says so already: a server takes it when it starts, or polls the "
            f"file. See to those servers, then run: {self._settings.typed('apply')}"
        )

    def _none_of_all(self, wrong: Mapping[str, Sequence[Problem]]) -> str:
        return f"0 of {len(self.servers)} servers ({_told(wrong)})"

    def _alone(self, plan: Plan, unwritten: str) -> str:
        """What has become of models.config where no server follows, and what to do.

        Args:
            plan: of a rollback, which changes the file in any case, or of apply, which never does.
            unwritten: why models.config could not be written.
        """
        name, again = self._place.name, f"run: {self._settings.typed('apply')}"
        if unwritten:
            return f"{name} could not be written either, and is as it was. Received: {unwritten}"
        if plan.verb == "apply":
            return f"{name} stays as it is. See to the servers, then {again}"
        return (
            f"Only {name} was changed, which a rollback does in any case: {plan.says} there. A "
            f"server takes it when it starts, or polls the file. See to the servers, then {again}"
        )

    def undo(self, back: State) -> str:
        """Goes back over legal states; a server that is down does not hold up the others.

        Returns:
            How things stand then, in words.
        """
        wrong: Mapping[str, Sequence[Problem]] = {}
        for before, after in itertools.pairwise(states.path(self.state(), back)):
            self._write(after, urgent=True)
            if self._settings.by != "file":
                self._tell(self._place.text)
            wanted = _wanted(before, after)
            wrong = self._fleet.wait(wanted, self._settings.timeout_s, patient=True)
        text = f"Undone: {self.state()}"
        return f"{text}, except at {_told(wrong)}" if wrong else f"{text}, at every server."

    def by(self) -> str:
        """How the servers heard of it: rpc, file, or rpc+file where some take no reload by RPC."""
        if self._settings.by == "file":
            return "file"
        if not self._fleet.by_file:
            return "rpc"
        return "file" if self._fleet.by_file == {*self.servers} else "rpc+file"

    def _tell(self, text: str) -> dict[str, Problem]:
        return self._fleet.reload(text, [model.name for model in self._config.models])

    def _write(self, state: State, *, urgent: bool = False) -> None:
        # Before it is written: a write that failed may have arrived all the same, and is undone.
        self._config = states.write(self._config, self._settings.model, state)
        self._place.write(self._config, urgent=urgent)
        self.changed = True
        self._fleet.hasten()


def _wanted(before: State, after: State) -> Wanted:
    """What has to be seen after a step."""
    added = set(after.versions) - set(before.versions)
    return Wanted(
        labels=after.labels,
        loaded=sorted({*after.labels.values(), *added}),
        gone=sorted(set(before.versions) - set(after.versions)),
    )


def _silent(problems: Mapping[str, Sequence[Problem]], servers: Sequence[str]) -> bool:
    """Whether no server answers, or there is none."""
    silent = all(one.silent for found in problems.values() for one in found)
    return bool(problems) and len(problems) >= len(servers) and silent


def _told(problems: Mapping[str, Sequence[Problem]]) -> str:
    return "; ".join(f"{address}: {_in_words(found)}" for address, found in problems.items())


def _in_words(problems: Sequence[Problem]) -> str:
    return ", ".join(dict.fromkeys(one.text for one in problems))
