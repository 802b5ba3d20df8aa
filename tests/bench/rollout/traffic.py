"""Commands against a local server while callers ask it: no request may be lost.

Every command is a process of its own, as an operator runs it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foundation import progress
from serving import models_config
from tests.bench import line_model
from tests.bench.line_model import MODEL
from tests.bench.processes import LocalServer
from tests.bench.rollout.callers import FAILED, WRONG
from tests.bench.rollout.timeline import Command

START = line_model.config({"stable": 1, "canary": 1, "previous": 1})

FLAGS = ("--max_num_load_retries=0",)


@dataclasses.dataclass(frozen=True)
class Callers:
    """Who asks while commands run."""

    count: int
    """At once."""
    per_s: float = 0.0
    """Their rate, all together; 0: as fast as they can."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traffic:
    """What was done, and what the callers saw meanwhile."""

    commands: tuple[Command, ...]
    rows: NDArray[np.void]
    errors: tuple[str, ...]
    """The first of them."""
    memory_mb: tuple[float, float]
    """The server's resident memory, before and after."""

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return int(np.sum(self.rows["version"] == FAILED))

    @property
    def wrong(self) -> int:
        """Answers that their version does not give."""
        return int(np.sum(self.rows["version"] == WRONG))


def run(
    folder: Path,
    verbs: Sequence[str],
    *,
    by: str,
    callers: Callers,
    pause_s: tuple[float, float] = (0.0, 0.0),
    flags: Sequence[str] = (),
) -> Traffic:
    """Starts a server and its callers, and gives one command after the other.

    Args:
        folder: holds models/line/1, 2, …; receives models.config.
        verbs: such as "canary 2".
        by: rpc or file.
        callers: ask meanwhile.
        pause_s: between two commands: drawn from this range, so that a command may come at any time
            between two reads of models.config by the server.
        flags: more of the server's.
    """
    config = folder / "models.config"
    config.write_text(START)
    with LocalServer(folder, "local", folder / "models", config, *FLAGS, *flags) as server:
        target = server.wait().grpc
        out = folder / "rows.npz"
        before = server.resident_mb()
        with _calling(target, out, callers):
            commands, random = [], np.random.default_rng(0)
            for verb in progress.tracked(verbs, f"by {by}", unit="commands"):
                commands.append(_command(verb, config, target, by))
                time.sleep(random.uniform(*pause_s))
        after = server.resident_mb()
    with np.load(out, allow_pickle=True) as saved:
        rows, errors = saved["rows"], tuple(str(one) for one in saved["errors"])
    return Traffic(commands=tuple(commands), rows=rows, errors=errors, memory_mb=(before, after))


@contextlib.contextmanager
def _calling(target: str, out: Path, callers: Callers) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.bench.rollout.callers", target, str(out)]
    command += [f"--callers={callers.count}", f"--per-s={callers.per_s}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == b"calling\n"
            yield
        finally:
            running.stdin.close()
            running.wait(60)
    assert running.returncode == 0


def _command(verb: str, config: Path, target: str, by: str) -> Command:
    arguments = [
        "--config",
        str(config),
        "--model",
        MODEL,
        "--target",
        target,
        "--by",
        by,
        "--json",
    ]
    if verb.startswith("canary"):
        arguments += ["--force", "--why", "measured"]
    before = _labels(config)
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "serving.rollout", *verb.split(), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    ended = time.monotonic()
    assert done.returncode == 0, done.stderr
    return Command(
        verb=verb.split()[0],
        begun=begun,
        ended=ended,
        seconds=json.loads(done.stdout)["seconds"],
        before=before,
        after=_labels(config),
    )


def _labels(config: Path) -> dict[str, int]:
    return dict(models_config.read(config).model(MODEL).labels)
