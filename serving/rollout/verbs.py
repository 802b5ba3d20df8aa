"""What each verb does: plans the change, has it carried out, and prints what came of it.

Every verb returns the exit code of the command.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foundation.command_line import InputError, explained, say
from serving import models_config
from serving.rollout import report, states
from serving.rollout.journal import Journal
from serving.rollout.operation import Command, NotDoneError, Operation
from serving.rollout.states import Plan, State
from serving.rollout.steps import Settings
from serving.rollout.where import Where

if TYPE_CHECKING:
    from serving.rollout.experiment import Verdict
    from serving.rollout.trial import Evidence

_log = logging.getLogger("serving.rollout")


@dataclass(frozen=True, kw_only=True)
class ChangeRequest:
    """What every verb that changes something is told."""

    where: Where
    settings: Settings
    dry_run: bool = False
    as_json: bool = False

    def carry_out(self, command: Command) -> int:
        """Carries a command out, or prints what would be done.

        Raises:
            InputError: refused, nothing was changed.
            NotDoneError: it failed and was undone, or some servers did not follow.
        """
        if self.dry_run:
            made = command.plan(states.read(self.where.place.read(), self.where.model))
            say(report.plan_as_json(made) if self.as_json else report.plan_as_text(made))
            return 0
        with self.where.fleet() as fleet:
            done = Operation(self.where.place, fleet, self.settings).run(command)
        try:
            say(report.done_as_json(done) if self.as_json else report.done_as_text(done))
        except OSError as error:
            raise NotDoneError(
                f"Done, {done.plan.says}; but it could not be printed. Received: {explained(error)}"
            ) from error
        return 0


def history(where: Where, *, last: int, as_json: bool) -> int:
    """Shows who did what, when and why."""
    changes, unreadable = Journal(where.place).history()
    if unreadable:
        print(
            f"python -m serving.rollout: {unreadable} lines of the history cannot be read",
            file=sys.stderr,
        )
    chosen = [change for change in changes if change.model == where.model]
    chosen = chosen[-max(1, last) :]
    say(report.history_as_json(chosen) if as_json else report.history_as_text(chosen))
    return 0


def canary(asked: ChangeRequest, version: int, *, models: Path, force: bool) -> int:
    """Puts a version on trial.

    Args:
        asked: where and how.
        version: the version.
        models: the store, as this machine sees it, in which the gate left its verdict.
        force: go on although the gate objects; the reason has to be given.
    """
    if force and not asked.settings.why:
        raise InputError("Expected --why with --force. Received: no reason. It is kept in history.")
    from serving.rollout import gate_verdict  # here: a rollback must not wait for this import

    where = asked.where
    config = where.place.read()

    def plan(now: State) -> Plan:
        made = states.canary(now, version)
        if now.canary == version:
            return made
        folder = models_config.folder_of(config.model(where.model), models)
        if where.in_cluster and not (folder / str(version)).is_dir():
            # The pods read the cluster's store and will say whether it has the version.
            objection = f"version {version} is not in {folder}, where the gate was asked"
        else:
            objection = gate_verdict.objection(folder, version, now.stable)
        return made.judged(objection, force=force)

    return asked.carry_out(Command(verb="canary", version=version, plan=plan))


def promote(asked: ChangeRequest, evidence: Evidence | None = None) -> int:
    """Makes the version on trial the stable one.

    Args:
        asked: where and how.
        evidence: of the experiment that has to find it better; None promotes it in any case.
    """

    def plan(now: State) -> Plan:
        if evidence is None:
            return states.promote(now)
        verdict = evidence.verdict(now)
        if verdict.kind != "better":
            raise InputError(
                f"Expected version {now.canary} to be better than {now.stable}. Received: "
                f"{verdict.kind}. {verdict.reason} To promote it in spite of that, leave out "
                "--if-better."
            )
        return dataclasses.replace(states.promote(now), why=verdict.reason)

    return asked.carry_out(Command(verb="promote", plan=plan))


def rollback(asked: ChangeRequest, to: int | None = None) -> int:
    """Ends the trial, or goes back to the version before, or to one that is named."""
    plan = Command(verb="rollback", plan=lambda now: states.rollback(now, to), once=to is not None)
    return asked.carry_out(plan)


def retire(asked: ChangeRequest, version: int) -> int:
    """Unloads a version that no label needs."""
    return asked.carry_out(
        Command(verb="retire", version=version, plan=lambda now: states.retire(now, version))
    )


def apply(asked: ChangeRequest) -> int:
    """Brings every server to what the file says."""
    return asked.carry_out(Command(verb="apply", plan=states.apply))


def watch(asked: ChangeRequest, evidence: Evidence, *, promote: bool, every_s: float) -> int:
    """Follows an experiment, and does what its verdict says.

    Args:
        asked: where and how.
        evidence: of the experiment.
        promote: promote a version that is better, not only roll one back that does harm.
        every_s: seconds between two looks.

    Returns:
        1 where the version on trial did harm and was rolled back.
    """
    from serving.rollout import trial  # here: a rollback must not wait for this import

    if every_s <= 0:
        raise InputError(f"Expected --every-s above 0. Received: {every_s:g}.")
    where = asked.where
    verdict, action = trial.watch(
        lambda: evidence.verdict(states.read(where.place.read(), where.model)),
        promote=promote,
        every_s=every_s,
        told=lambda verdict: _log.info("%s: %s", verdict.kind, verdict.reason),
    )
    if action == "end" or asked.dry_run:
        say(f"{verdict.kind}: {verdict.reason}")
        return 0
    command = Command(verb=action, plan=lambda now: _followed(verdict, action, now))
    return asked.carry_out(command) or int(action == "rollback")


def _followed(verdict: Verdict, action: str, now: State) -> Plan:
    """The plan that follows from a verdict on the version that is on trial now."""
    on_trial = verdict.sides[1].versions
    if now.canary is None or (on_trial and now.canary not in on_trial):
        raise InputError(
            f"Expected the version that the verdict is about. Received: {now}. Somebody else "
            "has moved the labels meanwhile; nothing was changed."
        )
    made = states.promote(now) if action == "promote" else states.rollback(now)
    return dataclasses.replace(made, why=verdict.reason)
