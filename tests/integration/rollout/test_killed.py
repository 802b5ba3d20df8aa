"""kill -9 at every step of every verb: the file stays legal, the next command goes on or undoes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.rollout.states import State
from tests.integration.local_server_fixtures import (
    ROOT,
    RunningServer,
    line_config,
    running_server,
)
from tests.integration.rollout.rollout_fixtures import (
    FLAGS,
    HEADER,
    START,
    Operator,
    answering,
    reset,
    save_store,
)

MOST = 100
"""No verb has so many effects."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("server")
    save_store(folder / "models")
    with running_server(folder, *FLAGS, config=START) as running:
        yield running


def lead(server: RunningServer, folder: Path, versions: str, labels: dict[str, int]) -> Operator:
    """File and server in a state to begin from, nothing in the history."""
    reset([server])
    folder.mkdir()
    operator = Operator(folder, [server])
    for each in ({"stable": 1}, labels):
        text = line_config(f"specific {{ {versions} }}", each)
        operator.config.write_text(HEADER + text)
        server.reload(text)
        server.wait_loaded(*(int(word) for word in versions.split()[1::2]))
    return operator


def killed_at(operator: Operator, effect: int, verb: str) -> bool:
    command = [sys.executable, "-m", "tests.integration.rollout.kill_at", str(effect)]
    done = subprocess.run(
        [*command, *operator.arguments(verb)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    operator.check_legal()
    return done.returncode != 0


def settled(operator: Operator) -> bool:
    """The server serves what the file says, and nothing is left of the killed command."""
    return operator("status") == 0 and operator.pending() is None


END_OF_TRIAL = "rollback "
"""The same verb where a version is on trial: it ends that and goes back no further."""

WHOLE_WAY = {
    "canary 2": ("versions: 1", {"stable": 1}),
    "promote": ("versions: 1 versions: 2", {"stable": 1, "canary": 2}),
    "rollback": (
        "versions: 1 versions: 2",
        {"stable": 2, "canary": 2, "previous": 1},
    ),
    END_OF_TRIAL: (
        "versions: 1 versions: 2 versions: 3",
        {"stable": 2, "canary": 3, "previous": 1},
    ),
    "retire 1": (
        "versions: 1 versions: 2",
        {"stable": 2, "canary": 2, "previous": 1},
    ),
}

ENDS = {
    "canary 2": State(versions=(1, 2), labels={"canary": 2, "stable": 1}),
    "promote": State(versions=(1, 2), labels={"canary": 2, "previous": 1, "stable": 2}),
    "rollback": State(versions=(1, 2), labels={"canary": 1, "previous": 1, "stable": 1}),
    END_OF_TRIAL: State(versions=(1, 2, 3), labels={"canary": 2, "previous": 1, "stable": 2}),
    "retire 1": State(versions=(2,), labels={"canary": 2, "previous": 2, "stable": 2}),
}


@pytest.mark.parametrize("verb", WHOLE_WAY)
def test_the_same_command_again_brings_it_to_its_end(
    server: RunningServer, tmp_path: Path, verb: str
) -> None:
    kills = 0
    for effect in range(1, MOST):
        operator = lead(server, tmp_path / str(effect), *WHOLE_WAY[verb])
        if not killed_at(operator, effect, verb):
            break
        kills += 1
        if [change.outcome for change in operator.history()] == ["done"]:
            assert operator.state() == ENDS[verb]
            continue  # killed at its last words: the same again is another command
        assert operator(verb) == 0
        assert operator.state() == ENDS[verb], effect
        assert settled(operator)
    assert operator.state() == ENDS[verb]
    assert kills >= 10


@pytest.mark.parametrize("verb", WHOLE_WAY)
def test_another_command_undoes_it_first(server: RunningServer, tmp_path: Path, verb: str) -> None:
    for effect in range(1, MOST):
        operator = lead(server, tmp_path / str(effect), *WHOLE_WAY[verb])
        before = operator.state()
        if not killed_at(operator, effect, verb):
            break
        done = [change.outcome for change in operator.history()] == ["done"]
        # A rollback is never undone: what it reached stays.
        stays = verb.strip() == "rollback"
        begun_from = ENDS[verb] if done else operator.state() if stays else before
        other = 4
        assert operator(f"canary {other}") == 0
        labels = {**begun_from.labels, "canary": other}
        versions = tuple(sorted({*begun_from.versions, other}))
        assert operator.state() == State(versions=versions, labels=dict(sorted(labels.items())))
        assert settled(operator)


def test_a_rollback_after_a_killed_promotion_leaves_nobody_with_the_new_version(
    server: RunningServer, tmp_path: Path
) -> None:
    for effect in range(1, MOST):
        operator = lead(server, tmp_path / str(effect), *WHOLE_WAY["promote"])
        if not killed_at(operator, effect, "promote"):
            break
        assert operator("rollback") == 0
        assert answering(server, "stable") == 1
        assert answering(server, "canary") == 1
        assert settled(operator)


def test_what_somebody_has_edited_since_stays_as_it_is(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for effect in range(1, MOST):
        operator = lead(server, tmp_path / str(effect), *WHOLE_WAY["canary 2"])
        assert killed_at(operator, effect, "canary 2")
        if operator.state() == State(versions=(1, 2), labels={"stable": 1}):
            break  # in the middle: version 2 is listed, and has no label yet
    text = line_config("specific { versions: 1 versions: 3 }", {"stable": 1, "team": 3})
    operator.config.write_text(HEADER + text)
    server.reload(line_config("specific { versions: 1 versions: 3 }", {"stable": 1}))
    server.wait_loaded(1, 3)
    assert operator("apply") == 0
    assert "the file stays as it is" in capsys.readouterr().err
    assert operator.state() == State(versions=(1, 3), labels={"stable": 1, "team": 3})
    assert settled(operator)
