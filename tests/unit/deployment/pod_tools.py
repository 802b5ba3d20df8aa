"""What runs the scripts of pods in a test: this machine's shell, and BusyBox where it is found."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.environments import ROOT

STORE: Final = ROOT / "k8s" / "components" / "model-store-bucket"

READER: Final = STORE / "models-config.awk"

SHELLS: Final = ("sh", "busybox")
"""This machine's, and the one of the image, which is BusyBox with its own awk and small tools."""


@cache
def _found(name: str) -> str | None:
    kept = ROOT / "build" / "pod-tools"
    places = (kept / "bin" / name, kept / "usr" / "bin" / name)
    return shutil.which(name) or next((str(one) for one in places if one.exists()), None)


@dataclass(frozen=True)
class Tools:
    """What the scripts call."""

    folder: Path
    busybox: bool

    @property
    def sh(self) -> list[str]:
        """The command that takes a script."""
        return [str(self.folder / "busybox"), "sh"] if self.busybox else ["sh"]

    @property
    def awk(self) -> list[str]:
        """The command that takes a program."""
        return [str(self.folder / "busybox"), "awk"] if self.busybox else ["awk"]

    @property
    def path(self) -> str:
        """PATH: BusyBox's tools and no others, or this machine's."""
        return str(self.folder) if self.busybox else f"{self.folder}:/usr/local/bin:/usr/bin:/bin"


def make(shell: str, folder: Path) -> Tools:
    """Makes the folder for PATH; skips the test where BusyBox is asked for and not found.

    With BusyBox rclone is the real one where it is found; it takes a fifth of a second a call, so
    that this machine's shell always has the stand-in.
    """
    if shell == "busybox":
        busybox = _found("busybox")
        if busybox is None:
            pytest.skip("needs busybox: apt-get install busybox-static rclone")
        listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
        for name in listed.stdout.split():
            (folder / name).symlink_to(busybox)
        if (curl := shutil.which("curl")) is not None:
            (folder / "curl").symlink_to(curl)
    rclone = _found("rclone")
    if rclone is not None and shell == "busybox":
        (folder / "rclone").symlink_to(rclone)
    else:
        (folder / "rclone").write_text(STAND_IN)
        (folder / "rclone").chmod(0o755)
    return Tools(folder, shell == "busybox")


STAND_IN: Final = """#!/bin/sh
# rclone copy --quiet store:remote/<folder> <folder>
# rclone lsf --dirs-only store:remote/<folder>
from=$RCLONE_CONFIG_STORE_REMOTE/${3#store:}
[ -d "$from" ] || exit 3
case $1 in
  copy) cp -R "$from/." "$4" ;;
  lsf) cd "$from" && ls -d -- */ 2>/dev/null || : ;;
esac
"""
"""A folder in place of a store."""
