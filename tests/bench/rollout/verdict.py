"""What was measured of rollouts, as figures with their bars."""

from __future__ import annotations

import numpy as np

from serving.rollout.experiment import Plan
from tests.bench.rollout import timeline
from tests.bench.rollout.traffic import Traffic
from tests.bench.verdict import Verdict

POLL_S = 1
"""The servers' interval in the part `file`: --model_config_file_poll_wait_seconds."""

LEAST_REQUESTS = 100_000
"""In the part traffic."""

LAST_BAD_ANSWER_S = {"rpc": 0.5, "file": POLL_S + 1.0}
"""After the start of a rollback, by part."""

PLAN = Plan(
    experiment="bench",
    weights={"stable": 1, "canary": 1},
    baseline=0.82,
    smallest_difference=0.03,
)
"""About the sample set's accuracy, and three images in a hundred."""


def add_traffic(verdict: Verdict, part: str, found: Traffic) -> None:
    """What callers lost, and how long the version that was left went on answering."""
    promotions = sum(command.verb == "promote" for command in found.commands)
    rollbacks = timeline.last_answers_s(found.commands, found.rows)
    unlabelled = timeline.unlabelled_answers(found.commands, found.rows)
    seconds = found.rows["ended"].max() - found.rows["begun"].min()
    add, require = verdict.add, verdict.require
    at_least = LEAST_REQUESTS if part == "traffic" else None
    add(f"{part}.requests", len(found.rows), "requests", at_least=at_least)
    add(f"{part}.requests_per_s", len(found.rows) / seconds, "requests/s")
    add(f"{part}.promotions", promotions, "")
    add(f"{part}.rollbacks", len(rollbacks), "")
    require(f"{part}.failed", found.failed, "requests", at_most=0)
    require(f"{part}.wrong", found.wrong, "answers", at_most=0)
    require(f"{part}.by_versions_without_the_label", unlabelled, "answers", at_most=0)
    add(f"{part}.last_bad_answer_median_s", float(np.median(rollbacks)), "s")
    bar = LAST_BAD_ANSWER_S.get(part)
    add(f"{part}.last_bad_answer_max_s", float(rollbacks.max()), "s", at_most=bar)
    for verb in ("promote", "rollback"):
        took = [command.seconds for command in found.commands if command.verb == verb]
        add(f"{part}.{verb}_first_write_to_last_check_median_s", float(np.median(took)), "s")
    add(f"{part}.server_memory_before_mb", found.memory_mb[0], "MB")
    add(f"{part}.server_memory_after_mb", found.memory_mb[1], "MB")
