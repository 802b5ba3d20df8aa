"""The plan file: what it may say, and how it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foundation.command_line import InputError
from serving.rollout.experiment.plan import read_plan

GOOD = {
    "experiment": "new-model",
    "weights": {"stable": 90, "canary": 10},
    "baseline": 0.85,
    "smallest_difference": 0.03,
}


def _write(folder: Path, content: object) -> Path:
    path = folder / "plan.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_plan_needs_four_keys_and_has_defaults_for_the_rest(tmp_path: Path) -> None:
    plan = read_plan(_write(tmp_path, GOOD))
    assert (plan.control, plan.treatment) == ("stable", "canary")
    assert (plan.alpha, plan.power, plan.guardrail_alpha, plan.srm_alpha) == (0.05, 0.8, 0.01, 1e-3)
    assert (plan.min_outcomes, plan.max_duration_h) == (100, 336)
    rails = plan.guardrails
    assert (rails.errors, rails.review, rails.slow, rails.slow_s) == (0.01, 0.05, 0.02, 0.25)
    assert plan.treatment_share == pytest.approx(0.1)


def test_a_plan_says_everything_it_can_say(tmp_path: Path) -> None:
    content = {
        **GOOD,
        "control": "a",
        "treatment": "b",
        "weights": {"a": 1, "b": 3},
        "alpha": 0.1,
        "power": 0.9,
        "min_outcomes": 50,
        "max_duration_h": 24,
        "guardrails": {"errors": 0, "slow_s": 1},
        "guardrail_alpha": 0.02,
        "srm_alpha": 0.01,
    }
    plan = read_plan(_write(tmp_path, content))
    assert (plan.control, plan.treatment, plan.treatment_share) == ("a", "b", 0.75)
    assert (plan.alpha, plan.power, plan.guardrail_alpha, plan.srm_alpha) == (0.1, 0.9, 0.02, 0.01)
    assert (plan.min_outcomes, plan.max_duration_h) == (50, 24)
    rails = plan.guardrails
    assert (rails.errors, rails.review, rails.slow, rails.slow_s) == (0, 0.05, 0.02, 1)


def test_planning_looks_below_the_baseline_where_there_is_no_room_above(tmp_path: Path) -> None:
    assert read_plan(_write(tmp_path, GOOD)).improved == pytest.approx(0.88)
    assert read_plan(_write(tmp_path, {**GOOD, "baseline": 0.99})).improved == pytest.approx(0.96)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"alhpa": 0.05}, "'alhpa'"),
        ({"guardrails": {"erors": 0.1}}, "'erors'"),
        ({"guardrails": 3}, "guardrails as a JSON object"),
        ({"experiment": ""}, "experiment=''"),
        ({"experiment": 7}, "experiment=7"),
        ({"treatment": "stable"}, "treatment='stable'"),
        ({"weights": [9, 1]}, "weights=[9, 1]"),
        ({"weights": {"stable": 9, "new": 1}}, "weights={'stable': 9.0, 'new': 1.0}"),
        ({"weights": {"stable": 9, "canary": 0}}, "weights.canary=0.0"),
        ({"weights": {"stable": 9, "canary": True}}, "weights.canary=True"),
        ({"alpha": 0}, "alpha=0.0"),
        ({"alpha": "0.05"}, "alpha='0.05'"),
        ({"power": 1}, "power=1.0"),
        ({"srm_alpha": 1.5}, "srm_alpha=1.5"),
        ({"guardrail_alpha": -1}, "guardrail_alpha=-1.0"),
        ({"baseline": None}, "baseline=None"),
        ({"baseline": 10**400}, "baseline=1000"),
        ({"baseline": 0.5, "smallest_difference": 0.6}, "smallest_difference=0.6"),
        ({"min_outcomes": 1}, "min_outcomes=1"),
        ({"min_outcomes": 99.5}, "min_outcomes=99.5"),
        ({"max_duration_h": 0}, "max_duration_h=0.0"),
        ({"guardrails": {"errors": -0.1}}, "guardrails.errors=-0.1"),
        ({"guardrails": {"slow_s": 0}}, "guardrails.slow_s=0.0"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    path = _write(tmp_path, {**GOOD, **change})
    with pytest.raises(InputError) as caught:
        read_plan(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: Expected ")
    assert f"Received: {told}" in message or told in message
    assert ";" in message  # and what to do
    assert "\n" not in message


@pytest.mark.parametrize("key", GOOD)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    path = _write(tmp_path, {name: value for name, value in GOOD.items() if name != key})
    with pytest.raises(InputError, match=f"Received: no {key};"):
        read_plan(path)


def test_a_slip_of_the_pen_is_found_by_line_and_column(tmp_path: Path) -> None:
    path = _write(tmp_path, '{"experiment": "e",\n "alpha" 0.05}')
    with pytest.raises(InputError, match=r"plan\.json:2:10: Expected JSON\. Received: "):
        read_plan(path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_refused(tmp_path: Path, number: str) -> None:
    text = json.dumps({**GOOD, "alpha": "X"}).replace('"X"', number)
    with pytest.raises(InputError, match="Expected a finite number"):
        read_plan(_write(tmp_path, text))


def test_a_key_that_is_written_twice_is_refused(tmp_path: Path) -> None:
    text = json.dumps(GOOD)[:-1] + ', "baseline": 0.5}'
    with pytest.raises(InputError, match="'baseline' twice"):
        read_plan(_write(tmp_path, text))


@pytest.mark.parametrize("content", ["[1]", "3", '"text"', "null"])
def test_what_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match="Expected the plan as a JSON object"):
        read_plan(_write(tmp_path, content))


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Expected a file with a plan"):
        read_plan(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="Expected JSON in UTF-8"):
        read_plan(tmp_path / "plan.json")
