"""Checkpoints of a run under way: one file an epoch, which is known to be whole or known not to be.

    runs/.cnn-5ff1b5fb9309/checkpoint/epoch-00007
    runs/.cnn-5ff1b5fb9309/checkpoint/epoch-00008

The last two are kept: where the newest one is cut (a full disk, a power failure), training goes on
from the one before. Each holds all of a run's state, its best weights too: no two files have to fit
together.

TensorFlow's own checkpoints are not used: their readers take a path for a pattern, so that nothing
is found below a folder such as "runs[1]", and a cut file cannot be told from a whole one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foundation import files

logger = logging.getLogger(__name__)

KEPT = 2

_DIGEST_BYTES = hashlib.sha256().digest_size
"""A file begins with the digest of what follows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The whole state of a run after an epoch."""

    progress: dict[str, Any]
    """JSON-ready"""
    variables: Sequence[np.ndarray]
    """of model and optimizer"""
    best: Sequence[np.ndarray]
    """the model's variables after the best epoch"""


def save(folder: Path, epoch: int, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint, and removes all but the last two.

    Args:
        folder: is made if it is not there.
        epoch: how many are done; from 1.
        checkpoint: what to keep.

    Raises:
        OSError: it cannot be written, because the disk is full for one; the ones before stay.
    """
    folder.mkdir(exist_ok=True)
    arrays = {f"variable_{index}": value for index, value in enumerate(checkpoint.variables)}
    arrays |= {f"best_{index}": value for index, value in enumerate(checkpoint.best)}
    content = io.BytesIO()
    np.savez(content, progress=np.array(json.dumps(checkpoint.progress)), **arrays)
    body = content.getvalue()
    path = folder / f"epoch-{epoch:05}"
    files.write(path, hashlib.sha256(body).digest() + body, durable=True, aside=folder / ".aside")
    for number, other in _listed(folder):
        # a higher number is that of a file which could not be read
        if number > epoch or number <= epoch - KEPT:
            other.unlink()


def newest(folder: Path) -> Checkpoint | None:
    """Reads the newest checkpoint that is whole, and warns of those that are not.

    Args:
        folder: as for `save`; need not exist.

    Returns:
        the checkpoint; None where there is none.

    Raises:
        OSError: a file cannot be read.
    """
    for _, path in reversed(_listed(folder)):
        content = path.read_bytes()
        digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() == digest:
            return _read(body)
        logger.warning(
            "the checkpoint %s is cut off or damaged: going back to the one before", path
        )
    return None


def _listed(folder: Path) -> list[tuple[int, Path]]:
    """Epochs and their files, ascending."""
    if not folder.is_dir():
        return []
    found = [(re.fullmatch(r"epoch-(\d+)", path.name), path) for path in folder.iterdir()]
    return sorted((int(name[1]), path) for name, path in found if name)


def _read(body: bytes) -> Checkpoint:
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:

        def series(name: str) -> list[np.ndarray]:
            count = sum(key.startswith(name) for key in arrays)
            return [arrays[f"{name}{index}"] for index in range(count)]

        return Checkpoint(
            progress=json.loads(str(arrays["progress"])),
            variables=series("variable_"),
            best=series("best_"),
        )
