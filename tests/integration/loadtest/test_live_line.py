"""What a load shows while it runs, on a real terminal."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from serving.client.tests.model_server import ModelServer
from tests import terminals


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loop", "columns"),
    [
        pytest.param(("--rate", "40"), 80, id="open"),
        pytest.param(("--users", "2"), 40, id="closed", marks=pytest.mark.thorough),
    ],
)
def test_a_load_shows_rate_percentiles_and_failures_while_it_runs(
    server: ModelServer, pictures: Path, tmp_path: Path, loop: tuple[str, ...], columns: int
) -> None:
    command = [sys.executable, "-m", "loadtest.run", "--target", server.target]
    code, written = terminals.on_terminal(
        [*command, "--images", str(pictures), *loop, "--duration-s", "3"],
        columns=columns,
        environment={"NO_COLOR": "1"},
        folder=tmp_path,
    )
    assert code == 0, written
    assert "\x1b" not in written
    wide = r"load: \d/3 s, [\d,]+ requests/s, p50 [\d.]+ ms, p99 [\d.]+ ms, 0 failures"
    narrow = r"\d/3 s,? [\d,]+/s,? (p50 [\d.]+, )?p99 [\d.]+ ms,? 0 failed"
    shown = [
        frame
        for frame in terminals.frames(written)
        if re.fullmatch(wide if columns == 80 else narrow, frame)
    ]
    assert len(shown) >= 2, written
    assert all(len(frame) < columns for frame in shown)
