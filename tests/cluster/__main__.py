"""Runs the tests that need a real cluster: k8s/ and the rollout's verbs -> build/cluster.json.

    python -m tests.cluster                `make test-cluster`; 25 minutes, and more the first time
    python -m tests.cluster --no-pods      the API server alone: three minutes

Builds Kubernetes from its Go module and brings up a node with containerd and a kubelet
(tests/cluster/cluster.py says what is real, and what is missing). Needs root on Linux, Go, and a
container engine for the server image. Exit code 0: all passed, and nothing was skipped; 2: it could
not be run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final

import pytest

from foundation import command_line
from foundation.command_line import InputError

CONTROL_PLANE: Final = ("tests/cluster/check_place.py", "tests/cluster/check_certificates.py")

PODS: Final = (
    "tests/cluster/check_cluster.py",
    "tests/cluster/check_local.py",
    "tests/cluster/check_loadtest.py",
    "tests/cluster/check_rollouts.py",
)


class _Skips:
    """Records what was skipped: here a skipped test is a failure."""

    def __init__(self) -> None:
        self.reasons: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.skipped:
            self.reasons[str(report.longrepr[-1]).removeprefix("Skipped: ")] = None


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = command_line.Parser(
        prog="python -m tests.cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--no-pods", action="store_true", help="only what needs no node")
    arguments = parser.parse_args(argv)
    command_line.configure_logging()

    def body() -> int:
        skips = _Skips()
        files = CONTROL_PLANE if arguments.no_pods else (*CONTROL_PLANE, *PODS)
        code = int(pytest.main(["-v", "--durations=10", *files], plugins=[skips]))
        if skips.reasons:
            raise InputError("; ".join(skips.reasons))
        return code

    return command_line.run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
