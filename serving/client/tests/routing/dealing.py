"""What the tests of the router share: a file of weights, a clock, and subprocesses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tfs_client.routing.router import Exposure, Router

KEYS = 20_000

EXPOSURE = Exposure(
    experiment="bigger net",
    unit="d262f1ae84e514cc",
    label="canary",
    answered_by="image_classifier/labels/canary",
    model="image_classifier",
    version=3,
    request_id="r-1",
    time_s=1767225600.5,
    latency_s=0.25,
    error="",
    needs_review=None,
    predicted="defective",
    probability=0.75,
)


def labels_of(router: Router, keys: range = range(KEYS)) -> dict[int, str]:
    return {key: router.assign(key).label for key in keys}


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


class Deck:
    """A split file on disk, and a router that reads it again at every assignment."""

    def __init__(self, path: Path):
        self.path = path
        self.write()
        self.router = Router.from_file(path, poll_s=0)

    def write(self, *, text: str | bytes | None = None, **changes: object) -> None:
        whole = {"experiment": "e", "weights": {"stable": 0, "canary": 1}, "control": "stable"}
        text = json.dumps({**whole, **changes}) if text is None else text
        aside = self.path.with_suffix(".new")
        aside.write_bytes(text.encode() if isinstance(text, str) else text)
        aside.replace(self.path)

    def swap_in_place(self, *, mtime_ns: int) -> None:
        """Swaps the two weights in place: inode and size stay, the time is chosen."""
        text = self.path.read_text()
        self.path.write_text(text.replace('0, "canary": 1', '1, "canary": 0'))
        os.utime(self.path, ns=(mtime_ns, mtime_ns))

    @property
    def label(self) -> str:
        return self.router.assign("somebody").label


class Clock:
    """Takes the place of the module `time` in the router; a test moves it on."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    time_ns = staticmethod(time.time_ns)


def written(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
