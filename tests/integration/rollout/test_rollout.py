"""The verbs against real servers: what they do, and what they do when things go wrong."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from serving.fleet import fleet
from serving.rollout.__main__ import main
from tests.integration.line_server import LineServer
from tests.integration.local_server_fixtures import (
    ROOT,
    RunningServer,
    eventually,
    running_server,
)
from tests.integration.rollout.rollout_fixtures import FLAGS, START, Operator, answering, reset
from tests.integration.rollout.rollout_store import BROKEN, FATAL, save_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_store(tmp_path_factory.mktemp("store") / "models")


@pytest.fixture(scope="module")
def two(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningServer]]:
    """Two servers; the second one's disk has no version 4."""
    first, second = (tmp_path_factory.mktemp("server") for _ in range(2))
    (first / "models").symlink_to(store)
    shutil.copytree(store, second / "models")
    shutil.rmtree(second / "models" / "line" / "4")
    # Started side by side: each imports TensorFlow, which takes seconds.
    with ExitStack() as stack, futures.ThreadPoolExecutor() as threads:
        servers = [running_server(folder, *FLAGS, config=START) for folder in (first, second)]
        yield list(threads.map(stack.enter_context, servers))


@pytest.fixture
def operator(two: list[RunningServer], tmp_path: Path) -> Operator:
    reset(two)
    return Operator(tmp_path, two)


LACKS_4 = r"version 4 is (unknown to it|END)"
"""END where another test had it tried before."""


def everywhere(operator: Operator, **labels: int | str) -> bool:
    return all(
        answering(server, label) == version
        for server in operator.servers
        for label, version in labels.items()
    )


def test_the_whole_way_is_seen_at_every_server_and_written_down(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator("canary 2") == 0
    assert everywhere(operator, stable=1, canary=2)
    assert operator("promote", "--why", "it is better") == 0
    assert everywhere(operator, stable=2, canary=2, previous=1)
    assert operator("rollback", "--who", "ann") == 0
    assert everywhere(operator, stable=1, canary=1, previous=1)
    assert operator("retire 2") == 0
    assert all(server.states()[2] == "END" for server in operator.servers)
    capsys.readouterr()
    assert operator("status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"]
    assert len(found["servers"]) == 2
    operator.check_legal()
    history = operator.history()
    assert [change.verb for change in history] == ["canary", "promote", "rollback", "retire"]
    assert {change.outcome for change in history} == {"done"}
    assert {change.by for change in history} == {"rpc"}
    assert history[0].gate.startswith("passed over: ")
    assert history[1].why == "it is better"
    assert history[1].after["labels"] == {"canary": 2, "previous": 1, "stable": 2}
    assert history[2].who == "ann"
    assert operator("history") == 0
    assert "it is better" in capsys.readouterr().out


def test_a_dry_run_prints_the_states_and_changes_nothing(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    before = operator.config.read_text()
    assert operator("canary 2", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "then  versions 1, 2; stable → 1\n  then  versions 1, 2; stable → 1, canary → 2" in out
    assert operator.config.read_text() == before
    assert not operator.history()
    assert everywhere(operator, stable=1, canary="INVALID_ARGUMENT")


def test_without_the_gates_verdict_no_version_is_tried(
    operator: Operator, capsys: pytest.CaptureFixture[str], store: Path
) -> None:
    arguments = [one for one in operator.arguments("canary 2") if one != "--force"]
    assert main([*arguments, "--models", str(store)]) == 2
    assert "the gate was not asked about version 2" in capsys.readouterr().err
    assert (
        main([*operator.arguments("canary 5", "--force"), "--models", str(store), "--why=x"]) == 2
    )
    assert "Expected version 5 under" in capsys.readouterr().err
    assert not operator.history()


def test_a_version_that_one_server_does_not_have_is_undone_at_all_of_them(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator("canary 4", "--timeout-s", "2") == 1
    error = capsys.readouterr().err
    assert re.search(rf"127.0.0.1:{operator.servers[1].ports['grpc']}: {LACKS_4}", error), error
    assert "Undone: versions 1; stable → 1, at every server." in error
    assert everywhere(operator, stable=1, canary="INVALID_ARGUMENT")
    assert operator.state().versions == (1,)
    assert operator.history()[-1].outcome == "undone"
    assert operator.servers[0].states()[4] == "END"


def test_an_edit_while_a_version_is_waited_for_in_vain_is_not_undone(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Version 4 is missing at the second server: the canary is to be undone, and then edited."""
    edited: list[str] = []

    def edit() -> None:
        while "versions: 4" not in operator.config.read_text():
            time.sleep(0.01)
        edited.append(operator.config.read_text() + "# by hand\n")
        operator.config.write_text(edited[0])

    editor = threading.Thread(target=edit)
    editor.start()
    assert operator("canary 4", "--timeout-s", "2") == 1
    editor.join()
    error = capsys.readouterr().err
    assert re.search(LACKS_4, error), error
    assert "Somebody edits it; look at it, and start again. Nothing was undone" in error
    assert operator.config.read_text() == edited[0]
    assert operator.history()[-1].outcome == "incomplete"
    assert operator.pending() is None


def test_a_version_that_does_not_load_is_undone_with_the_servers_own_words(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator(f"canary {BROKEN}") == 1
    assert f"version {BROKEN} did not load" in capsys.readouterr().err
    assert operator.state().versions == (1,)
    assert everywhere(operator, stable=1)
    # A second attempt is not taken for the first one, whose END is still in the server's list.
    assert operator("canary 2") == 0
    assert everywhere(operator, stable=1, canary=2)


def test_a_new_model_without_versions_is_refused_and_the_servers_take_the_next_change(
    operator: Operator, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = operator.config.read_text()
    other = (
        'config { name: "other" base_path: "/models/other" model_platform: "tensorflow" '
        "model_version_policy { latest { num_versions: 1 } } } }"
    )
    operator.config.write_text(text.rstrip().removesuffix("}") + other)
    for verb in ("apply", "canary 2"):
        assert operator(verb, "--models", str(store)) == 2
        assert "Expected a version of other to load under /models/other/" in capsys.readouterr().err
    operator.config.write_text(text)
    assert operator("canary 2", "--models", str(store)) == 0
    assert everywhere(operator, stable=1, canary=2)


def test_a_label_waits_for_the_server_that_lags_behind_and_so_do_other_operators(
    operator: Operator, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, slow = operator.servers[0], operator.servers[1]
    late = slow.folder / "models" / "line" / "4"
    command = [sys.executable, "-m", "serving.rollout", *operator.arguments("canary 4")]
    with subprocess.Popen(command, cwd=ROOT) as running:
        eventually(lambda: first.states().get(4) == "AVAILABLE", "version 4")
        time.sleep(1)  # as long as it takes others to do the wrong thing
        assert answering(first, "canary") == "INVALID_ARGUMENT"
        assert running.poll() is None
        assert operator("rollback") == 2
        told = capsys.readouterr().err
        assert "Expected to be the only operator" in told
        assert f"(process {running.pid})" in told
        shutil.copytree(store / "line" / "4", late.with_name(".coming"))
        late.with_name(".coming").rename(late)
        assert running.wait(60) == 0
    assert everywhere(operator, stable=1, canary=4)
    reset(operator.servers)
    shutil.rmtree(late)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer counts as down at once."""
    monkeypatch.setattr(fleet, "DOWN_S", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_down_stops_all_but_a_rollback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    servers = [LineServer((1, 2), START) for _ in range(2)]
    operator = Operator(tmp_path, servers)
    assert operator("canary 2") == 0
    assert operator("promote") == 0
    servers[1].stop()
    capsys.readouterr()
    assert operator("retire 1") == 2
    error = capsys.readouterr().err
    assert f"127.0.0.1:{servers[1].ports['grpc']}: does not answer" in error
    assert "Nothing was changed" in error
    assert operator("rollback") == 1
    error = capsys.readouterr().err
    assert "stable is 1 again, at 1 of 2 servers" in error
    assert answering(servers[0], "stable") == 1
    assert operator.state().stable == 1
    assert operator.history()[-1].outcome == "incomplete"
    assert operator("status") == 1
    servers[0].stop()


@pytest.mark.usefixtures("impatient")
def test_a_version_that_ends_the_server_is_taken_out_of_the_file_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = Operator(tmp_path, [LineServer((1, 2), START, fatal=[FATAL])])
    assert operator(f"canary {FATAL}") == 1
    assert "does not answer" in capsys.readouterr().err
    assert operator.state().versions == (1,)
    assert operator.history()[-1].outcome == "undone"


@pytest.mark.thorough
def test_a_version_that_ends_the_server_while_it_loads_is_not_in_the_file_it_starts_again_with(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").symlink_to(store)
    with running_server(tmp_path, *FLAGS, config=START) as server:
        operator = Operator(tmp_path, [server])
        assert operator.config.read_text() == START
        assert operator(f"canary {FATAL}", "--timeout-s", "10") == 1
        assert "does not answer" in capsys.readouterr().err
        assert server.process.wait(20) < 0
        assert operator.state().versions == (1,)
        assert operator.history()[-1].outcome == "undone"
    with running_server(tmp_path, *FLAGS, config=operator.config.read_text()) as server:
        assert answering(server, "stable") == 1


def test_stopped_in_the_middle_it_undoes_what_it_began(operator: Operator) -> None:
    command = [
        *(sys.executable, "-m", "serving.rollout"),
        *operator.arguments("canary 4", "--timeout-s", "30"),
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        eventually(lambda: operator.servers[0].states().get(4) == "AVAILABLE", "version 4")
        running.send_signal(signal.SIGINT)
        _, error = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "undoing canary 4" in error
    assert operator.state().versions == (1,)
    assert operator.history()[-1].outcome == "undone"
    assert operator.pending() is None
    assert operator.servers[0].states()[4] == "END"


def test_servers_that_were_told_something_else_are_brought_to_the_file_first(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator("canary 2") == 0
    reset(operator.servers[:1])
    assert operator("status") == 1
    assert "canary → no answer, and 2 in the file" in capsys.readouterr().out
    assert operator("apply") == 0
    assert operator("status") == 0
    reset(operator.servers[:1])
    assert operator("promote") == 0
    assert everywhere(operator, stable=2, canary=2, previous=1)


def test_verbs_without_sense_are_refused_and_change_nothing(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    before = operator.config.read_text()
    for verb in ("promote", "rollback", "canary 1", "retire 1", "retire 9", "rollback --to 9"):
        assert operator(verb) == 2, verb
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 6
    assert all("Expected" in line and "Received" in line for line in told)
    assert operator.config.read_text() == before
    assert not operator.history()


@contextmanager
def polling_server(kind: str, folder: Path, store: Path) -> Iterator[LineServer | RunningServer]:
    """A server that polls the models.config in a folder."""
    if kind == "light":
        (folder / "models.config").write_text(START)
        light = LineServer((1, 2, 3), START)
        light.follow(folder / "models.config", 0.1)
        yield light
        light.stop()
        return
    (folder / "models").symlink_to(store)
    polling = "--model_config_file_poll_wait_seconds=1"
    with running_server(folder, *FLAGS, polling, config=START) as real:
        yield real


@pytest.mark.parametrize("kind", ["light", pytest.param("real", marks=pytest.mark.thorough)])
def test_by_the_file_alone_servers_follow_within_their_polling(
    tmp_path: Path, store: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with polling_server(kind, tmp_path, store) as server:
        operator = Operator(tmp_path, [server])
        for verb in ("canary 2", "promote", "rollback", "retire 2"):
            assert operator(verb, "--by", "file") == 0
        assert {change.by for change in operator.history()} == {"file"}
        assert "by their polling of the file" in capsys.readouterr().out
        assert answering(server, "stable") == 1
        # A proxy that lets no operator through: told by the file, of itself.
        with no_operators_let_through(server.ports["grpc"]) as port:
            front = Operator(tmp_path, [])
            target = ("--target", f"127.0.0.1:{port}")
            assert front("canary 3", *target) == 0
            assert front.history()[-1].by == "file"
            assert answering(server, "canary") == 3


def test_over_mutual_tls_each_address_is_held_against_the_name_it_stands_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = trustme.CA()
    theirs, ours = authority.issue_cert("localhost"), authority.issue_cert("operator@example.org")
    authority.cert_pem.write_to_path(str(tmp_path / "roots.pem"))
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "ours.pem"))
    ours.private_key_pem.write_to_path(str(tmp_path / "ours.key"))
    pair = (theirs.private_key_pem.bytes(), theirs.cert_chain_pems[0].bytes())
    credentials = grpc.ssl_server_credentials(
        [pair], root_certificates=authority.cert_pem.bytes(), require_client_auth=True
    )
    server = LineServer((1, 2), START, credentials)
    operator = Operator(tmp_path, [])
    target = ("--target", f"localhost:{server.ports['grpc']}")
    trusted = ("--tls-roots", str(tmp_path / "roots.pem"))
    known = ("--tls-certificate", str(tmp_path / "ours.pem"))
    assert operator("status", *target, *trusted) == 1
    assert "does not answer" in capsys.readouterr().out
    known += ("--tls-key", str(tmp_path / "ours.key"))
    assert operator("canary 2", *target, *trusted, *known) == 0
    assert operator("status", *target, *trusted, *known) == 0
    assert "127.0.0.1" in capsys.readouterr().out
    server.stop()


@contextmanager
def no_operators_let_through(server_port: int) -> Iterator[int]:
    """A proxy that forwards everything but HandleReloadConfigRequest."""
    channel = grpc.insecure_channel(f"127.0.0.1:{server_port}")

    class Forward(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            method = details.method

            def forward(request: bytes, context: Any) -> Any:
                if method.endswith("/HandleReloadConfigRequest"):
                    context.abort(grpc.StatusCode.PERMISSION_DENIED, "not from here")
                try:
                    return channel.unary_unary(method)(request, timeout=10)
                except grpc.RpcError as error:
                    context.abort(error.code(), error.details())

            return grpc.unary_unary_rpc_method_handler(forward)

    proxy = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Forward()])
    port = proxy.add_insecure_port("127.0.0.1:0")
    proxy.start()
    try:
        yield port
    finally:
        proxy.stop(None).wait()
        channel.close()


def test_no_request_by_label_fails_while_versions_come_and_go(
    operator: Operator,
) -> None:
    server = operator.servers[0]
    operator.servers = [server]
    assert operator("canary 2") == 0
    stop, failed, answers = threading.Event(), [], []

    def call(label: str) -> None:
        while not stop.is_set():
            found = answering(server, label)
            (failed if isinstance(found, str) else answers).append(found)

    callers = [
        threading.Thread(target=call, args=(label,)) for label in ("stable", "canary") for _ in "12"
    ]
    for caller in callers:
        caller.start()
    try:
        for _ in range(3):
            for verb in ("promote", "rollback", "retire 2", "canary 3", "rollback", "canary 2"):
                assert operator(verb) == 0
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert not failed
    assert {1, 2, 3} == set(answers)
