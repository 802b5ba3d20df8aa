"""The addresses in the package's metadata. Where the repository is hosted only its owner knows.

    REPOSITORY_URL=https://git.example.com/team/serving python -m hatchling build

Paths below the address are those of GitHub and GitLab. Without the variable no address is named.
"""

from __future__ import annotations

import os
import re
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Addresses(MetadataHookInterface):
    """Fills in project.urls."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling, but not where it builds from a source distribution, which has them.

        Raises:
            ValueError: the variable holds no address.
        """
        address = os.environ.get("REPOSITORY_URL", "").rstrip("/")
        metadata["urls"] = {}
        if not address:
            return
        if not re.fullmatch(r"https?://[\w.:-]+(/[\w.~/-]+)?", address):
            raise ValueError(
                "Expected REPOSITORY_URL such as https://git.example.com/team/serving. "
                f"Received: {address}"
            )
        metadata["urls"] = {
            "Repository": address,
            "Issues": f"{address}/issues",
            "Documentation": f"{address}/blob/HEAD/docs/client/README.md",
            "Changelog": f"{address}/blob/HEAD/serving/client/CHANGELOG.md",
        }
