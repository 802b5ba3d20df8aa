"""Verbs that reach no server: they say so first, fail, and change no more than they promise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from serving.fleet import fleet
from serving.fleet.config_file import ConfigFile
from serving.fleet.fleet import Member
from serving.rollout import states
from serving.rollout.__main__ import _parser
from serving.rollout.operation import Command, NotDoneError, Operation
from serving.rollout.steps import NoServerError, Settings
from tests.integration.line_server import LineServer, config
from tests.integration.rollout.rollout_fixtures import HEADER, Operator
from tests.ports import free_port

ON_TRIAL = HEADER + config(1, 2, 3, labels={"stable": 1, "canary": 2})

ENDED = HEADER + config(1, 2, 3, labels={"canary": 1, "stable": 1})

VERBS = {"canary": "canary 3", "promote": "promote", "retire": "retire 3", "apply": "apply"}
"""All that change something, but rollback and what leads to it."""

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="needs kubectl (kubernetes.io/docs/tasks/tools)"
)


class Nobody:
    """The address of a server that is down."""

    def __init__(self) -> None:
        self.ports = {"grpc": free_port()}


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """Has a trial in the file, one server that is down, and no kubeconfig."""
    monkeypatch.setattr(fleet, "DOWN_S", 0.2)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    (tmp_path / "models.config").write_text(ON_TRIAL)
    return Operator(tmp_path, [Nobody()])  # type: ignore[list-item]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line on stderr; before it stands what was waited for."""
    out = capsys.readouterr()
    assert out.out == ""
    return out.err.splitlines()[-1]


def test_every_verb_that_changes_something_is_tried_here() -> None:
    (verbs,) = (action.choices for action in _parser()._actions if action.dest == "verb")
    assert set(verbs) == {*VERBS, "rollback", "status", "history", "watch"}


def test_a_rollback_that_reached_nobody_says_so_first_and_what_it_has_changed(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator("rollback") == 1
    line = said(capsys)
    assert line.startswith(
        "python -m serving.rollout: No server follows: 0 of 1 servers (127.0.0.1:"
    )
    assert f"Only {operator.config} was changed, which a rollback does in any case" in line
    assert "Done" not in line
    assert f"make rollout ARGS='apply --config {operator.config} --model line" in line
    assert "cluster" not in line
    assert operator.config.read_text() == ENDED
    assert [change.outcome for change in operator.history()] == ["incomplete"]


@pytest.mark.parametrize("verb", VERBS.values())
def test_any_other_verb_that_reached_nobody_changes_nothing(
    operator: Operator, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator(verb) in (1, 2)
    line = said(capsys).removeprefix("python -m serving.rollout: ").removeprefix("error: ")
    assert line.startswith("No server follows: 0 of 1 servers (127.0.0.1:")
    assert "Nothing was changed" in line or "stays as it is" in line
    assert "Done" not in line
    assert operator.config.read_text() == ON_TRIAL
    assert operator.pending() is None


def test_of_two_servers_the_one_that_is_down_is_named_as_before(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only where nobody answers is it said that nobody follows."""
    up = LineServer((1, 2, 3), config(1, 2, 3, labels={"stable": 1, "canary": 2}))
    operator.servers = [up, *operator.servers]
    assert operator("rollback", "--timeout-s", "2") == 1
    line = said(capsys)
    assert "No server follows" not in line
    assert "at 1 of 2 servers; not at 127.0.0.1:" in line
    up.stop()


class NoPods:
    """A Deployment that was scaled to nothing."""

    def now(self) -> Sequence[Member]:
        return ()

    def absent(self) -> Mapping[str, str]:
        return {}

    def hasten(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("verb", ["rollback", "apply", "promote"])
def test_where_there_is_no_server_at_all_none_follows(operator: Operator, verb: str) -> None:
    plan = {"rollback": states.rollback, "apply": states.apply, "promote": states.promote}[verb]
    place = ConfigFile(operator.config)
    with fleet.Fleet(NoPods(), "line", {}) as servers:
        operation = Operation(place, servers, Settings(model="line", by="file"))
        with pytest.raises((NotDoneError, NoServerError)) as caught:
            operation.run(Command(verb=verb, plan=plan))
    told = "No server follows: 0 of 0 servers (no server: none is running). "
    assert str(caught.value).startswith(told)
    assert operator.config.read_text() == (ENDED if verb == "rollback" else ON_TRIAL)


def kubeconfig(operator: Operator, context: str) -> None:
    """A kubeconfig whose cluster nobody asks."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
    }
    operator.config.with_name("kubeconfig").write_text(json.dumps(content))


@needs_kubectl
@pytest.mark.parametrize(
    ("verb", "instead"),
    [
        ("rollback", "make k8s-rollback "),
        ("rollback --to 1", "make k8s-rollback ARGS='--to 1' "),
        ("canary 3", "make k8s-canary VERSION=3 "),
        ("retire 3", "make k8s-rollout ARGS='retire 3' "),
        ("apply", "make k8s-rollout ARGS=apply "),
    ],
)
def test_with_a_kube_context_it_asks_whether_the_cluster_was_meant(
    operator: Operator, verb: str, instead: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeconfig(operator, "prod\x1b[2J")
    assert operator(verb) in (1, 2)
    line = said(capsys)
    assert f"Was the cluster meant? The kube context is prod\\x1b[2J: {instead}" in line


@needs_kubectl
@pytest.mark.parametrize("context", ["", "prod"])
def test_status_says_first_that_no_server_answers(
    operator: Operator, context: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if context:
        kubeconfig(operator, context)
    assert operator("status") == 1
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "No server answers: 0 of 1."
    asks = "Was the cluster meant? The kube context is prod: make k8s-status"
    assert second.startswith(asks if context else "line in ")
    assert operator("status", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["answering"] == 0
    assert not found["agrees"]
    assert bool(found["cluster_instead"]) == bool(context)
