"""Walks the container road: builds the image, runs it hardened, stops it, serves through it.

    python -m tests.container                 `make test-container`; minutes for the first time

Wants a container engine that answers (DOCKER_HOST is respected). Where it does not hold TensorFlow
Serving's image, a stand-in is made under the same tag: Debian by debootstrap (root), with the local
server as tensorflow_model_server. Dockerfile, compose file and `make serve` are then tested as they
are. The stand-in stays in the engine; remove it with `docker rmi` before you pull the real image.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

import pytest

from serving.container.engine import GPU_IMAGE, IMAGE
from tests.container import stand_in
from training import command_line

logger = logging.getLogger("tests.container")

TESTS = ("tests/integration/test_container.py", "tests/integration/test_serve.py")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; pytest's exit code."""
    parser = command_line.Parser(
        prog="test-container",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)
    command_line.configure_logging()

    def body() -> int:
        engine = stand_in.engine()
        if not stand_in.holds(engine, IMAGE):
            logger.info("%s does not hold %s: making a stand-in", engine, IMAGE)
            stand_in.make(engine, (IMAGE, GPU_IMAGE))
        return int(pytest.main(["-q", "-rs", *TESTS]))

    return command_line.run("test-container", body)


if __name__ == "__main__":
    sys.exit(main())
