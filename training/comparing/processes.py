"""Trains runs that are to be compared, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from foundation import figures
from foundation.command_line import InputError
from training import run

RUNS: Final = figures.BUILD_DIR / "runs"
"""Apart from runs/, so that runs/latest, and with it the next export, stays what it was."""


def trained(name: str, flags: Sequence[str]) -> run.Run:
    """Trains a run, or reads the one that stands with these settings already.

    A process a run, because TensorFlow's devices and determinism are set once a process.

    Args:
        name: what it is called where it fails.
        flags: of training.train, without --runs.

    Raises:
        InputError: it could not be trained; the reason stands on stderr.
    """
    done = subprocess.run(
        [sys.executable, "-m", "training.train", "--runs", str(RUNS), *flags],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise InputError(
            f"Expected {name} to train. Received: exit code {done.returncode}; the reason stands "
            "above. What stands already is kept."
        )
    return run.load(Path(done.stdout.strip()))
