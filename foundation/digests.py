"""Digests that tell whether files are still those that somebody has seen before.

Standard library only: reading a verdict must not cost TensorFlow's import.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO


def file_digest(path: Path) -> str:
    """SHA-256 over a file's content, as 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return stream_digest(file)


def stream_digest(stream: IO[bytes]) -> str:
    """SHA-256 over what is left to read of a stream, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def version_digest(folder: Path) -> str:
    """SHA-256 over what is served: saved_model.pb, variables/ and assets/, names and contents.

    assets.extra/ does not count: the model card, the warm-up and the gate's verdict lie there.

    Args:
        folder: models/<name>/<version>/.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: a file cannot be read.
    """
    files = [folder / "saved_model.pb"]
    for part in ("variables", "assets"):
        files += [path for path in (folder / part).rglob("*") if path.is_file()]
    digest = hashlib.sha256()
    for path in sorted(files):
        name = path.relative_to(folder).as_posix().encode()
        content = path.read_bytes()
        digest.update(len(name).to_bytes(8, "big") + name)
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()
