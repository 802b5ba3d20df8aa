"""`make test-hostile`: small files that ask for much, asked of a version and of a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from export import hostile
from tests.hostile import __main__ as command
from tests.hostile.server import TENSORS

ROWS = len(hostile.FILES) + len(hostile.EXAMPLES)


@pytest.mark.slow
def test_a_version_and_its_server_stand_every_hostile_row(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(["--models", str(store)]) == 0
    found = json.loads((tmp_path / "build" / "hostile.json").read_text())
    values = {figure["name"]: figure["value"] for figure in found["results"]}
    assert values["graph.answered"] == ROWS
    assert values["server.answered"] == ROWS + len(TENSORS)
    assert values["server.most_memory"] > 0
