"""Digests of files and of versions."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from foundation.digests import file_digest, version_digest


def test_a_file_longer_than_a_block_has_the_digest_of_its_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_the_digest_of_a_version_changes_with_its_files_and_with_nothing_else(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "1"
    for name in ("variables", "assets.extra"):
        (folder / name).mkdir(parents=True)
    served = ["saved_model.pb", "variables/variables.index", "variables/variables.data"]
    for name in (*served, "fingerprint.pb", "assets.extra/model_card.json"):
        (folder / name).write_text(f"content of {name}")
    digest = version_digest(folder)
    assert version_digest(shutil.copytree(folder, tmp_path / "elsewhere")) == digest
    (folder / "assets.extra" / "gate.json").write_text("{}")
    (folder / "fingerprint.pb").unlink()
    assert version_digest(folder) == digest
    digests = {digest}
    (folder / "assets").mkdir()
    (folder / "assets" / "names.txt").write_text("good")
    digests.add(version_digest(folder))
    (folder / "assets" / "names.txt").rename(folder / "assets" / "other.txt")
    digests.add(version_digest(folder))
    for name in served:
        with (folder / name).open("ab") as file:
            file.write(b"\0")
        digests.add(version_digest(folder))
    assert len(digests) == 3 + len(served)
