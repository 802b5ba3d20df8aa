"""Mistakes in the command that replays a run's images; what it sends is walked in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.replay import EXPERIMENT, WEIGHTS, main
from serving.rollout.experiment import read_plan


def test_the_projects_own_plan_judges_what_is_replayed() -> None:
    plan = read_plan(Path(__file__).parents[3] / "serving" / "experiment.json")
    assert plan.experiment == EXPERIMENT
    assert plan.weights == WEIGHTS


@pytest.mark.parametrize("weight", ["canary", "canary=", "=", "canary=ten"])
def test_a_weight_that_is_none_is_told_with_an_example(
    weight: str, sample_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--run", str(sample_run), "--weights", "stable=1", weight]) == 2
    assert f"such as canary=10. Received: --weights {weight}." in capsys.readouterr().err


def test_without_a_server_or_a_run_it_says_so_in_one_line(
    sample_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = ("--target", "127.0.0.1:1", "--build", str(tmp_path))
    assert main(["--run", str(sample_run), *target]) == 2
    assert main(["--run", str(tmp_path), *target]) == 2
    refused, missing = capsys.readouterr().err.strip().splitlines()
    assert "127.0.0.1:1" in refused
    assert "Expected a run in" in missing
