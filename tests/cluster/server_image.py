"""The server image as a file that a node can load, with the tag that k8s/base names.

tests/container makes it, or a stand-in, in a container engine; the file is kept, so that the engine
is needed once.
"""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path
from typing import Final

from serving.container.engine import IMAGE
from tests.cluster.places import FOLDER
from tests.container import stand_in
from tests.environments import UnavailableError
from training.command_line import InputError

_log = logging.getLogger("tests.cluster")

ARCHIVE: Final = FOLDER / "server-image.tar"


def archive() -> Path:
    """The file; made anew where an engine answers.

    Raises:
        UnavailableError: there is no engine, and no file of an earlier time.
    """
    try:
        engine = stand_in.engine()
        stand_in.make_server(engine)
    except InputError as error:
        if ARCHIVE.exists():
            _log.warning("no container engine answers: the server image is an earlier one")
            return ARCHIVE
        raise UnavailableError(f"the server image cannot be made: {error}") from error
    aside = ARCHIVE.with_suffix(".new")
    aside.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([engine, "save", "--output", str(aside), IMAGE], check=True)
    aside.replace(ARCHIVE)
    return ARCHIVE
