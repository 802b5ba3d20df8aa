"""Brings a real Kubernetes cluster of one node up, here, until Ctrl-C.

    python -m tests.cluster.up               ten seconds; six minutes more the first time

Needs root on Linux, Go, and Debian's packages or a mirror of them. Prints how to use the cluster on
stdout. Leaves nothing behind but build/cluster/ (programs and logs). Exit code 2: it did not come
up.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from foundation import command_line
from foundation.command_line import InputError
from tests.cluster.cluster import Cluster
from tests.cluster.processes import ClusterError
from tests.environments import UnavailableError

logger = logging.getLogger("tests.cluster")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns after Ctrl-C or SIGTERM."""
    parser = command_line.Parser(
        prog="python -m tests.cluster.up",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--dns-ttl-s",
        type=int,
        default=30,
        help="how old an answer of the name server can be, in seconds (%(default)s)",
    )
    args = parser.parse_args(argv)
    command_line.configure_logging()
    return command_line.run(parser.prog, lambda: _up(args.dns_ttl_s))


def _up(dns_ttl_s: int) -> int:
    # As Ctrl-C, so that everything is taken down.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Cluster(dns_ttl_s=dns_ttl_s) as cluster:
            print(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
            print(f"alias kubectl={shlex.quote(cluster.environment['PATH'].split(':')[0])}/kubectl")
            print(f"# gRPC: {cluster.dns}/{cluster.name_of('SERVICE', 'NAMESPACE')}:PORT")
            sys.stdout.flush()
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                logger.info("taking it down")
    except (ClusterError, UnavailableError) as error:
        raise InputError(str(error)) from error
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
