"""A run on disk, the store of versions, and figures: whole or not there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from export import versions
from foundation import figures
from foundation.command_line import InputError
from training import run


def test_a_missing_run_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Expected a run in .*latest.*make train"):
        run.load(tmp_path / "latest")


def test_a_run_that_is_not_as_training_writes_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / run.SETTINGS).write_text('{"id": "x"}')
    with pytest.raises(InputError, match="as training writes it"):
        run.load(tmp_path)


def test_only_one_process_makes_a_run_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    final = tmp_path / "runs" / "cnn-1"
    holding = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib; from training import run\n"
            "with run.sole_writer(pathlib.Path(sys.argv[1])):\n"
            "    print('held', flush=True); time.sleep(60)",
            str(final),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holding.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="under way"), run.sole_writer(final):
            pass
    finally:
        holding.send_signal(signal.SIGKILL)
        holding.wait()
        holding.stdout.close()
    with run.sole_writer(final):
        pass
    assert list(final.parent.iterdir()) == []  # no lock is left lying about


def test_publishing_leaves_no_working_files(tmp_path: Path) -> None:
    final = tmp_path / "cnn-1"
    partial = run.partial_folder(final)
    (partial / "checkpoint").mkdir(parents=True)
    (partial / run.SETTINGS).write_text("{}")
    run.publish(partial, final)
    run.point_latest(final)
    run.point_latest(final)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cnn-1", "latest"]
    assert [path.name for path in (tmp_path / "latest").iterdir()] == [run.SETTINGS]


def test_versions_are_counted_from_one_and_other_names_are_skipped(tmp_path: Path) -> None:
    assert versions.versions(tmp_path / "nothing") == []
    for name in ("1", "3", "007", ".exporting", "latest", "2.5", "-4", "²"):
        (tmp_path / name).mkdir()
    (tmp_path / "9").write_text("a file")
    assert versions.versions(tmp_path) == [1, 3, 7]
    with versions.new_version(tmp_path) as (version, aside):
        assert version == 8
        (aside / "content").write_text("x")
        assert not (tmp_path / "8").exists()
    assert (tmp_path / "8" / "content").read_text() == "x"


def test_a_version_that_fails_leaves_nothing_and_its_number_is_given_again(tmp_path: Path) -> None:
    def fail() -> None:
        with versions.new_version(tmp_path) as (_, aside):
            (aside / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with versions.new_version(tmp_path) as (version, _):
        assert version == 1


def test_what_a_killed_export_left_is_cleared_away(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib; from export import versions\n"
        "with versions.new_version(pathlib.Path(sys.argv[1])) as (version, aside):\n"
        "    (aside / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert versions.versions(tmp_path) == []
    with versions.new_version(tmp_path) as (version, aside):
        assert (version, list(aside.iterdir())) == (1, [])


def test_figures_hold_their_bars_or_say_so(tmp_path: Path) -> None:
    result = figures.Figures("demo", "make demo")
    result.add("fast", 3.0, "s", at_most=3)
    result.add("right", 0.9, "", at_least=0.8, at_most=1)
    result.add("noted", "text", "")
    assert result.write(tmp_path) == 0
    result.add("not measured", float("nan"), "s", at_most=3)
    assert result.write(tmp_path) == 1
    written = json.loads((tmp_path / "demo.json").read_text())
    assert {"name", "command", "commit", "machine", "started", "results"} == set(written)
    assert [entry["holds"] for entry in written["results"]] == [True, True, None, False]
    assert written["results"][3]["value"] is None  # JSON has no NaN
    assert written["results"][1]["bar"] == "<= 1 and >= 0.8"


@pytest.mark.parametrize("value", [4.0, None, "3"])
def test_a_figure_past_its_bar_or_missing_fails(value: object, tmp_path: Path) -> None:
    result = figures.Figures("demo", "make demo")
    result.add("slow", value, "s", at_most=3)
    assert result.write(tmp_path) == 1


def test_json_is_written_aside_and_renamed(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    figures.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        figures.write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]
