"""The experiment's verdict on the version that is on trial now, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from foundation.command_line import InputError
from serving.rollout.experiment import Verdict, evaluate, read_plan, read_records
from serving.rollout.states import NothingToDoError, State
from tfs_client.contract import LABEL_CANARY, LABEL_STABLE

Action = Literal["rollback", "promote", "end", "wait"]

_ROLLS_BACK: Final = ("guardrail_broken", "worse")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Where an experiment's plan and records lie."""

    plan: Path
    exposures: Sequence[str]
    """Paths or globs."""
    outcomes: Sequence[str] = ()

    def verdict(self, now: State) -> Verdict:
        """What the experiment shows by now.

        Raises:
            InputError: nothing is on trial, the plan compares other labels, or answers come from
                other versions than the labels point at: another trial's exposures.
        """
        if now.canary is None:
            raise NothingToDoError(
                f"Expected a version on trial, beside stable → {now.stable}. Received: none. "
                "The experiment has nothing to decide on."
            )
        plan = read_plan(self.plan)
        labels = {"control": plan.control, "treatment": plan.treatment}
        if (plan.control, plan.treatment) != (LABEL_STABLE, LABEL_CANARY):
            raise InputError(
                f"Expected an experiment of {LABEL_STABLE} and {LABEL_CANARY}. "
                f"Received: {labels} in {self.plan}. Only these are led here."
            )
        verdict = evaluate(plan, read_records(plan, self.exposures, self.outcomes), time.time())
        for side, version in zip(verdict.sides, (now.stable, now.canary)):
            others = [one for one in side.versions if one != version]
            if others:
                raise InputError(
                    f"Expected answers of version {version} on the side {side.label}. Received: "
                    f"answers of {', '.join(map(str, others))}. They are another trial's: give "
                    "each trial an experiment of its own name, in the router and in the plan."
                )
        return verdict


def follows(verdict: Verdict, *, promote: bool) -> Action:
    """What is to be done.

    Args:
        verdict: of the version on trial.
        promote: whether a better version is to be promoted without asking.
    """
    if verdict.kind in _ROLLS_BACK:
        return "rollback"
    if verdict.kind == "changing" and verdict.estimate is not None and verdict.estimate < 0:
        return "rollback"  # how much worse cannot be told, but callers need not wait for that
    if verdict.kind == "keep_going":
        return "wait"
    return "promote" if verdict.kind == "better" and promote else "end"


def watch(
    look: Callable[[], Verdict],
    *,
    promote: bool,
    every_s: float,
    told: Callable[[Verdict], None],
    pause: Callable[[float], None] = time.sleep,
) -> tuple[Verdict, Action]:
    """Asks for the verdict again and again until something follows.

    However often one looks, the verdict is as reliable as if it were looked at once.

    Args:
        look: gives the verdict by now.
        promote: as in `follows`.
        every_s: seconds between two looks.
        told: called with each verdict.
        pause: waits for so many seconds.
    """
    while True:
        verdict = look()
        told(verdict)
        action = follows(verdict, promote=promote)
        if action != "wait":
            return verdict, action
        pause(every_s)
