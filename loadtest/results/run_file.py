"""What a run leaves for programs, and for comparison with other runs: one JSON file.

It holds histograms in HdrHistogram's own encoding, settings, machine, versions, the generator's
state, and the changes that were made meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from foundation.command_line import InputError
from foundation.figures import git_commit, machine, write_json
from loadtest.results.generator import Summary
from loadtest.results.recording import Recording

FORMAT: Final = "loadtest/2"

SOFTWARE: Final = ("tfs-client", "grpcio", "protobuf", "locust", "numpy", "hdrhistogram")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFile:
    """One run."""

    command: str
    """As it was typed."""
    started: str
    """ISO 8601, UTC."""
    loop: str
    """"open" or "closed"."""
    settings: Mapping[str, Any]
    """Name → value, of the settings that matter for this loop."""
    versions: Mapping[str, int]
    """Label → the version behind it at the start."""
    partial: tuple[str, ...]
    """Why it is not whole; empty if it is."""
    generator: Summary
    recording: Recording
    server: Mapping[str, Any] | None = None
    """The servers' view (server.view.ServerView.as_json); None where there is none."""
    events: tuple[Mapping[str, Any], ...] = ()
    """Changes made to the servers meanwhile, and what they cost (change.cost.Cost.as_json)."""
    commit: str | None = dataclasses.field(default_factory=git_commit)
    machine: Mapping[str, Any] = dataclasses.field(default_factory=machine)
    software: Mapping[str, str] = dataclasses.field(default_factory=lambda: _software())

    def write(self, path: Path) -> None:
        """Writes it aside, then renames it."""
        content = {name: getattr(self, name) for name in _names()}
        content["generator"] = dataclasses.asdict(self.generator)
        content["recording"] = self.recording.to_json()
        write_json(path, {"format": FORMAT, **content})


def read(path: Path) -> RunFile:
    """Reads what RunFile.write wrote.

    Args:
        path: the file, or a folder with a loadtest-recording.json.

    Raises:
        InputError: no such file, or it is something else.
    """
    if path.is_dir():
        path = path / "loadtest-recording.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format={content['format']!r}")
        fields = {name: content[name] for name in _names()}
        fields["partial"] = tuple(fields["partial"])
        fields["events"] = tuple(fields["events"])
        fields["generator"] = Summary(**fields["generator"])
        fields["recording"] = Recording.from_json(fields["recording"])
        return RunFile(**fields)
    except (OSError, KeyError, TypeError, ValueError, InputError) as error:
        raise InputError(
            f"Expected a run's loadtest-recording.json ({FORMAT}). Received: {path}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _names() -> list[str]:
    return [field.name for field in dataclasses.fields(RunFile)]


def _software() -> dict[str, str]:
    found = {}
    for name in SOFTWARE:
        with contextlib.suppress(metadata.PackageNotFoundError):  # the client, run in place
            found[name] = metadata.version(name)
    return found
