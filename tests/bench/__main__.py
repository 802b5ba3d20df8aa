"""Runs one of the project's benchmarks.

    python -m tests.bench client               the client beside a bare gRPC stub and other clients
    python -m tests.bench loadtest             the load test beside known latencies
    python -m tests.bench rollout              what a rollout costs callers, and the A/B verdict
    python -m tests.bench server               the local server beside its limits and its rivals
    python -m tests.bench client --help        the parts of one, and its flags

Each writes build/bench-<name>.json, build/bench-<name>.html and its raw samples beside them. Exit
code 1 if a bar does not hold.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from foundation import command_line

BENCHMARKS = ("client", "loadtest", "rollout", "server")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; prints the paths of the figures and the page on stdout."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = command_line.Parser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("benchmark", choices=BENCHMARKS, help="which; its flags follow")
    name = parser.parse_args(arguments[:1]).benchmark
    # Only the chosen one is imported: what others import would be part of what is measured.
    module = importlib.import_module(f"tests.bench.{name}.benchmark")
    code: int = module.BENCHMARK.main(arguments[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())
