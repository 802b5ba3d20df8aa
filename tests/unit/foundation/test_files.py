"""Files that are written aside and renamed: whole or as they were, whatever happens."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from foundation import files


def test_text_and_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    files.write(tmp_path / "text", "ü\r\n")
    files.write(tmp_path / "bytes", b"\xff\0", durable=True)
    assert (tmp_path / "text").read_bytes() == "ü\r\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\xff\0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bytes", "text"]


def test_permissions_are_those_of_the_umask_or_those_given(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "usual", "")
        files.write(tmp_path / "given", "", mode=0o604)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "given")]
    assert modes == [0o640, 0o604]


def test_what_raises_leaves_the_old_content_and_nothing_aside(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write(path, "old")

    def fail() -> None:
        with files.replacing(path) as aside:
            aside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with pytest.raises(UnicodeEncodeError):
        files.write(path, "half \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    with files.replacing(folder, durable=True) as aside:
        (aside / "variables").mkdir(parents=True)
        (aside / "variables" / "a").write_text("x")
        files.sync_tree(aside)
        assert not folder.exists()
    assert (folder / "variables" / "a").read_text() == "x"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_link_is_replaced_and_what_it_named_stays(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "latest").symlink_to("old")
    with files.replacing(tmp_path / "latest") as aside:
        aside.symlink_to("new")
    assert os.readlink(tmp_path / "latest") == "new"  # noqa: PTH115
    assert (tmp_path / "old").is_dir()


@pytest.mark.parametrize("effect", ["open", "os.fsync", "os.rename"])
def test_a_write_that_is_killed_leaves_the_old_content(effect: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write(path, "old")
    code = f"""
import os, pathlib, signal, sys
from foundation import files

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def audit(event, arguments):
    if event == {effect!r} and (event != "open" or "file" in str(arguments[0])):
        die()

if {effect!r} == "os.fsync":
    os.fsync = die
sys.addaudithook(audit)
files.write(pathlib.Path(sys.argv[1]), "new", durable=True)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    files.write(path, "new")
    assert path.read_text() == "new"


def test_what_is_durable_is_flushed_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "file", []
    flush = os.fsync

    def watched(descriptor: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    files.write(path, "not flushed")
    assert seen == []
    path.unlink()
    files.write(path, "flushed", durable=True)
    assert seen == [(False, False), (True, True)]


@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_disk_that_fails_is_told_and_one_that_cannot_flush_folders_is_not(
    number: int, raises: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    if raises:
        with pytest.raises(OSError, match="Input/output error"):
            files.sync(tmp_path)
    else:
        files.sync(tmp_path)
