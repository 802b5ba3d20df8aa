"""Commands against a local server while callers ask it: nothing may be lost.

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
import tqdm
from numpy.typing import NDArray

from serving import models_config
from tests.bench.rollout.callers import FAILED, MODEL, WRONG
from tests.bench.rollout.timeline import Command
from tests.integration.local_server_fixtures import RunningServer, line_config, running_server

START = line_config("specific { versions: 1 }", {"stable": 1, "canary": 1, "previous": 1})

FLAGS = ("--allow_version_labels_for_unavailable_models=true", "--max_num_load_retries=0")


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
    callers: int,
    per_s: float,
    pause_s: tuple[float, float],
    flags: Sequence[str] = (),
) -> Traffic:
    """Starts a server and its callers, and gives one command after the other.

    Args:
        folder: holds models/line/1, 2, …; receives models.config.
        verbs: such as "canary 2".
        by: rpc or file.
        callers: at once.
        per_s: their rate, all together; 0: as fast as they can.
        pause_s: between two commands: drawn from this range, so that they fall anywhere between two
            looks of a server at its file.
        flags: more of the server's.
    """
    with running_server(folder, *FLAGS, *flags, config=START) as server:
        target = f"127.0.0.1:{server.ports['grpc']}"
        out = folder / "rows.npz"
        before = _memory_mb(server)
        with _calling(target, out, callers, per_s):
            commands, random = [], np.random.default_rng(0)
            for verb in tqdm.tqdm(verbs, desc=f"by {by}", unit="command", disable=None):
                commands.append(_command(verb, folder / "models.config", target, by))
                time.sleep(random.uniform(*pause_s))
        after = _memory_mb(server)
    with np.load(out, allow_pickle=True) as saved:
        rows, errors = saved["rows"], tuple(str(one) for one in saved["errors"])
    return Traffic(commands=tuple(commands), rows=rows, errors=errors, memory_mb=(before, after))


@contextlib.contextmanager
def _calling(target: str, out: Path, callers: int, per_s: float) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.bench.rollout.callers", target, str(out)]
    command += [f"--callers={callers}", f"--per-s={per_s}"]
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


def _memory_mb(server: RunningServer) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024
