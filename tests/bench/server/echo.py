"""A bare gRPC server that answers bytes with bytes: what Python's gRPC costs by itself.

    python -m tests.bench.server.echo

Prints its port. A call to /Echo/<n> is answered with n bytes. It has as many threads as the local
server that it is measured beside.
"""

from __future__ import annotations

import sys

from tests.bench import bare_server

THREADS = 128


def main() -> int:
    """Serves until it is killed."""
    bare_server.start(_echo, THREADS).wait_for_termination()
    return 0


def _echo(path: str) -> bare_server.Behaviour:
    answer = bytes(int(path.rpartition("/")[2]))
    return lambda request, context: answer


if __name__ == "__main__":
    sys.exit(main())
