"""The versions of a model: whole or not there, one number each."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from export import versions


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
