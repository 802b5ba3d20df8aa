"""What the rollout benchmark counts: judged on answers made by hand."""

from __future__ import annotations

import numpy as np

from tests.bench.rollout import timeline
from tests.bench.rollout.callers import FAILED, ROW
from tests.bench.rollout.timeline import Command

STABLE, CANARY = 0, 1


def command(verb: str, begun: float, before: tuple[int, int], after: tuple[int, int]) -> Command:
    both = [dict(zip(("stable", "canary"), labels)) for labels in (before, after)]
    return Command(
        verb=verb, begun=begun, ended=begun + 1, seconds=0.1, before=both[0], after=both[1]
    )


COMMANDS = [
    command("canary", 10, (1, 1), (1, 2)),
    command("promote", 20, (1, 2), (2, 2)),
    command("rollback", 30, (2, 2), (1, 1)),
]


def rows(*found: tuple[float, float, int, int]) -> np.ndarray:
    return np.array(list(found), ROW)


def test_old_and_new_may_answer_while_a_label_moves_and_nobody_else() -> None:
    good = [
        (5.0, 5.1, STABLE, 1),
        (20.5, 20.6, STABLE, 1),
        (20.5, 20.6, STABLE, 2),
        (19.9, 20.1, STABLE, 2),
        (25.0, 25.1, STABLE, 2),
        (40.0, 40.1, CANARY, 1),
        (25.0, 25.1, STABLE, FAILED),
    ]
    assert timeline.unlabelled_answers(COMMANDS, rows(*good)) == 0
    bad = [
        (5.0, 5.1, STABLE, 2),
        (15.0, 15.1, CANARY, 1),
        (25.0, 25.1, STABLE, 1),
        (40.0, 40.1, CANARY, 2),
        (40.0, 40.1, STABLE, 3),
    ]
    assert timeline.unlabelled_answers(COMMANDS, rows(*good, *bad)) == len(bad)


def test_a_rollback_lasts_until_the_last_answer_of_the_version_it_left() -> None:
    found = timeline.last_answers_s(
        COMMANDS, rows((29.9, 30.25, STABLE, 2), (30.5, 30.6, STABLE, 1), (30.9, 31.5, CANARY, 2))
    )
    assert np.allclose(found, [0.25])
