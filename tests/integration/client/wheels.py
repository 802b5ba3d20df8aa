"""What a wheel says of itself."""

from __future__ import annotations

import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = "https://git.example/team/serving"
"""Given when the packages are built."""


def contents(wheel: Path) -> dict[str, bytes]:
    """Path in the wheel -> what the file holds."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel: Path) -> Message:
    """The wheel's METADATA."""
    (text,) = [
        content.decode()
        for name, content in contents(wheel).items()
        if name.endswith(".dist-info/METADATA")
    ]
    return Parser().parsestr(text)


def requirements(wheel: Path) -> list[Requirement]:
    """What the wheel depends on; what belongs to an extra has a marker."""
    return [Requirement(line) for line in metadata(wheel).get_all("Requires-Dist", [])]
