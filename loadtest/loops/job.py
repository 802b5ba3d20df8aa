"""What the open loop's workers do: the settings of a run, as JSON for other processes."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtest.traffic import arrivals, workload
from tfs_client import Client
from tfs_client.flags import connection_arguments


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What all workers of a run do."""

    target: str
    model: str
    mix: workload.Mix
    plan: arrivals.Plan
    images: Path | None = None
    seed: int = 0
    timeout_s: float = 10.0
    in_flight: int = 256
    """At most so many requests at once, in each worker."""
    workers: int = 1
    known: Path | None = None
    """Right answers; see answers.read_known."""
    connection: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The values of tfs_client's connection flags."""

    def client(self) -> Client:
        """Opens a client without retries or circuit: what is measured is the server."""
        return open_client(self.target, self.timeout_s, self.connection, check_inputs=False)


def open_client(
    target: str, timeout_s: float, connection: Mapping[str, Any], *, check_inputs: bool = True
) -> Client:
    """Opens a client without retries or circuit.

    Raises:
        TfsError: an address, certificate or token that cannot be used.
    """
    arguments = connection_arguments(argparse.Namespace(**connection)) if connection else {}
    return Client(
        target,
        timeout_s=timeout_s,
        retry=None,
        breaker=None,
        check_inputs=check_inputs,
        **arguments,
    )


def plain(value: Any) -> Any:
    """As JSON holds it. Paths become absolute, because other processes run in other folders."""
    if isinstance(value, Path):
        return str(value.resolve())
    return {key: plain(one) for key, one in value.items()} if isinstance(value, dict) else value


def connection_from(content: Mapping[str, Any]) -> dict[str, Any]:
    """The connection flags that `plain` wrote."""
    files = ("tls_roots", "tls_certificate", "tls_key", "token_file")
    return {name: _path(it) if name in files else it for name, it in content.items()}


def job_to_json(job: Job) -> dict[str, Any]:
    """As JSON holds it."""
    content: dict[str, Any] = plain(dataclasses.asdict(job))
    return content


def job_from_json(content: Mapping[str, Any]) -> Job:
    """Reads what job_to_json wrote."""
    plan = content["plan"]
    return Job(
        **{
            **content,
            "mix": workload.Mix(**content["mix"]),
            "plan": arrivals.Plan(**{**plan, "trace": _path(plan["trace"])}),
            "images": _path(content["images"]),
            "known": _path(content["known"]),
            "connection": connection_from(content["connection"]),
        }
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
