"""The comparison as a command.

Whether a difference is found is decided on computed recordings, the same in every run. A real load
is short here, and so compared by fewer seconds than the command asks for; the loads of 25 seconds
on versions of a real server, one of which does a fifth more, are thorough.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest import compare, run
from loadtest.results import run_file
from loadtest.verdicts import comparison
from serving.client.tests.model_server import ModelServer
from tests import forked_server, slow_versions
from tests.house.pages import plots, whole
from tests.integration.loadtest import commands
from tests.integration.loadtest.commands import Done
from tests.integration.loadtest.simulated import write_run
from tfs_client import contract

CONFIG = """model_config_list { config {
  name: "image_classifier" base_path: "/models/image_classifier" model_platform: "tensorflow"
  model_version_policy { specific { versions: 1 versions: 2 versions: 3 } }
  version_labels { key: "stable" value: 1 }
  version_labels { key: "same" value: 2 }
  version_labels { key: "slow" value: 3 }
} }
"""

ROUNDS = 200

Compare = Callable[..., Done]


@pytest.fixture
def compared(tmp_path: Path) -> Compare:
    """Runs `loadtest.compare` with these flags."""
    return lambda *flags: commands.run(compare.main, *flags, folder=tmp_path)


def figures(folder: Path) -> dict[str, Any]:
    return commands.figures(folder, "loadtest-compare")


def check_a_fifth_slower(done: Done) -> None:
    assert done.code == 1, done.out + done.told
    assert "slow (B) against stable (A): B is worse: p50 +" in done.out.splitlines()[-1]
    found = figures(done.folder)
    assert 1.05 < found["p50.ratio"] < 1.35
    assert 1 < found["p50.low"] < found["p50.ratio"] < found["p50.high"]
    path = done.folder / "build" / "loadtest-compare.html"
    assert plots(whole(path, "Does slow differ from stable?")) == 3


def check_a_fifth_faster(done: Done, *, too_short: bool = False) -> None:
    """Where it may be too short, that is said of the tail; the median tells all the same."""
    assert done.code in (0, 3 * too_short), done.out + done.told
    assert "B is better: p50 -" in done.out.splitlines()[-1]


def check_equal(done: Done) -> None:
    assert done.code == 0, done.out + done.told
    assert "B is not worse by what matters: p50 " in done.out.splitlines()[-1]
    assert 0.9 < figures(done.folder)["p50.ratio"] < 1.1


def check_two_loads(done: Done) -> None:
    assert "Traceback" not in done.told
    assert done.code in (0, 1, 3), done.told
    assert "after/build (B) against before/build (A): " in done.out.splitlines()[-1]
    assert figures(done.folder)["paired"] is False
    assert figures(done.folder)["throughput.p"] is None


@pytest.mark.thorough
def test_a_fifth_more_work_is_found_in_one_load(compared: Compare, tmp_path: Path) -> None:
    write_run(tmp_path / "taken", {"stable": 10.0, "slow": 12.0})
    check_a_fifth_slower(compared("--labels", "stable,slow", "--within", "taken/build"))
    check_a_fifth_faster(compared("--labels", "slow,stable", "--within", "taken/build"))


def test_equal_versions_do_not_differ_by_what_matters(compared: Compare, tmp_path: Path) -> None:
    write_run(tmp_path / "taken", {"stable": 10.0, "same": 10.0})
    within = ("--labels", "stable,same", "--within", "taken/build")
    check_equal(compared(*within, "--least", "0.3"))


def test_a_load_that_is_too_short_to_tell_has_an_exit_code_and_a_bar_of_its_own(
    compared: Compare, tmp_path: Path
) -> None:
    write_run(tmp_path / "taken", {"stable": 10.0, "same": 10.0})
    done = compared("--labels", "stable,same", "--within", "taken/build", "--least", "0.005")
    assert done.code == 3, done.out + done.told
    last = done.out.splitlines()[-1]
    assert "same (B) against stable (A): too short to tell: p50 " in last
    assert " s would tell" in last
    assert "bar <= 0: unknown" in done.told
    written = json.loads((tmp_path / "build" / "loadtest-compare.json").read_text())
    (worse,) = (row for row in written["results"] if row["name"] == "worse")
    assert (worse["value"], worse["holds"]) == (0, None)
    page = (tmp_path / "build" / "loadtest-compare.html").read_text()
    assert "Too short to tell: p50 " in page


def test_two_loads_are_compared_and_named_by_their_folders(
    compared: Compare, tmp_path: Path
) -> None:
    write_run(tmp_path / "before", {"stable": 10.0}, seed=1)
    write_run(tmp_path / "after", {"slow": 15.0}, seed=2)
    done = compared("before/build", "after/build")
    check_two_loads(done)
    assert done.code == 1, done.out
    assert "B is worse: p50 +" in done.out.splitlines()[-1]


def test_one_load_asks_both_labels_and_is_compared_and_kept(
    server: ModelServer,
    pictures: Path,
    compared: Compare,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparison, "FEWEST", 3)
    del server.labels["canary"]
    server.labels["slow"] = 2
    honest = server.usual("Predict")

    def predict(request: Any, context: Any) -> Any:
        time.sleep(0.06 if request.model_spec.version_label == "slow" else 0.0)
        return honest(request, context)

    server.handlers["Predict"] = predict
    load = ("--target", server.target, "--images", str(pictures), "--rate", "60")
    done = compared("--labels", "stable,slow", *load, "--duration-s", "4.2")
    # Four seconds are too few for a verdict on a busy machine; they have the same figures.
    assert done.code in (0, 1, 3), done.out + done.told
    assert done.out.splitlines()[-1].startswith("slow (B) against stable (A): ")
    ratio = figures(tmp_path)["p50.ratio"]
    assert ratio > 1
    asked = {request.label for request in server.asked("Predict")}
    assert asked == {"stable", "slow"}
    assert figures(tmp_path)["paired"] is True

    again = ("--within", "build/loadtest-compare-recording.json")
    done = compared("--labels", "slow,stable", *again)
    assert done.code in (0, 1, 3), done.out + done.told
    assert figures(tmp_path)["p50.ratio"] == pytest.approx(1 / ratio)


def test_a_mistake_is_one_line_and_exit_code_2(
    server: ModelServer, pictures: Path, compared: Compare, tmp_path: Path
) -> None:
    where = ("--target", server.target, "--images", str(pictures), "--duration-s", "0.4")
    done = commands.run(run.main, *where, "--rate", "20", folder=tmp_path)
    assert done.code == 0, done.told
    taken = run_file.read(tmp_path / "build")
    (tmp_path / "other" / "build").mkdir(parents=True)
    other = dataclasses.replace(taken, settings={**taken.settings, "rate": 40.0})
    other.write(tmp_path / "other" / "build" / "loadtest-recording.json")
    (tmp_path / "broken.json").write_text('{"format": "loadtest/2"}')
    for arguments, words in (
        ([], "Expected two runs"),
        (["build"], "Received: 1 runs"),
        (["build", "missing"], "Expected a run's loadtest-recording.json (loadtest/2)"),
        (["build", "broken.json"], "KeyError"),
        (["build", "other/build"], "rate is 20.0 in A and 40.0 in B; --anyway compares them"),
        (["build", "other/build", "--anyway"], "Expected runs of 20 s or more"),
        (["--labels", "stable"], "two labels of one load"),
        (["--labels", "stable,stable"], "two labels of one load"),
        (["--labels", "stable,nope", "--within", "build"], "none to nope"),
        (["--labels", "a,b", "--within", "build", "--rate", "3"], "no flags beside --within"),
        (["--labels", "stable,nope", *where, "--rate", "20"], "version label: nope"),
        (["build", "build", "--least", "2"], "Expected --least between 0 and 1"),
    ):
        done = compared(*arguments)
        assert done.code == 2, arguments
        told = done.told.strip().splitlines()
        assert words in told[-1], (arguments, told)
        assert told[-1].startswith("python -m loadtest.compare: error: ")
    assert not (tmp_path / "build" / "loadtest-compare.json").exists()


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server of three versions: 2 equals 1, 3 does a fifth more work. Its address."""
    folder = tmp_path_factory.mktemp("compare")
    for version, rounds in ((1, ROUNDS), (2, ROUNDS), (3, ROUNDS * 6 // 5)):
        slow_versions.save(folder / "models" / contract.MODEL_NAME / str(version), rounds)
    (folder / "models.config").write_text(CONFIG)
    flags = ("--allow_version_labels_for_unavailable_models=true",)
    where = {"config": folder / "models.config", "models": folder / "models"}
    with forked_server.serving(folder, *flags, **where) as (_, ports, _):
        yield f"127.0.0.1:{ports['grpc']}"


@pytest.fixture
def load(versions: str, pictures: Path) -> tuple[str, ...]:
    """Flags of a load that leaves the machine most of its time."""
    images = ("--images", str(pictures))
    return ("--target", versions, *images, "--rate", "40", "--duration-s", "25")


@pytest.mark.alone
@pytest.mark.thorough
def test_a_fifth_more_work_of_a_real_version_is_found(
    compared: Compare, load: tuple[str, ...]
) -> None:
    check_a_fifth_slower(compared("--labels", "stable,slow", *load))
    again = ("--within", "build/loadtest-compare-recording.json")
    check_a_fifth_faster(compared("--labels", "slow,stable", *again), too_short=True)


@pytest.mark.alone
@pytest.mark.thorough
def test_equal_versions_of_a_real_server_do_not_differ_by_what_matters(
    compared: Compare, load: tuple[str, ...]
) -> None:
    done = compared("--labels", "stable,same", *load)
    assert done.code in (0, 3), done.out + done.told
    assert 0.9 < figures(done.folder)["p50.ratio"] < 1.1


@pytest.mark.alone
@pytest.mark.thorough
def test_two_real_loads_are_compared(
    compared: Compare, load: tuple[str, ...], tmp_path: Path
) -> None:
    for name, label in (("before", "stable"), ("after", "slow")):
        (tmp_path / name).mkdir()
        done = commands.run(run.main, *load, "--label", label, folder=tmp_path / name)
        assert done.code == 0, done.told
    # On a machine with neighbours two loads may differ by more than a fifth, either way.
    check_two_loads(compared("before/build", "after/build"))
