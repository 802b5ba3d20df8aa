"""Images of this project as files that a node can load, with the tags that k8s/ names.

tests/container makes them, the server's or a stand-in for it, in a container engine; the files are
kept, so that the engine is needed once.
"""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

from foundation import files
from foundation.command_line import InputError
from serving.container.engine import IMAGE
from tests.cluster.places import FOLDER
from tests.container import stand_in
from tests.environments import UnavailableError

_log = logging.getLogger("tests.cluster")


def archive(image: str = IMAGE) -> Path:
    """The file; made anew where an engine answers.

    Args:
        image: the server's, or the tools'.

    Raises:
        UnavailableError: there is no engine, and no file of an earlier time.
    """
    kept = FOLDER / f"{image.replace('/', '-').replace(':', '-')}.tar"
    try:
        engine = stand_in.engine()
        stand_in.make_server(engine)
    except InputError as error:
        if kept.exists():
            _log.warning("no container engine answers: %s is an earlier one", image)
            return kept
        raise UnavailableError(f"{image} cannot be made: {error}") from error
    kept.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(kept) as aside:
        subprocess.run([engine, "save", "--output", str(aside), image], check=True)
    return kept
