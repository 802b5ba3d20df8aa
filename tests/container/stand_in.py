"""A stand-in for TensorFlow Serving's image, where it cannot be pulled.

Debian with bash and Python, and the local server under the name tensorflow_model_server: what the
Dockerfile, the compose file and the engine's command line rely on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from training.command_line import InputError

ROOT: Final = Path(__file__).resolve().parents[2]

DEBIAN: Final = "bookworm"

PYTHON: Final = (3, 11)
"""Of that Debian: this environment's packages run there if they are for the same one."""

CODE: Final = ("serving", "training")

SERVER: Final = """\
#!/bin/sh
export PYTHONPATH=/opt/project:/opt/project/serving/client:/opt/packages PYTHONDONTWRITEBYTECODE=1
exec python3 -m serving.local "$@"
"""


def engine() -> str:
    """The first engine that answers.

    Raises:
        InputError: none does.
    """
    for name in ("docker", "podman"):
        if (
            shutil.which(name)
            and not subprocess.run([name, "info"], capture_output=True).returncode
        ):
            return name
    raise InputError("Expected a container engine. Received: none that answers. Start docker.")


def holds(engine: str, image: str) -> bool:
    """Whether the engine has the image."""
    done = subprocess.run([engine, "image", "inspect", image], capture_output=True)
    return done.returncode == 0


def make(engine: str, tags: Sequence[str]) -> None:
    """Makes the stand-in and gives it these tags.

    Raises:
        InputError: debootstrap is missing, or this environment's Python is another one.
        subprocess.CalledProcessError: a step failed; it has said why.
    """
    if shutil.which("debootstrap") is None:
        raise InputError(
            "Expected debootstrap, to make a stand-in for TensorFlow Serving's image. Received: "
            "none. Install it (apt-get install debootstrap), or pull the real image."
        )
    if sys.version_info[:2] != PYTHON:
        wanted = ".".join(map(str, PYTHON))
        raise InputError(
            f"Expected an environment of Python {wanted}, as Debian {DEBIAN} has it. Received: "
            f"{sys.version.split()[0]}. Make one: make setup PYTHON=python{wanted}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        command = ["debootstrap", "--variant=minbase", "--include=python3", DEBIAN, str(root)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        _fill(root)
        tar = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)
        subprocess.run([engine, "import", "-", tags[0]], stdin=tar.stdout, check=True)
        if tar.wait():
            raise subprocess.CalledProcessError(tar.returncode, "tar")
    for tag in tags[1:]:
        subprocess.run([engine, "tag", tags[0], tag], check=True)


def _fill(root: Path) -> None:
    """The local server, its packages and its name."""
    packages = Path(sysconfig.get_paths()["purelib"])
    leave_out = shutil.ignore_patterns(
        "__pycache__", "elpv_dataset", "tensorboard*", "ruff*", "uv*"
    )
    shutil.copytree(packages, root / "opt" / "packages", ignore=leave_out, symlinks=True)
    for folder in CODE:
        shutil.copytree(ROOT / folder, root / "opt" / "project" / folder, ignore=leave_out)
    server = root / "usr" / "bin" / "tensorflow_model_server"
    server.write_text(SERVER)
    server.chmod(0o755)
