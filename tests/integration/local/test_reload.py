"""Reloading the configuration of a running server, by RPC and by file, also under load."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, text_format
from tensorflow_serving.apis import model_management_pb2

from tests.integration.local_server_fixtures import (
    POLL_OFTEN,
    RunningServer,
    eventually,
    line_config,
    running_server,
    save_line,
    x_request,
)

BOTH = "specific { versions: 1 versions: 2 }"


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """line/1 to line/3, line/4, which cannot be loaded, and one version of another model."""
    folder = tmp_path_factory.mktemp("exports")
    for version in (1, 2, 3):
        save_line(folder / "models" / "line" / str(version), float(version))
    broken = folder / "models" / "line" / "4"
    shutil.copytree(folder / "models" / "line" / "1", broken)
    shutil.rmtree(broken / "variables")
    shutil.copytree(folder / "models" / "line" / "1", folder / "models" / "other" / "1")
    return folder


@pytest.fixture
def store(exports: Path, tmp_path: Path) -> Path:
    shutil.copytree(exports / "models", tmp_path / "models")
    return tmp_path


def reload(server: RunningServer, config: str, timeout_s: float = 20, more: str = "") -> Any:
    """The answer to a reload, or "CODE: text"."""
    request = text_format.Parse(
        f"config {{ {config} }} {more}", model_management_pb2.ReloadConfigRequest()
    )
    try:
        answer = server.models.HandleReloadConfigRequest(request, timeout=timeout_s)
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return json_format.MessageToDict(answer, preserving_proto_field_name=True)


def model(name: str, path: str = "") -> str:
    path = path or f"/models/{name}"
    return f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }}'


@pytest.fixture(scope="module")
def module_server(
    exports: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Serves line/1 and line/2; the file is not polled."""
    folder = tmp_path_factory.mktemp("reload")
    shutil.copytree(exports / "models", folder / "models")
    (folder / "models" / "empty" / "1").mkdir(parents=True)
    with running_server(folder, "--max_num_load_retries=0", config=line_config(BOTH)) as running:
        yield running


@pytest.fixture
def server(module_server: RunningServer) -> RunningServer:
    """The one server of this module, brought back to line/1 and line/2 without labels."""
    assert reload(module_server, line_config(BOTH)) == {"status": {}}
    eventually(
        lambda: module_server.states() == {1: "AVAILABLE", 2: "AVAILABLE"}, "both are available"
    )
    return module_server


def test_a_reload_moves_labels_brings_models_and_takes_them_away(server: RunningServer) -> None:
    config = line_config(BOTH, {"stable": 1, "canary": 2}, model("other"))

    assert reload(server, config) == {"status": {}}

    assert server.line('version_label: "stable"') == [2.0]
    assert server.line('version_label: "canary"') == [3.0]
    assert server.states("other") == {1: "AVAILABLE"}
    assert reload(server, line_config(BOTH, {"stable": 2, "canary": 1})) == {"status": {}}
    assert server.line('version_label: "stable"') == [3.0]
    assert server.line('version_label: "canary"') == [2.0]
    eventually(lambda: server.states("other") == {1: "END"}, "the other model is unloaded")


@pytest.mark.parametrize(
    "config", ["", 'custom_model_config { type_url: "x" }'], ids=["empty", "custom"]
)
def test_a_reload_takes_only_a_list(server: RunningServer, config: str) -> None:
    assert reload(server, config) == (
        "INVALID_ARGUMENT: ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
        "ModelConfigList is currently supported"
    )
    assert server.line() == [3.0]


def test_a_refused_reload_says_why_and_changes_nothing(server: RunningServer) -> None:
    reload(server, line_config(BOTH, {"stable": 1}))

    assert reload(server, line_config(BOTH, {"stable": 9})) == (
        "FAILED_PRECONDITION: Request to assign label to version 9 of model line, which is not "
        "currently available for inference"
    )
    twice = line_config(BOTH, {}, model("line"))
    assert reload(server, twice) == (
        "INVALID_ARGUMENT: Illegal to list model line multiple times in config list"
    )
    typed = f"model_config_list {{ {model('other')[:-1]} model_type: OTHER }} }}"
    assert reload(server, typed).startswith("INVALID_ARGUMENT: Illegal setting both ")
    assert server.line('version_label: "stable"') == [2.0]
    assert server.states() == {1: "AVAILABLE", 2: "AVAILABLE"}


def test_the_metrics_that_a_reload_asks_for_are_answered(server: RunningServer) -> None:
    answer = reload(server, line_config(BOTH), more='metric_names: "/a" metric_names: "/a"')

    assert answer["metric"] == [{"name": "/a", "int64_value_increase": "0"}]


def test_a_new_model_that_cannot_be_loaded_is_told_to_the_caller(server: RunningServer) -> None:
    said = reload(server, line_config(BOTH, {}, model("empty")))

    assert said.startswith(
        "UNKNOWN: 1 model(s) did not become available: {{{name: empty version: 1} due to error: "
        "NOT_FOUND: Specified file path does not appear to contain a SavedModel bundle"
    )
    assert server.line() == [3.0]


def test_a_reload_that_waits_for_a_missing_folder_does_not_hold_up_the_end(store: Path) -> None:
    waits = line_config(BOTH, {}, model("missing"))
    flag = "--stop_grace_seconds=60"
    with (
        running_server(store, flag, config=line_config(BOTH)) as server,
        futures.ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(reload, server, waits, timeout_s=60)
        said = "a reload waits, and holds up others, for: missing"
        eventually(lambda: said in server.log(), "the reload waits")
        assert reload(server, line_config(BOTH), timeout_s=1).startswith("DEADLINE_EXCEEDED")
        assert server.line() == [3.0]

        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=20) == 0  # long before the grace time is over
        assert waiting.result().startswith("UNAVAILABLE")


def test_reloads_whose_callers_have_gone_hold_up_no_other(store: Path) -> None:
    waits = line_config(BOTH, {}, model("missing"))
    with running_server(store, "--grpc_max_threads=4", config=line_config(BOTH)) as server:
        with futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: reload(server, waits, timeout_s=1), range(4)))
        # One that comes in late finds the model known already, and does not wait for it.
        given_up = {said.split(":")[0] for said in answers if isinstance(said, str)}
        assert "DEADLINE_EXCEEDED" in given_up
        assert given_up <= {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}

        # All four threads are free again, and so is the turn.
        eventually(lambda: server.line() == [3.0], "predictions are answered")
        assert reload(server, line_config(BOTH, {"stable": 1})) == {"status": {}}
        assert server.line('version_label: "stable"') == [2.0]
        log = server.log()
        assert "the caller of a reload has gone; its configuration stands" in log
        assert "not all serve yet: missing" in log
        assert "Traceback" not in log


def test_a_file_that_waits_for_a_missing_folder_can_be_corrected(store: Path) -> None:
    file = store / "models.config"
    with running_server(store, config=line_config(BOTH), before=POLL_OFTEN) as server:
        file.write_text(line_config(BOTH, {}, model("missing")))
        said = "a reload waits, and holds up others, for: missing"
        eventually(lambda: said in server.log(), "the reload waits")

        file.write_text(line_config("specific { versions: 1 }"))

        eventually(lambda: server.states() == {1: "AVAILABLE", 2: "END"}, "the file is obeyed")


def test_a_version_that_cannot_be_read_holds_up_no_other(store: Path) -> None:
    shutil.rmtree(store / "models" / "line" / "4")
    with running_server(
        store, "--max_num_load_retries=0", config=line_config("latest { num_versions: 2 }")
    ) as server:
        aside = store / "models" / "line" / ".5"
        aside.mkdir()
        os.mkfifo(aside / "saved_model.pb")
        aside.rename(aside.with_name("5"))
        eventually(lambda: server.states().get(5) == "END", "version 5 has failed")
        shutil.copytree(store / "models" / "line" / "1", store / "models" / "line" / ".6")
        (store / "models" / "line" / ".6").rename(store / "models" / "line" / "6")
        server.wait_loaded(6)


def test_the_polled_file_overrides_a_reload(store: Path) -> None:
    config = line_config(BOTH, {})
    with running_server(store, config=config, before=POLL_OFTEN) as server:
        eventually(lambda: server.line("version { value: 1 }") == [2.0], "version 1 answers")
        assert reload(server, line_config("specific { versions: 1 }")) == {"status": {}}

        eventually(
            lambda: (
                server.log().count("line version 2: UNLOADING") == 1
                and server.states() == {1: "AVAILABLE", 2: "AVAILABLE"}
            ),
            "the file's version 2 is back",
        )


def test_the_ports_open_once_a_version_folder_comes(store: Path) -> None:
    (store / "models" / "late").mkdir()
    came_early = []

    def publish_late() -> None:
        log = store / "server.log"
        eventually(lambda: log.exists() and "No versions of servable late" in log.read_text(), "")
        time.sleep(0.5)
        came_early.append((store / "ports.json").exists())
        shutil.copytree(store / "models" / "line" / "1", store / "models" / ".1")
        (store / "models" / ".1").rename(store / "models" / "late" / "1")

    publisher = threading.Thread(target=publish_late)
    publisher.start()
    with running_server(store, config=f"model_config_list {{ {model('late')} }}") as server:
        assert server.states("late") == {1: "AVAILABLE"}
    publisher.join()
    assert came_early == [False]


@dataclass(frozen=True)
class Served:
    """A configuration that has taken hold."""

    versions: frozenset[int]
    stable: int
    canary: int
    broken: bool = False

    def config(self) -> str:
        listed = sorted(self.versions) + [4] * self.broken
        versions = " ".join(f"versions: {version}" for version in listed)
        labels = {"stable": self.stable, "canary": self.canary}
        return line_config(f"specific {{ {versions} }}", labels)


@dataclass(frozen=True)
class Asked:
    """A request and its answer: a version, or the code of a refusal."""

    how: str
    began: float
    ended: float
    answer: int | str


class Timeline:
    """What was served when: while a change takes hold, both what was and what comes is right."""

    def __init__(self, first: Served) -> None:
        self._spans: list[tuple[float, float, Served]] = [(0.0, float("inf"), first)]

    def changed(self, began: float, ended: float, to: Served) -> None:
        start, _, before = self._spans[-1]
        self._spans[-1] = (start, ended, before)
        self._spans.append((began, float("inf"), to))

    def fault(self, asked: Asked) -> str:
        """What is wrong with an answer, empty if nothing is."""
        served = [s for start, end, s in self._spans if start <= asked.ended and asked.began <= end]
        if asked.how.isdigit():
            version = int(asked.how)
            always = all(version in s.versions for s in served)
            right: set[int | str] = {version} if always else {version, "NOT_FOUND"}
        elif asked.how == "latest":
            right = {max(s.versions) for s in served}
        else:
            right = {getattr(s, asked.how) for s in served}
        return "" if asked.answer in right else f"{asked}, right: {right}, served: {served}"


class Callers:
    """Threads that ask in every way, over gRPC and REST, until they are stopped."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._stop = threading.Event()
        self._connections: list[http.client.HTTPConnection] = []
        self.asked: list[Asked] = []
        specs = {
            "stable": 'version_label: "stable"',
            "canary": 'version_label: "canary"',
            "latest": "",
            **{str(version): f"version {{ value: {version} }}" for version in (1, 2, 3)},
        }
        paths = {"stable": "/labels/stable", "canary": "/labels/canary", "latest": ""}
        askers = [self._grpc(how, spec) for how, spec in specs.items()]
        askers += [self._rest(how, path) for how, path in paths.items()]
        self._threads = [threading.Thread(target=self._ask, args=asker) for asker in askers]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for connection in self._connections:
            connection.close()

    def _ask(self, how: str, ask: Callable[[], int | str]) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            answer = ask()
            self.asked.append(Asked(how, began, time.monotonic(), answer))
            # Nine callers without a pause would leave no processor to the loads.
            time.sleep(0.01)

    def _grpc(self, how: str, spec: str) -> tuple[str, Callable[[], int | str]]:
        request = x_request((2.0,), spec)

        def ask() -> int | str:
            try:
                response = self._server.prediction.Predict(request, timeout=20)
            except grpc.RpcError as error:
                return str(error.code().name)
            return int(response.outputs["y"].float_val[0]) - 1

        return how, ask

    def _rest(self, how: str, path: str) -> tuple[str, Callable[[], int | str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.ports["rest"], timeout=20)
        self._connections.append(connection)

        def ask() -> int | str:
            connection.request("POST", f"/v1/models/line{path}:predict", '{"instances": [2.0]}')
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                return f"{response.status} {body.decode()}"
            return int(json.loads(body)["predictions"][0]) - 1

        return how, ask


def changes() -> Iterator[Served]:
    """A version comes, gets a label, swaps with the old one beside a broken one, stays alone."""
    old = 1
    while True:
        new = old % 3 + 1
        both = frozenset({old, new})
        yield Served(both, stable=old, canary=old)
        yield Served(both, stable=old, canary=new)
        yield Served(both, stable=new, canary=old, broken=True)
        yield Served(both, stable=old, canary=new)
        # Both labels leave the old version, and it goes, in one change.
        yield Served(frozenset({new}), stable=new, canary=new)
        old = new


def taken_hold(server: RunningServer, served: Served) -> bool:
    available = {v for v, state in server.states().items() if state == "AVAILABLE"}
    return (
        available == served.versions
        and server.line('version_label: "stable"') == [served.stable + 1.0]
        and server.line('version_label: "canary"') == [served.canary + 1.0]
    )


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.thorough)])
def test_no_request_fails_through_many_changes_of_configuration(store: Path, count: int) -> None:
    now = Served(frozenset({1}), stable=1, canary=1)
    file = store / "models.config"
    flags = (
        "--allow_version_labels_for_unavailable_models=true",
        "--max_num_load_retries=0",
        "--grpc_max_threads=32",
    )
    with running_server(store, *flags, config=now.config(), before=POLL_OFTEN) as server:
        timeline = Timeline(now)
        with Callers(server) as callers:
            for number, new in zip(range(count), changes()):
                by_rpc = number // 5 % 2 == 0
                if by_rpc and number % 5 == 0:
                    # Without a file nothing overrides what comes by RPC.
                    file.unlink()
                    time.sleep(0.2)  # more than the time between two looks
                began = time.monotonic()
                if by_rpc:
                    assert reload(server, new.config()) == {"status": {}}
                else:
                    aside = store / "models.config.new"
                    aside.write_text(new.config())
                    aside.rename(file)
                eventually(lambda new=new: taken_hold(server, new), f"change {number}: {new}")
                timeline.changed(began, time.monotonic(), new)
        log = server.log()
        assert server.stop(signal.SIGTERM) == 0
    faults = [fault for asked in callers.asked if (fault := timeline.fault(asked))]
    assert faults == []
    answers = {asked.answer for asked in callers.asked if asked.how in ("stable", "latest")}
    assert answers == {1, 2, 3}
    assert len(callers.asked) > 10 * count
    assert "load 1 of 1 of line version 4 failed" in log
    assert "Traceback" not in log
