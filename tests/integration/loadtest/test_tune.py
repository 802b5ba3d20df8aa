"""Tuning as a command, on servers that it starts.

Starting a server for each candidate and searching each one's knee takes minutes. So all but the
thorough tests put plain gRPC servers and computed loads in their place: what is tried, searched,
compared, recommended and written is the command's own.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest import tune
from loadtest.loops import running
from loadtest.server.measured import Selection
from loadtest.server.scraper import Scraper
from loadtest.server.view import view
from loadtest.tuning import in_turns, servers
from loadtest.tuning.candidates import OFF, Candidate
from loadtest.tuning.servers import Deployment
from loadtest.verdicts.knee_search import Limits
from serving.client.tests.model_server import ModelServer
from serving.local.batching import parameters as batching_parameters
from tests import slow_versions
from tests.e2e.launching import ROOT, first_config
from tests.house.pages import whole
from tests.integration.loadtest import commands
from tests.integration.loadtest.commands import Done
from tests.integration.loadtest.simulated import Queues
from tests.ports import free_ports
from tfs_client import Client, TfsError, contract

ROUNDS = 1000
"""Of arithmetic a call: what one picture costs, and what 32 cost together."""

FOUR = Candidate(max_batch_size=4)

Tune = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a store, a models.config and a monitoring.config: where the command runs."""
    first_config(tmp_path)
    shutil.copy(ROOT / "serving" / "monitoring.config", tmp_path)
    (tmp_path / "models").mkdir()
    return tmp_path


@pytest.fixture
def tuned(folder: Path, pictures: Path) -> Tune:
    """Runs `loadtest.tune` with more flags."""

    def run(*flags: str) -> Done:
        where = ("--config", "models.config", "--server", "local", "--images", str(pictures))
        return commands.run(tune.main, *where, "--seconds-each", "1", *flags, folder=folder)

    return run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Candidate]:
    """Plain servers for the candidates, which are listed; a queue of its capacity is each load."""
    queues, found = Queues(capacity={}), []

    @contextlib.contextmanager
    def serving(candidate: Candidate, _: Deployment) -> Iterator[str]:
        server = ModelServer()
        found.append(candidate)
        queues.capacity[server.target] = 240.0 if candidate.max_batch_size else 60.0
        yield server.target
        server.stop()

    monkeypatch.setattr(servers, "serving", serving)
    monkeypatch.setattr(running, "take", queues.take)
    return found


def figures(folder: Path) -> dict[str, Any]:
    return commands.figures(folder, "tune")


def check_equal_candidates(done: Done) -> None:
    """Both hold the highest rate that was asked for, so that neither is better."""
    assert done.code == 0, done.told
    found = figures(done.folder)
    for look in ("first", "last"):
        for name in ("no batching", "4 rows, 0 us, 1 thread"):
            assert found[f"{look}.{name}.low"] == 40
    assert found["recommended"] == "no batching"
    assert "in_turns.rate" not in found
    assert not (done.folder / "build/batching.config").exists()
    whole(done.folder / "build/tune.html", "Which batching parameters carry most")
    assert done.out.splitlines()[-1].startswith("recommended: no batching")


def tune_equal_candidates(tuned: Tune, monkeypatch: pytest.MonkeyPatch) -> Done:
    monkeypatch.setattr(tune, "FIRST", Limits(lowest=20, highest=40, most=9))
    monkeypatch.setattr(tune, "LAST", Limits(lowest=20, highest=40, most=9))
    grid = ("--batch-sizes", "4", "--timeouts-us", "0", "--threads", "1")
    return tuned(*grid, "--p99-ms", "5000", "--most", "9")


def check_batching_is_better(done: Done) -> None:
    assert done.code == 0, done.told
    found = figures(done.folder)
    assert found["recommended"] == "32 rows, 0 us, 1 thread", done.told
    assert (found["in_turns.pairs"], found["in_turns.better"]) == (5, 5)
    kept = done.folder / "build/batching.config"
    assert batching_parameters.read(kept).max_batch_size == 32
    assert "# Side by side: 32 rows, 0 us, 1 thread better in 5 of 5 pairs at " in kept.read_text()
    assert "Side by side" in (done.folder / "build/tune.html").read_text()
    assert done.out.splitlines()[-1].startswith("recommended: 32 rows, 0 us, 1 thread: ")


def tune_for_batching(tuned: Tune, monkeypatch: pytest.MonkeyPatch) -> Done:
    monkeypatch.setattr(tune, "FIRST", Limits(lowest=10, width=0.5, most=9))
    monkeypatch.setattr(tune, "LAST", Limits(lowest=10, width=0.5, most=9))
    monkeypatch.setattr(in_turns, "PAIRS", 5)
    grid = ("--batch-sizes", "32", "--timeouts-us", "0", "--threads", "1")
    return tuned(*grid, "--p99-ms", "400", "--most", "9")


def test_every_candidate_has_a_server_of_its_own_and_a_knee(
    tuned: Tune, started: list[Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_equal_candidates(tune_equal_candidates(tuned, monkeypatch))
    looks = [set(started[:2]), set(started[2:])]
    assert looks == [{OFF, FOUR}, {OFF, FOUR}], "a first and a last look"


def test_batching_is_recommended_where_its_server_carries_more(
    tuned: Tune, started: list[Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_batching_is_better(tune_for_batching(tuned, monkeypatch))
    assert len(started) == 6, "two looks at two candidates, and both side by side"


@pytest.mark.thorough
def test_a_candidates_server_runs_with_its_parameters(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_versions.save(folder / "models" / contract.MODEL_NAME / "1", 1)
    _, rest_port = ports = free_ports(2, "")
    monkeypatch.setattr(servers, "_free_ports", lambda _: ports)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    deployment = Deployment(
        config=folder / "models.config", models=folder / "models", server="local"
    )
    with (
        servers.serving(FOUR, deployment) as target,
        Scraper([f"localhost:{rest_port}"]) as scraper,
        Client(target) as client,
    ):
        client.predict({contract.INPUT_IMAGE_BYTES: [b"a", b"b", b"c"]}, label="stable")
        (written,) = folder.glob("*/batching.config")
        assert batching_parameters.read(written).max_batch_size == 4
    seen = view(scraper.scrapes(), Selection(model=contract.MODEL_NAME)).whole
    assert seen is not None
    assert seen.measured.batch_sizes == ((3, 1),)
    with Client(target, retry=None) as late, pytest.raises(TfsError):
        late.status()  # the server ended with the block


@pytest.mark.alone
@pytest.mark.thorough
def test_real_servers_that_carry_the_same(
    folder: Path, tuned: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_versions.save(folder / "models" / contract.MODEL_NAME / "1", 20)
    check_equal_candidates(tune_equal_candidates(tuned, monkeypatch))


@pytest.mark.alone
@pytest.mark.thorough
def test_real_servers_where_a_call_costs_the_same_however_many_pictures_it_has(
    folder: Path, tuned: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_versions.save(folder / "models" / contract.MODEL_NAME / "1", ROUNDS)
    check_batching_is_better(tune_for_batching(tuned, monkeypatch))
