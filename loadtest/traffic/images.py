"""Which images the load test sends. Finds and chooses files; does not read them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from foundation.command_line import InputError
from tfs_client import contract
from training.data.dataset import sample_set_folder

LIMIT: Final = 256
"""How many files are held in memory at most."""


def choose(folder: Path | None, *, seed: int, limit: int = LIMIT) -> list[Path]:
    """Chooses images from a folder and the folders below it.

    Args:
        folder: where to look; None means the sample set.
        seed: the same one chooses the same files in the same order.
        limit: how many at most.

    Raises:
        InputError: no such folder, no images in it, or the sample set is not installed.
    """
    found = sorted(_all_images(folder if folder is not None else sample_set_folder() / "images"))
    return random.Random(seed).sample(found, min(limit, len(found)))


def _all_images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"Expected a folder of images. Received: {folder}, which is none")
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in contract.IMAGE_SUFFIXES and path.is_file() and path.stat().st_size
    ]
    if not found:
        raise InputError(
            f"Expected images ({', '.join(contract.IMAGE_SUFFIXES)}) in the folder. "
            f"Received: none in {folder}"
        )
    return found
