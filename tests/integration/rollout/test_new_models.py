"""A model that is new to a server and has no version: the server would wait without limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.fleet import fleet
from tests.integration.line_server import LineServer, config
from tests.integration.rollout.rollout_fixtures import HEADER, START, Operator, answering

OTHER = """
  config { name: "other" base_path: "/models/other" model_platform: "tensorflow"
    model_version_policy { POLICY } }
}
"""


def with_other(text: str, policy: str = "latest { num_versions: 1 }") -> str:
    return text.rstrip().removesuffix("}") + OTHER.replace("POLICY", policy)


@pytest.fixture
def servers() -> Iterator[list[LineServer]]:
    light = [LineServer((1, 2, 3), START) for _ in range(2)]
    yield light
    for server in light:
        server.stop()


@pytest.fixture
def operator(servers: list[LineServer], tmp_path: Path) -> Operator:
    return Operator(tmp_path, servers)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "models" / "other").mkdir(parents=True)
    return tmp_path / "models"


@pytest.mark.parametrize("verb", ["apply", "canary 2", "promote", "retire 3"])
@pytest.mark.parametrize("policy", ["latest { num_versions: 1 }", "specific { versions: 4 }"])
def test_it_is_refused_before_any_server_is_told(
    servers: list[LineServer],
    operator: Operator,
    store: Path,
    verb: str,
    policy: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    servers[0].others.add("other")
    (store / "other" / ("readme" if policy.startswith("latest") else "7")).mkdir()
    versions = {"apply": (1,), "canary 2": (1,)}.get(verb, (1, 2, 3))
    labels = {"stable": 1, "canary": 2} if verb == "promote" else {"stable": 1}
    for server in servers:
        server.reload(config(*versions, labels=labels))
    text = HEADER + with_other(config(*versions, labels=labels), policy)
    operator.config.write_text(text)
    began = time.monotonic()
    assert operator(verb, "--models", str(store)) == 2
    assert time.monotonic() - began < 5
    error = capsys.readouterr().err
    port = servers[1].ports["grpc"]
    assert "Expected a version of other to load under /models/other/" in error
    assert f"for it is new to 127.0.0.1:{port}. Received: " in error
    assert ("versions 7" if "specific" in policy else "none") in error
    assert operator.config.read_text() == text
    assert operator.pending() is None


@pytest.mark.parametrize("policy", ["all { }", "specific { versions: 7 }"])
def test_one_with_a_version_is_sent(
    servers: list[LineServer], operator: Operator, store: Path, policy: str
) -> None:
    (store / "other" / "7").mkdir()
    operator.config.write_text(HEADER + with_other(START, policy))
    for server in servers:
        server.load_when_told("other")
    assert operator("apply", "--models", str(store)) == 0
    assert operator("canary 2", "--models", str(store)) == 0


def test_where_the_store_is_not_seen_the_server_and_what_it_waits_for_are_named(
    servers: list[LineServer],
    operator: Operator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "CALL_TIMEOUT_S", 0.5)
    servers[0].others.add("other")
    text = config(1, 2, labels={"stable": 1})
    for server in servers:
        server.reload(text)
    operator.config.write_text(HEADER + with_other(text))
    assert operator("canary 2", "--models", str(tmp_path / "elsewhere")) == 1
    error = capsys.readouterr().err
    assert "other is new to 127.0.0.1" in error
    port = servers[1].ports["grpc"]
    assert f"127.0.0.1:{port}: waits for the first version of other, without limit" in error
    assert answering(servers[0], "stable") == 1
    assert operator.state().canary is None


def test_servers_that_read_the_file_are_given_time_and_then_named(
    servers: list[LineServer],
    operator: Operator,
    store: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator.config.write_text(HEADER + with_other(START))
    monkeypatch.setattr("serving.rollout.__main__.SETTLED_S", 1.0)
    assert operator("canary 2", "--by", "file", "--models", str(store)) == 2
    assert "takes no other configuration until then" in capsys.readouterr().err


def test_a_rollback_is_warned_and_goes_on(
    servers: list[LineServer],
    operator: Operator,
    store: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "CALL_TIMEOUT_S", 0.5)
    text = config(1, 2, labels={"stable": 1, "canary": 2})
    servers[0].others.add("other")
    for server in servers:
        server.reload(text)
    operator.config.write_text(HEADER + with_other(text))
    assert operator("rollback", "--timeout-s", "2", "--models", str(store)) == 1
    error = capsys.readouterr().err
    assert "Expected a version of other to load" in error
    assert "at 1 of 2 servers" in error
    assert answering(servers[0], "canary") == 1
    assert answering(servers[1], "canary") == 2
