"""Checkpoints: whole ones are read, cut ones are told from them, two are kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.learning import checkpoints
from training.learning.checkpoints import Checkpoint


def _checkpoint(epoch: int) -> Checkpoint:
    variables = [np.full((2, 3), epoch, np.float32), np.array(7 * epoch, np.int64)]
    variables += [np.arange(12, dtype=np.uint32)]  # more than ten arrays keep their order
    variables += [np.array([index], np.float32) for index in range(12)]
    progress = {"next_epoch": epoch, "best_loss": math.inf, "history": [{"loss": 0.1 * epoch}]}
    return Checkpoint(progress=progress, variables=variables, best=variables[:2])


@pytest.fixture(params=["plain", "with [brackets] and * and ?"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / request.param).mkdir()
    return tmp_path / request.param / "checkpoint"


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_is_read_back(folder: Path) -> None:
    checkpoints.save(folder, 3, _checkpoint(3))
    read, saved = checkpoints.newest(folder), _checkpoint(3)
    assert read.progress == saved.progress
    for one, other in ((read.variables, saved.variables), (read.best, saved.best)):
        assert len(one) == len(other)
        for found, expected in zip(one, other):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_the_last_two_are_kept(folder: Path) -> None:
    assert checkpoints.newest(folder) is None
    for epoch in range(1, 6):
        checkpoints.save(folder, epoch, _checkpoint(epoch))
    assert _names(folder) == ["epoch-00004", "epoch-00005"]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut within the digest": lambda content: content[:20],
    "cut within the arrays": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "one bit flipped": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "zeros, as after a power failure": lambda content: bytes(len(content)),
    "longer": lambda content: content + b"x",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_one_is_told_and_the_one_before_is_read(
    name: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for epoch in (1, 2):
        checkpoints.save(folder, epoch, _checkpoint(epoch))
    last = folder / "epoch-00002"
    last.write_bytes(DAMAGE[name](last.read_bytes()))
    assert checkpoints.newest(folder).progress["next_epoch"] == 1
    assert f"{last} is cut off or damaged" in caplog.text
    checkpoints.save(folder, 2, _checkpoint(2))
    assert checkpoints.newest(folder).progress["next_epoch"] == 2


def test_where_none_is_whole_a_new_beginning_replaces_them(folder: Path) -> None:
    for epoch in (8, 9):
        checkpoints.save(folder, epoch, _checkpoint(epoch))
    for path in folder.iterdir():
        path.write_bytes(b"")
    assert checkpoints.newest(folder) is None
    checkpoints.save(folder, 1, _checkpoint(1))
    assert _names(folder) == ["epoch-00001"]


def test_other_files_do_not_count(folder: Path) -> None:
    checkpoints.save(folder, 1, _checkpoint(1))
    for name in ("checkpoint", ".aside", "epoch-00002.tmp", "ckpt-3.index"):
        (folder / name).write_bytes(b"half")
    assert checkpoints.newest(folder).progress["next_epoch"] == 1
