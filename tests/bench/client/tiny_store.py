"""Writes a model that tells which version answered: y = x / 2 + the version's offset.

    python -m tests.bench.client.tiny_store FOLDER

Leaves FOLDER/models/line/1 and /2, and FOLDER/models.config with the labels stable and canary. A
command, so that TensorFlow is imported in no process that is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench.client.outage import MODEL, OFFSETS
from tests.integration import local_server_fixtures
from tfs_client import contract


def main() -> int:
    """Writes it."""
    folder = Path(sys.argv[1])
    for version, offset in OFFSETS.items():
        local_server_fixtures.save_line(folder / "models" / MODEL / str(version), offset)
    versions = " ".join(f"versions: {version}" for version in OFFSETS)
    labels = {contract.LABEL_STABLE: 1, contract.LABEL_CANARY: 2}
    config = local_server_fixtures.line_config(f"specific {{ {versions} }}", labels)
    (folder / "models.config").write_text(config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
