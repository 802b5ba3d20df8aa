"""Which version may answer a label at which time: the one that the label pointed at meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.bench.rollout.callers import FAILED, LABELS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """One command, from its start to its end, and what the labels pointed at before and after."""

    verb: str
    begun: float
    ended: float
    seconds: float
    """As the command says: from its first write to the last check."""
    before: dict[str, int]
    after: dict[str, int]


def unlabelled_answers(commands: Sequence[Command], rows: NDArray[np.void]) -> int:
    """Counts answers by versions that their label did not point at during the request.

    While a command moves a label, its old and its new version may answer.

    Args:
        commands: in order, without gaps in what the labels point at.
        rows: ROW.
    """
    wrong = 0
    for at, label in enumerate(LABELS):
        own = rows[(rows["label"] == at) & (rows["version"] != FAILED)]
        # When each value of the label may have been seen: from the start of the command that set
        # it to the end of the one that took it away.
        spans = [(-np.inf, commands[0].before[label])]
        ends: list[float] = []
        for command in commands:
            if command.after[label] != spans[-1][1]:
                ends.append(command.ended)
                spans.append((command.begun, command.after[label]))
        ends.append(np.inf)
        allowed = np.zeros(len(own), bool)
        for (start, version), end in zip(spans, ends):
            inside = (own["ended"] >= start) & (own["begun"] <= end)
            allowed |= inside & (own["version"] == version)
        wrong += int(np.sum(~allowed))
    return wrong


def last_answers_s(
    commands: Sequence[Command], rows: NDArray[np.void], label: str = LABELS[0]
) -> NDArray[np.float64]:
    """For each rollback: seconds from its start to the last answer of the version it left.

    Args:
        commands: in order.
        rows: ROW.
        label: whose answers count.
    """
    own = rows[rows["label"] == LABELS.index(label)]
    found = []
    for at, command in enumerate(commands):
        if command.verb != "rollback" or command.before[label] == command.after[label]:
            continue
        end = commands[at + 1].begun if at + 1 < len(commands) else np.inf
        of_bad = own[
            (own["ended"] >= command.begun)
            & (own["begun"] < end)
            & (own["version"] == command.before[label])
        ]
        last = of_bad["ended"].max() if len(of_bad) else command.begun
        found.append(last - command.begun)
    return np.array(found)
