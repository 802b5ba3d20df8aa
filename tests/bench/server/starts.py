"""How long the local server takes to be ready, beside what importing TensorFlow takes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

from foundation import progress
from tests.bench.processes import LocalServer
from tests.environments import ROOT

IMPORT = """\
import time
begin = time.monotonic()
from foundation import quiet_tensorflow
quiet_tensorflow.import_tensorflow(keras=False)
print(time.monotonic() - begin)
"""
"""The import alone, as the server does it, without the interpreter's own start."""


@dataclasses.dataclass(frozen=True)
class Start:
    """One start of the server, and an import right before it."""

    ready_s: float
    """From the start of the process until it has opened its ports."""
    import_s: float

    @property
    def own_s(self) -> float:
        """What is not TensorFlow's import."""
        return self.ready_s - self.import_s


def measure(models: Path, config: Path, folder: Path, count: int) -> list[Start]:
    """Starts the server so often, as `make serve` would, with nothing else running.

    Raises:
        InputError: it does not start.
    """
    starts = []
    for _ in progress.tracked(range(count), "starts", unit="starts"):
        done = subprocess.run(
            [sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True, check=True
        )
        with LocalServer(folder, "start", models, config) as server:
            ready_s = server.wait().ready_s
        starts.append(Start(ready_s, float(done.stdout)))
    return starts
