"""The verbs as sequences of states, without a server: every state on the way must be legal."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, strategies as st

from foundation.command_line import InputError
from serving import models_config
from serving.models_config import Model, ModelsConfig, Specific
from serving.rollout import states
from serving.rollout.states import NothingToDoError, State

LED = ("stable", "canary", "previous")


def state(versions: tuple[int, ...], **labels: int) -> State:
    return State(versions=versions, labels=dict(sorted(labels.items())))


@st.composite
def any_state(draw: st.DrawFn) -> State:
    versions = tuple(sorted(draw(st.sets(st.integers(1, 6), min_size=1, max_size=4))))
    labels = {"stable": draw(st.sampled_from(versions))}
    for label in draw(st.sets(st.sampled_from(["canary", "previous", "team"]))):
        labels[label] = draw(st.sampled_from(versions))
    return state(versions, **labels)


@given(any_state(), any_state())
def test_on_every_way_a_label_only_points_at_what_was_loaded_the_step_before(
    start: State, end: State
) -> None:
    way = states.path(start, end)
    assert way[0] == start
    assert way[-1] == end
    for before, after in itertools.pairwise(way):
        moved = {label for label, at in after.labels.items() if before.labels.get(label) != at}
        assert all(after.labels[label] in before.versions for label in moved)
        gone = set(before.versions) - set(after.versions)
        assert not gone & {*before.labels.values(), *after.labels.values()}
        assert set(after.labels.values()) <= set(after.versions)


@given(
    any_state(),
    st.lists(
        st.tuples(st.sampled_from(["canary", "promote", "rollback", "retire"]), st.integers(1, 6)),
        max_size=8,
    ),
)
def test_no_series_of_verbs_takes_a_label_away_or_leaves_one_on_an_unloaded_version(
    now: State, verbs: list[tuple[str, int]]
) -> None:
    for verb, version in verbs:
        before = now
        try:
            if verb in ("canary", "retire"):
                now = getattr(states, verb)(now, version).end
            else:
                now = getattr(states, verb)(now).end
        except InputError:
            continue
        assert set(before.labels) <= set(now.labels)
        assert set(now.labels.values()) <= set(now.versions)
        if verb in ("promote", "rollback"):
            assert now.versions == before.versions


def test_a_canary_is_loaded_before_it_gets_its_label() -> None:
    plan = states.canary(state((1,), stable=1), 2)
    assert plan.states == (
        state((1,), stable=1),
        state((1, 2), stable=1),
        state((1, 2), stable=1, canary=2),
    )


def test_promote_keeps_the_stable_version_loaded_and_labels_it_previous() -> None:
    plan = states.promote(state((1, 2), stable=1, canary=2))
    assert plan.end == state((1, 2), stable=2, canary=2, previous=1)
    assert len(plan.states) == 2


def test_rollback_ends_a_trial_first_and_goes_back_then() -> None:
    trial = state((1, 2, 3), stable=2, canary=3, previous=1)
    once = states.rollback(trial).end
    assert once == state((1, 2, 3), stable=2, canary=2, previous=1)
    twice = states.rollback(once).end
    assert twice == state((1, 2, 3), stable=1, canary=1, previous=1)
    with pytest.raises(NothingToDoError, match="--to N"):
        states.rollback(twice)


def test_rollback_to_a_version_leaves_no_led_label_on_another() -> None:
    end = states.rollback(state((1, 2, 3), stable=2, canary=3, previous=1, team=3), to=1).end
    assert end == state((1, 2, 3), stable=1, canary=1, previous=1, team=3)


def test_rollback_to_a_version_that_is_not_loaded_is_refused() -> None:
    with pytest.raises(InputError, match="Expected a version that is loaded: 1, 2"):
        states.rollback(state((1, 2), stable=2), to=3)


def test_promote_without_a_trial_names_what_could_be_tried() -> None:
    with pytest.raises(NothingToDoError, match=r"canary N: 2, say"):
        states.promote(state((1, 2), stable=1, canary=1))


@pytest.mark.parametrize(("version", "advice"), [(1, "promote, or rollback"), (2, "End its trial")])
def test_what_callers_ask_for_is_not_retired(version: int, advice: str) -> None:
    with pytest.raises(InputError, match=advice):
        states.retire(state((1, 2), stable=1, canary=2), version)


def test_retiring_what_could_be_gone_back_to_moves_its_label_before_it_is_unloaded() -> None:
    plan = states.retire(state((1, 2), stable=2, canary=2, previous=1), 1)
    assert plan.states[1:] == (
        state((1, 2), stable=2, canary=2, previous=2),
        state((2,), stable=2, canary=2, previous=2),
    )
    assert "nothing to go back to" in plan.says


def test_the_gates_objection_stops_a_plan_unless_it_is_passed_over() -> None:
    plan = states.canary(state((1,), stable=1), 2)
    assert plan.judged("", force=False).gate == "passed"
    with pytest.raises(InputError, match=r'make gate VERSION=2 ARGS="--against 1"'):
        plan.judged("it is worse", force=False)
    assert plan.judged("it is worse", force=True).gate == "passed over: it is worse"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Model(name="m", base_path="/m"), r"listed one by one.*specific { versions: 1 }"),
        (
            Model(name="m", base_path="/m", policy=Specific((1,)), labels={"stable": 2}),
            r"label stable of m on a version that is served: 1\. Received: 2",
        ),
        (Model(name="m", base_path="/m", policy=Specific((1,))), r'key: "stable" value: 1'),
        (Model(name="other", base_path="/m"), r"Expected the model m .* Received: other"),
    ],
    ids=["no list", "label on an unserved version", "no stable", "another model"],
)
def test_a_file_that_cannot_be_led_says_what_to_write(model: Model, message: str) -> None:
    with pytest.raises(InputError, match=message):
        states.read(ModelsConfig(models=(model,)), "m")


def test_other_models_and_the_header_stay_as_they_are() -> None:
    text = """# why
model_config_list {
  config { name: "other" base_path: "/o" model_platform: "tensorflow" }
  config { name: "m" base_path: "/m" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 } } version_labels { key: "stable" value: 1 } }
}"""
    config = models_config.parse(text)
    changed = states.write(config, "m", state((1, 2), stable=1, canary=2))
    assert changed.header == "# why\n"
    assert changed.model("other") == config.model("other")
    assert states.read(changed, "m") == state((1, 2), stable=1, canary=2)
