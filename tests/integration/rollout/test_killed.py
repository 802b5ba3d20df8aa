"""kill -9 at every step of every verb: the file stays legal, the next command goes on or undoes.

`make test` kills each verb once at each kind of effect, beside a light server; `make test-thorough`
kills it at every effect, beside the real one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from serving.rollout.states import State
from tests.integration.line_server import LineServer, config
from tests.integration.rollout.kill_at import Commands
from tests.integration.rollout.rollout_fixtures import (
    FLAGS,
    HEADER,
    START,
    Operator,
    Server,
    answering,
    reset,
)

EACH_KIND = ("rename", "reload", "wait", "fsync", "open", "remove")
"""Note or file about to stand; servers about to be told, or asked; history written; note to go."""


@pytest.fixture(scope="module", params=["light", pytest.param("real", marks=pytest.mark.thorough)])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    if request.param == "light":
        light = LineServer((1, 2, 3, 4), START)
        yield light
        light.stop()
        return
    # Imported here: TensorFlow takes seconds.
    from tests.integration.local_server_fixtures import running_server
    from tests.integration.rollout.rollout_store import save_store

    folder = tmp_path_factory.mktemp("server")
    save_store(folder / "models")
    with running_server(folder, *FLAGS, config=START) as running:
        yield running


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    running = Commands(tmp_path_factory.mktemp("commands"))
    yield running
    running.close()


class Killing:
    """One verb, killed again and again, each time from the same state.

    Args:
        server: the only one.
        commands: runs it.
        folder: for a folder a kill.
        verb: of VERBS.
    """

    def __init__(self, server: Server, commands: Commands, folder: Path, verb: str):
        self.verb = verb
        self._server = server
        self._commands = commands
        self._folder = folder
        operator = self.operator("whole")
        _, self.effects = commands.run(operator.arguments(verb))
        assert operator.state() == ENDS[verb]

    def operator(self, name: object) -> Operator:
        """File and server in the state that the verb begins from, nothing in the history."""
        versions, labels = BEGINS[self.verb]
        reset([self._server])
        (self._folder / str(name)).mkdir()
        operator = Operator(self._folder / str(name), [self._server])
        for each in ({"stable": 1}, labels):
            text = config(*versions, labels=each)
            operator.config.write_text(HEADER + text)
            self._server.reload(text)
            self._server.wait_loaded(*versions)
        return operator

    def killed_at(self, effect: int) -> Operator:
        """Whose command was killed at an effect, the first being 1."""
        operator = self.operator(effect)
        code, _ = self._commands.run(operator.arguments(self.verb), effect)
        assert code != 0
        operator.check_legal()
        return operator

    def each(self) -> Iterator[tuple[int, Operator]]:
        """At each kind of effect where it is met last; beside a real server, at every effect."""
        last = len(self.effects)
        points: Iterable[int] = range(1, last + 1)
        if isinstance(self._server, LineServer):
            points = {last - self.effects[::-1].index(kind) for kind in EACH_KIND}
        for effect in points:
            yield effect, self.killed_at(effect)


def settled(operator: Operator) -> bool:
    """The server serves what the file says, and nothing is left of the killed command."""
    return operator("status") == 0 and operator.pending() is None


END_OF_TRIAL = "rollback "
"""The same verb where a version is on trial: it ends that and goes back no further."""

BEGINS: dict[str, tuple[tuple[int, ...], dict[str, int]]] = {
    "canary 2": ((1,), {"stable": 1}),
    "promote": ((1, 2), {"stable": 1, "canary": 2}),
    "rollback": ((1, 2), {"stable": 2, "canary": 2, "previous": 1}),
    END_OF_TRIAL: ((1, 2, 3), {"stable": 2, "canary": 3, "previous": 1}),
    "retire 1": ((1, 2), {"stable": 2, "canary": 2, "previous": 1}),
}

ENDS = {
    "canary 2": State(versions=(1, 2), labels={"canary": 2, "stable": 1}),
    "promote": State(versions=(1, 2), labels={"canary": 2, "previous": 1, "stable": 2}),
    "rollback": State(versions=(1, 2), labels={"canary": 1, "previous": 1, "stable": 1}),
    END_OF_TRIAL: State(versions=(1, 2, 3), labels={"canary": 2, "previous": 1, "stable": 2}),
    "retire 1": State(versions=(2,), labels={"canary": 2, "previous": 2, "stable": 2}),
}


@pytest.mark.parametrize("verb", BEGINS)
def test_the_same_command_again_brings_it_to_its_end(
    server: Server, commands: Commands, tmp_path: Path, verb: str
) -> None:
    killing = Killing(server, commands, tmp_path, verb)
    assert len(killing.effects) >= 10
    for effect, operator in killing.each():
        if [change.outcome for change in operator.history()] == ["done"]:
            assert operator.state() == ENDS[verb]
            continue  # killed after its line was written: the same again is another command
        assert operator(verb) == 0
        assert operator.state() == ENDS[verb], effect
        assert settled(operator)


@pytest.mark.parametrize("verb", BEGINS)
def test_another_command_undoes_it_first(
    server: Server, commands: Commands, tmp_path: Path, verb: str
) -> None:
    killing = Killing(server, commands, tmp_path, verb)
    before = killing.operator("before").state()
    for _, operator in killing.each():
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
    server: Server, commands: Commands, tmp_path: Path
) -> None:
    for _, operator in Killing(server, commands, tmp_path, "promote").each():
        assert operator("rollback") == 0
        assert answering(server, "stable") == 1
        assert answering(server, "canary") == 1
        assert settled(operator)


def test_what_somebody_has_edited_since_stays_as_it_is(
    server: Server, commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killing = Killing(server, commands, tmp_path, "canary 2")
    operator = killing.killed_at(killing.effects.index("reload") + 1)
    # In the middle: version 2 is listed, and has no label yet.
    assert operator.state() == State(versions=(1, 2), labels={"stable": 1})
    text = config(1, 3, labels={"stable": 1, "team": 3})
    operator.config.write_text(HEADER + text)
    server.reload(config(1, 3, labels={"stable": 1}))
    server.wait_loaded(1, 3)
    assert operator("apply") == 0
    assert "the file stays as it is" in capsys.readouterr().err
    assert operator.state() == State(versions=(1, 3), labels={"stable": 1, "team": 3})
    assert settled(operator)
