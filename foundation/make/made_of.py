"""What the environment .venv is made of: a lock's content, the client's metadata, a Python."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(".venv")

COMPLETE: Final = FOLDER / "complete"
"""Written last: JSON, as `wanted` gives it."""

PYTHON: Final = FOLDER / "bin" / "python"

CLIENT: Final = Path("serving/client")
"""Installed as it stands there."""

LOCK: Final = "requirements.lock"


def read() -> dict[str, str]:
    """What the environment that stands was made of; empty where none is complete."""
    try:
        found = json.loads(COMPLETE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and PYTHON.exists() else {}


def wanted(lock: str) -> dict[str, str]:
    """What an environment is made of if this Python makes it now; empty without the lock."""
    digest = hashlib.sha256()
    try:
        for path in (Path(lock), CLIENT / "pyproject.toml"):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    except OSError:
        return {}
    python = ".".join(map(str, sys.version_info[:2]))
    return {"lock": lock, "sha256": digest.hexdigest(), "python": python}
