"""The model store on disk: models/<name>/<version>/, versions 1, 2, 3, ...

A version is written into a hidden folder beside its place and renamed when it is whole, because the
server polls the folder and must never see half of one.
"""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foundation import files
from tfs_client import contract

EXTRA_ASSETS = "assets.extra"
"""TensorFlow Serving's folder for files that are not part of the graph."""

logger = logging.getLogger("export.versions")

_ASIDE = ".exporting"


def versions(model_folder: Path) -> list[int]:
    """The versions that stand in models/<name>/, ascending; other names are skipped."""
    if not model_folder.is_dir():
        return []
    return sorted(
        int(entry.name)
        for entry in model_folder.iterdir()
        if entry.is_dir() and entry.name.isascii() and entry.name.isdigit()
    )


def model_card(version_folder: Path) -> dict[str, Any] | None:
    """What the version says of itself; None where it has no card that can be read."""
    try:
        return json.loads((version_folder / contract.MODEL_CARD).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None


def of_run(model_folder: Path, run_id: str) -> list[int]:
    """The versions that hold a run, as their model cards say, ascending."""
    cards = ((number, model_card(model_folder / str(number))) for number in versions(model_folder))
    return [
        number for number, card in cards if isinstance(card, dict) and card.get("run") == run_id
    ]


@contextmanager
def new_version(model_folder: Path) -> Iterator[tuple[int, Path]]:
    """Gives the next version's number and an empty folder to write it into.

    The folder is renamed into place when the block ends, and removed if it raises. One process at a
    time; another waits, and sees inside of the block what the first one made. What an interrupted
    process left behind is cleared away.

    Yields:
        the version, and the folder to fill.
    """
    model_folder.mkdir(parents=True, exist_ok=True)
    with (model_folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another export into %s is under way: waiting for it", model_folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        version = max(versions(model_folder), default=0) + 1
        aside = model_folder / _ASIDE
        files.remove(aside)
        with files.replacing(model_folder / str(version), durable=True, aside=aside):
            aside.mkdir()
            yield version, aside
            files.sync_tree(aside)
