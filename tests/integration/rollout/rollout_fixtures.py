"""Somebody who leads the servers of model `line`, whose version N answers x / 2 + N."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from serving.fleet.config_file import ConfigFile
from serving.rollout import states
from serving.rollout.__main__ import main
from serving.rollout.journal import Change, Journal
from serving.rollout.states import State
from tests.integration.line_server import config

FLAGS = ("--allow_version_labels_for_unavailable_models=true", "--max_num_load_retries=0")
"""Without retries, a version that does not load is END at once, with its error."""

HEADER = "# The header stays.\n"


START = config(1, labels={"stable": 1})


class Server(Protocol):
    """A real server of `line` in a process of its own, or a light one in this process."""

    ports: dict[str, int]

    def reload(self, config: str) -> None:
        """Serves what the text of a models.config says."""

    def wait_loaded(self, *versions: int) -> None:
        """Waits until all of them are available."""

    def line(self, spec: str, values: tuple[float, ...]) -> list[float] | str:
        """The answer to a request of this spec, or the code of its refusal."""


class Operator:
    """Somebody with a models.config and the command line.

    Args:
        folder: for models.config.
        servers: whom it is for.
    """

    def __init__(self, folder: Path, servers: Sequence[Server]):
        self.config = folder / "models.config"
        if not self.config.exists():
            self.config.write_text(HEADER + START)
        self.servers = servers

    def arguments(self, verb: str, *flags: str) -> list[str]:
        """Of the command line."""
        found = verb.split()
        found += ["--config", str(self.config), "--model", "line", *flags]
        if found[0] == "canary" and "--force" not in flags:
            found += ["--force", "--why", "a test"]
        if found[0] != "history":
            for server in self.servers:
                found += ["--target", f"127.0.0.1:{server.ports['grpc']}"]
        if found[0] not in ("history", "status") and "--timeout-s" not in flags:
            found += ["--timeout-s", "30"]
        return found

    def __call__(self, verb: str, *flags: str) -> int:
        """Runs the command here; returns its exit code."""
        return main(self.arguments(verb, *flags))

    def state(self) -> State:
        """What the file says."""
        return states.read(ConfigFile(self.config).read(), "line")

    def history(self) -> list[Change]:
        """What was written down."""
        return Journal(ConfigFile(self.config)).history()[0]

    def pending(self) -> Change | None:
        """What a killed command left."""
        return Journal(ConfigFile(self.config)).pending()

    def check_legal(self) -> None:
        """The file can be read, keeps its header, and every label points at what is served."""
        assert self.config.read_text().startswith(HEADER)
        self.state()


def answering(server: Server, label: str) -> int | str:
    """The version that answers a label, or the code of the refusal."""
    found = server.line(f'version_label: "{label}"', (0.0,))
    return found if isinstance(found, str) else int(found[0])


def reset(servers: Sequence[Server]) -> None:
    """Back to version 1 alone."""
    for server in servers:
        server.reload(config(1))
        server.wait_loaded(1)
        server.reload(START)
