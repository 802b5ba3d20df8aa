"""Walks the container road: builds the images, runs them hardened, brings up the stack, ends it.

    python -m tests.container                 `make test-container`; minutes for the first time

Needs a container engine that answers (DOCKER_HOST is respected), and docker compose. Where the
engine does not hold what is pulled in other places (Python, TensorFlow Serving, Prometheus), a
stand-in is made under the same tag: Debian by debootstrap (root), with the local server as
tensorflow_model_server. Dockerfiles, compose file and `make serve` are then tested as they are.
The stand-ins stay in the engine; remove them with `docker rmi` before you pull the real images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pytest

from foundation import command_line
from tests.container import stand_in

TESTS = (
    "tests/integration/deployment/test_container_python.py",
    "tests/integration/deployment/test_container.py",
    "tests/integration/deployment/test_container_stack.py",
    "tests/integration/deployment/test_serve.py",
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; pytest's exit code."""
    parser = command_line.Parser(
        prog="python -m tests.container",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)
    command_line.configure_logging()

    def body() -> int:
        stand_in.make_all(stand_in.engine())
        return int(pytest.main(["-q", "-rs", "--durations=10", *TESTS]))

    return command_line.run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
