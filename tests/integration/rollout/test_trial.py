"""What follows from an experiment: promotion only of what is better, and rollback of what harms."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.rollout import states, trial
from serving.rollout.experiment import Verdict
from serving.rollout.trial import Evidence
from tests.integration.line_server import LineServer
from tests.integration.rollout.rollout_fixtures import START, Operator, answering, reset
from tfs_client import ExposureLog, Router
from tfs_client.routing.exposures import Exposure

PLAN = {
    "experiment": "trial",
    "weights": {"stable": 1, "canary": 1},
    "baseline": 0.8,
    "smallest_difference": 0.1,
}

COUNT = 1500
"""Exposures of a trial, both sides."""


@pytest.fixture(scope="module")
def server() -> Iterator[LineServer]:
    running = LineServer((1, 2, 3), START)
    yield running
    running.stop()


@pytest.fixture
def operator(server: LineServer, tmp_path: Path) -> Operator:
    reset([server])
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    found = Operator(tmp_path, [server])
    assert found("canary 2") == 0
    return found


def meet(
    folder: Path,
    *,
    right: tuple[float, float],
    failing: float = 0.0,
    count: int = COUNT,
    versions: tuple[int, int] = (1, 2),
) -> list[str]:
    """Traffic that a real router deals and a real log writes down; returns the flags for it.

    Args:
        folder: receives exposures.jsonl and outcomes.jsonl.
        right: share of right answers of stable and canary.
        failing: share of canary's calls that nobody answers.
        count: calls.
        versions: that answer for stable and canary.
    """
    random = np.random.default_rng(0)
    with ExposureLog(folder / "exposures.jsonl") as log:
        router = Router(PLAN["weights"], experiment="trial", on_exposure=log)
        outcomes = []
        for number in range(count):
            assigned = router.assign(f"user {number}")
            on_canary = assigned.label == "canary"
            failed = on_canary and random.random() < failing
            router.expose(
                Exposure(
                    experiment=assigned.experiment,
                    unit=assigned.unit,
                    label=assigned.label,
                    answered_by="" if failed else f"line/labels/{assigned.label}",
                    model="line",
                    version=0 if failed else versions[on_canary],
                    request_id=f"request {number}",
                    time_s=time.time() - 60 + number / count,
                    latency_s=0.01,
                    error="UnavailableError" if failed else "",
                    needs_review=None if failed else False,
                    predicted="" if failed else "sound",
                    probability=None if failed else 0.2,
                )
            )
            truth = "sound" if random.random() < right[on_canary] else "defective"
            outcomes.append({"request_id": f"request {number}", "truth": truth})
    (folder / "outcomes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in outcomes))
    return [
        *("--exposures", str(folder / "exposures.jsonl")),
        *("--outcomes", str(folder / "outcomes.jsonl")),
    ]


def test_a_better_version_is_promoted_and_the_history_says_on_what_grounds(
    operator: Operator, server: LineServer, tmp_path: Path
) -> None:
    records = meet(tmp_path, right=(0.6, 0.9))
    assert operator("promote", "--if-better", str(tmp_path / "plan.json"), *records) == 0
    assert answering(server, "stable") == 2
    assert "better" in operator.history()[-1].why


@pytest.mark.parametrize(
    ("right", "count", "kind"),
    [((0.8, 0.8), 300, "keep_going"), ((0.9, 0.6), COUNT, "worse")],
    ids=["too early", "worse"],
)
def test_what_is_not_shown_to_be_better_is_not_promoted(
    operator: Operator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    right: tuple[float, float],
    count: int,
    kind: str,
) -> None:
    records = meet(tmp_path, right=right, count=count)
    assert operator("promote", "--if-better", str(tmp_path / "plan.json"), *records) == 2
    assert f"Received: {kind}." in capsys.readouterr().err
    assert operator.state().stable == 1
    assert operator.state().canary == 2


def test_a_verdict_on_another_version_is_no_verdict_on_this_one(
    operator: Operator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator("canary 3") == 0
    records = meet(tmp_path, right=(0.6, 0.9))
    assert operator("promote", "--if-better", str(tmp_path / "plan.json"), *records) == 2
    error = capsys.readouterr().err
    assert "Expected answers of version 3 on the side canary. Received: answers of 2" in error
    assert operator.state().stable == 1


def test_a_broken_guardrail_rolls_the_trial_back(
    operator: Operator, server: LineServer, tmp_path: Path
) -> None:
    records = meet(tmp_path, right=(0.8, 0.8), failing=0.3)
    flags = [*records, "--every-s", "0.1"]
    assert operator(f"watch {tmp_path / 'plan.json'}", *flags) == 1
    assert answering(server, "canary") == 1
    assert answering(server, "stable") == 1
    last = operator.history()[-1]
    assert (last.verb, last.outcome) == ("rollback", "done")
    assert "errors" in last.why


def test_watching_promotes_what_is_better_only_where_it_was_told_to(
    operator: Operator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = meet(tmp_path, right=(0.6, 0.9))
    assert operator(f"watch {tmp_path / 'plan.json'}", *records) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("better: ")
    assert operator.state().canary == 2
    assert operator(f"watch {tmp_path / 'plan.json'}", *records, "--promote") == 0
    assert operator.state().stable == 2


def test_it_goes_on_watching_until_something_follows(operator: Operator, tmp_path: Path) -> None:
    def flags(**traffic: object) -> dict[str, list[str]]:
        found = meet(tmp_path, **traffic)  # type: ignore[arg-type]
        return {"exposures": [found[1]], "outcomes": [found[3]]}

    early = flags(right=(0.8, 0.8), count=200)
    evidence = Evidence(plan=tmp_path / "plan.json", **early)
    seen: list[Verdict] = []

    def more(_: float) -> None:
        flags(right=(0.9, 0.5))

    verdict, action = trial.watch(
        lambda: evidence.verdict(operator.state()),
        promote=True,
        every_s=1.0,
        told=seen.append,
        pause=more,
    )
    assert [one.kind for one in seen] == ["keep_going", "worse"]
    assert (verdict.kind, action) == ("worse", "rollback")


def test_without_a_trial_there_is_nothing_to_decide_on(tmp_path: Path) -> None:
    now = states.State(versions=(1,), labels={"stable": 1})
    with pytest.raises(states.NothingToDoError, match="nothing to decide on"):
        Evidence(plan=tmp_path / "plan.json", exposures=[]).verdict(now)
