"""A router that follows a file, a log of exposures, and a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tfs_client.background import callbacks, jsonl
from tfs_client.routing import router as module, split
from tfs_client.routing.router import ExposureLog

from .dealing import Clock, Deck


@pytest.fixture
def deck(tmp_path: Path) -> Deck:
    return Deck(tmp_path / "split.json")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ExposureLog]:
    with ExposureLog(tmp_path / "exposures.jsonl") as log:
        yield log


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for one in (module, split, callbacks, jsonl):
        monkeypatch.setattr(one, "time", clock)
    return clock
