"""`make test-hostile`: small files that ask for much, asked of a version and of a real server."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from export import hostile
from tests.hostile import __main__ as command
from tests.hostile.server import TENSORS
from tfs_client import contract

ROOT = Path(__file__).resolve().parents[3]
ROWS = len(hostile.FILES) + len(hostile.EXAMPLES)


@pytest.mark.thorough
def test_a_version_and_its_server_stand_every_hostile_row(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(["--models", str(store)]) == 0
    found = json.loads((tmp_path / "build" / "hostile.json").read_text())
    values = {figure["name"]: figure["value"] for figure in found["results"]}
    assert values["graph.answered"] == ROWS
    assert values["server.answered"] == 2 * ROWS + len(TENSORS)  # over gRPC and REST
    assert values["server.most_memory"] > 0


MANY_ROWS = """
import os, sys
from pathlib import Path
import numpy as np
from export import burden
from export.verify import Loaded
from tfs_client import contract

version = Loaded(Path(sys.argv[1]))
images = np.random.default_rng(1).integers(0, 256, (contract.MAX_ROWS, 64, 64, 3), np.uint8)
ask = lambda rows: version.ask(contract.SIGNATURE_IMAGES, rows)[contract.OUTPUT_PROBABILITY]
ask(images[:1])
meter = burden.Meter(os.getpid())
meter.start()
together = ask(images)
memory, _ = meter.stop()
one_by_one = np.concatenate([ask(images[at : at + 1]) for at in range(0, len(images), 97)])
assert together.shape == (contract.MAX_ROWS,)
print(memory // 2**20, np.abs(together[::97] - one_by_one).max() < 1e-5)
"""


@pytest.mark.slow
def test_as_many_rows_as_may_be_are_answered_as_one_by_one_and_in_little_memory(
    store: Path, preloaded_python: str
) -> None:
    version = store / contract.MODEL_NAME / "1"
    done = subprocess.run(
        [preloaded_python, "-c", MANY_ROWS, str(version)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    memory_mib, same = done.stdout.split()[-2:]
    # a third of it is the request; all layers of all rows at once take over 900
    assert int(memory_mib) < 250
    assert same == "True"
