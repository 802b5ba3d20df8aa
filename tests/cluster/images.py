"""Makes container images out of files, as `docker save` would write them.

No registry can be asked, and no container engine is needed: a tar with a layer, its configuration
and a list.
"""

from __future__ import annotations

import io
import json
import platform
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from foundation.digests import stream_digest

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}

PAUSE: Final = "cluster.test/pause:1"
"""Process 1 of every pod."""

ANSWER: Final = "cluster.test/answer:1"
"""Answers any HTTP request with 200 and a file's content (go/small/answer)."""


def write(
    archive: Path,
    tags: Sequence[str],
    content: Mapping[str, Path],
    *,
    entrypoint: Sequence[str] = (),
    environment: Sequence[str] = (),
) -> Path:
    """Writes an image of one layer.

    Args:
        archive: the tar.
        tags: such as "tensorflow/serving:2.19.1".
        content: what is at which path of the image: a file, or a folder with all below it, owners
            and modes as they are. "." for a whole root file system.
        entrypoint: the program, unless a pod names one.
        environment: NAME=value.
    """
    with tempfile.TemporaryFile() as layer:
        with tarfile.open(fileobj=layer, mode="w") as tar:
            for path, source in content.items():
                tar.add(source, arcname=path.lstrip("/"))
        layer.seek(0)
        digest = stream_digest(layer)
        size = layer.seek(0, io.SEEK_END)
        layer.seek(0)
        configuration = {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "Env": list(environment)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        listed = [{"Config": "config.json", "RepoTags": list(tags), "Layers": ["layer.tar"]}]
        with tarfile.open(archive, mode="w") as tar:
            entry = tarfile.TarInfo("layer.tar")
            entry.size = size
            tar.addfile(entry, layer)
            _add_json(tar, "config.json", configuration)
            _add_json(tar, "manifest.json", listed)
    return archive


def _add_json(tar: tarfile.TarFile, name: str, content: Any) -> None:
    encoded = json.dumps(content).encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(encoded)
    tar.addfile(entry, io.BytesIO(encoded))
