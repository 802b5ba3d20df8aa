"""What a version's files are, in one number: who has judged a version knows it again.

Standard library only, so that whoever reads a judgement needs no TensorFlow.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def version_digest(folder: Path) -> str:
    """SHA-256 over what is served: saved_model.pb, variables/ and assets/, names and contents.

    Not over assets.extra/, where the card, the warm-up and the judgement itself lie.

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
