"""Which images the load test sends.

Knows nothing about servers. Reads no image: it only finds and chooses files.
"""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Final

from training.command_line import InputError

SAMPLE_SET: Final = "elpv_dataset"
"""The package with the sample set: photographs of solar cells (CC-BY-NC-SA-4.0)."""

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".gif", ".bmp")

LIMIT: Final = 256
"""At most so many files are held in memory."""


def choose(folder: Path | None, *, seed: int, limit: int = LIMIT) -> list[Path]:
    """Chooses images from a folder and the folders below it.

    Args:
        folder: where to look; None means the sample set.
        seed: the same one chooses the same files in the same order.
        limit: at most so many.

    Raises:
        InputError: no such folder, no images in it, or the sample set is not installed.
    """
    found = sorted(_all_images(folder if folder is not None else sample_set()))
    return random.Random(seed).sample(found, min(limit, len(found)))


def sample_set() -> Path:
    """The folder of the sample set, found without importing its package.

    Raises:
        InputError: it is not installed.
    """
    spec = importlib.util.find_spec(SAMPLE_SET)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"Expected the sample set to be installed. Received: no package {SAMPLE_SET}; "
            "install the lock file, or give a folder with --images"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "images"


def _all_images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"Expected a folder of images. Received: {folder}, which is none")
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and path.stat().st_size
    ]
    if not found:
        raise InputError(
            f"Expected images ({', '.join(SUFFIXES)}) in the folder. Received: none in {folder}"
        )
    return found
