"""The servers that a change is for: each one is told, watched and asked by itself.

Servers may come and go meanwhile; how they are found is behind the protocol Members.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import grpc

from serving.fleet import probe
from tfs_client import Tls
from tfs_client.answers import VersionStatus
from tfs_client.client import Client
from tfs_client.errors import (
    CallError,
    DeadlineExceededError,
    NotFoundError,
    TfsError,
    UnavailableError,
)

_log = logging.getLogger("serving.rollout")

CALL_TIMEOUT_S: Final = 5.0
"""Timeout of each call to a server, in seconds."""

POLL_S: Final = 0.05

DOWN_S: Final = 5.0
"""Seconds without an answer after which a server is down. A restart takes longer."""

FAILED_S: Final = 1.0
"""Seconds after which a version that is END with an error has failed to load; before that, the
error may be the one of an earlier attempt."""

RETRYING_S: Final = 10.0
"""Seconds after which a version that is LOADING may have failed: a server says so only after its
retries, which are a minute apart."""

_TAKES_NO_RELOAD: Final = (
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
)
"""How a proxy in front of a server refuses reloads: operators have to use the file."""

NONE: Final = "no server"
"""Stands for the server's name in what is wrong with a fleet that has none."""

_CALLERS: Final = 32
"""The most servers that are asked at the same time."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Member:
    """One server of a fleet."""

    name: str
    """Its name in messages."""
    target: str
    """host:port."""
    host: str = ""
    """The name in its certificate; empty where that is the target's own."""


class Members(Protocol):
    """How the servers of a fleet are found."""

    def now(self) -> Sequence[Member]:
        """The servers that are up, or should be."""

    def absent(self) -> Mapping[str, str]:
        """Name to reason of the servers that have not started; they read the file when they do."""

    def hasten(self) -> None:
        """Called when the file has changed: brings it to the servers sooner, where it can."""

    def close(self) -> None:
        """Closes what was opened to reach them."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What has to be seen at every server."""

    labels: Mapping[str, int] = field(default_factory=dict)
    """Label to the version that has to answer for it."""
    loaded: Sequence[int] = ()
    gone: Sequence[int] = ()


@dataclass(frozen=True)
class Problem:
    """Why a server is not where it should be."""

    text: str
    final: bool = False
    """Whether waiting does not help."""
    silent: bool = False
    """Whether it did not answer at all."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one server serves."""

    address: str
    """The server's name in messages."""
    versions: tuple[VersionStatus, ...] = ()
    labels: Mapping[str, int | None] = field(default_factory=dict)
    """The version that each label stands for; None where it does not answer."""
    error: str = ""


class Server:
    """One member of the fleet. Close it.

    Args:
        member: the server.
        model: the servable.
        connection: arguments of Client.
    """

    def __init__(self, member: Member, model: str, connection: Mapping[str, Any]):
        self.member = member
        self.address = member.name
        self._model = model
        tls = _named(connection.get("tls"), member.host)
        arguments = {**connection, "tls": tls, "retry": None, "breaker": None}
        self._client = Client(member.target, timeout_s=CALL_TIMEOUT_S, **arguments)
        self._began = time.monotonic()
        self._silent_since: float | None = None
        self._failed_since: dict[int, float] = {}

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()

    def begin(self) -> None:
        """Forgets what was seen before a change."""
        self._began = time.monotonic()
        self._silent_since = None
        self._failed_since.clear()

    def reload(self, config: str) -> None:
        """Sends a configuration; raises what the client raises."""
        self._client.reload(config, timeout_s=2 * CALL_TIMEOUT_S)

    def unknown(self, models: Iterable[str]) -> list[str]:
        """Those of the models of which it knows no version, as far as it says so."""
        found = []
        for model in models:
            try:
                self._client.status(model=model)
            except NotFoundError:  # noqa: PERF203 each model by itself
                found.append(model)
            except TfsError:
                continue  # it is down, and is told as such elsewhere
        return found

    def look(self, labels: Iterable[str]) -> Seen:
        """What it serves now."""
        try:
            versions = self._client.status(model=self._model)
        except TfsError as error:
            return Seen(address=self.address, error=f"does not answer: {_short(error)}")
        found: dict[str, int | None] = {}
        for label in labels:
            try:
                found[label] = self._client.metadata(model=self._model, label=label).version
            except TfsError:  # noqa: PERF203 each label by itself
                found[label] = None
        return Seen(address=self.address, versions=versions, labels=found)

    def problems(self, wanted: Wanted) -> list[Problem]:
        """What is not (yet) as wanted; empty if all is, which real predictions have shown."""
        now = time.monotonic()
        try:
            rows = {row.version: row for row in self._client.status(model=self._model)}
            self._silent_since = None
            problems = self._of_versions(wanted, rows, now)
            for label, version in wanted.labels.items():
                if text := probe.problem(self._client, self._model, label, version):
                    problems.append(Problem(text))
        except (UnavailableError, DeadlineExceededError) as error:
            self._silent_since = now if self._silent_since is None else self._silent_since
            silent_s = now - self._silent_since
            text = f"does not answer ({_short(error)})"
            return [Problem(text, final=silent_s >= DOWN_S, silent=True)]
        except TfsError as error:
            return [Problem(_short(error))]
        return problems

    def _of_versions(
        self, wanted: Wanted, rows: Mapping[int, VersionStatus], now: float
    ) -> list[Problem]:
        problems = []
        for version in wanted.loaded:
            row = rows.get(version)
            if row is not None and row.available:
                self._failed_since.pop(version, None)
                continue
            if row is None or row.state != "END" or not row.error:
                self._failed_since.pop(version, None)
                state = (
                    "unknown to it (its file not read yet, or no such folder there)"
                    if row is None
                    else row.state
                )
                told = f": {row.error}" if row is not None and row.error else ""
                if row is not None and now - self._began > RETRYING_S:
                    told = (
                        told or f" for {now - self._began:.0f} s (its log says if it tries again)"
                    )
                problems.append(Problem(f"version {version} is {state}{told}"))
                continue
            failed_s = now - self._failed_since.setdefault(version, now)
            text = f"version {version} did not load: {row.error}"
            problems.append(Problem(text, final=failed_s >= FAILED_S))
        for version in wanted.gone:
            row = rows.get(version)
            if row is not None and row.state != "END":
                problems.append(Problem(f"version {version} is still {row.state}"))
        return problems


class Fleet:
    """All servers that a change is for. Use it in a `with` block.

    Args:
        members: finds them; closed with the fleet.
        model: the servable.
        connection: further arguments of Client.
    """

    def __init__(self, members: Members, model: str, connection: Mapping[str, Any]):
        self._members = members
        self._model = model
        self._connection = connection
        self._servers: dict[str, Server] = {}
        self._pool = ThreadPoolExecutor(_CALLERS, thread_name_prefix="server")
        self.by_file: set[str] = set()
        """Addresses that take no reload by RPC."""

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.close()
        self._pool.shutdown()
        self._members.close()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Names of all servers as of now."""
        return tuple(self._refreshed())

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the servers that were asked so far; looks for no others, which can take long."""
        return tuple(self._servers)

    def hasten(self) -> None:
        """Tells the members that the file has changed."""
        self._members.hasten()

    def look(self, labels: Iterable[str]) -> list[Seen]:
        """What each serves now; those that have not started yet come last."""
        labels = tuple(labels)
        absent = [
            Seen(address=name, error=f"not up: {why}")
            for name, why in self._members.absent().items()
        ]
        return [*self._each(lambda server: server.look(labels)).values(), *absent]

    def unknown(self, models: Iterable[str]) -> dict[str, list[str]]:
        """Which models are new to some servers.

        A server that is told of one waits without limit for its first version, and takes no other
        configuration until then.

        Returns:
            By model the names of the servers that know no version of it.
        """
        models = tuple(models)
        found = self._each(lambda server: server.unknown(models)) if models else {}
        by_model = {model: [name for name in found if model in found[name]] for model in models}
        return {model: names for model, names in by_model.items() if names}

    def reload(self, config: str, models: Iterable[str] = ()) -> dict[str, Problem]:
        """Sends the configuration to all servers at once; returns why some did not take it.

        A server that takes no such call is added to by_file and is no problem: it reads the file.

        Args:
            config: text of a models.config.
            models: the names of its models, to tell what a server waits for.
        """
        models = tuple(models)

        def send(server: Server) -> Problem | None:
            try:
                server.reload(config)
            except DeadlineExceededError as error:
                waits = " and ".join(server.unknown(models))
                text = f"has not taken the configuration: {_short(error)}"
                if waits:
                    text = (
                        f"waits for the first version of {waits}, without limit, and takes no "
                        "other configuration until one is there, or it is started again"
                    )
                return Problem(text, final=True)
            except CallError as error:
                if error.code in _TAKES_NO_RELOAD:
                    self.by_file.add(server.address)
                    return None
                if error.code is grpc.StatusCode.UNAVAILABLE:
                    text = f"does not answer ({_short(error)})"
                    return Problem(text, final=True, silent=True)
                return Problem(f"refused the configuration: {_short(error)}", final=True)
            return None

        return {name: problem for name, problem in self._each(send).items() if problem is not None}

    def wait(
        self,
        wanted: Wanted,
        timeout_s: float,
        *,
        patient: bool = False,
        told: Callable[[str], None] = _log.info,
    ) -> dict[str, list[Problem]]:
        """Watches every server until it is as wanted.

        Args:
            wanted: what has to be seen.
            timeout_s: how long to wait at most.
            patient: go on waiting for the others where one server cannot get there any more.
            told: called with what each server is waited for, each text once.

        Returns:
            By address what is still wrong; empty if nothing is.
        """
        end = time.monotonic() + timeout_s
        for server in self._servers.values():
            server.begin()
        said: set[tuple[str, str]] = set()

        def say(name: str, text: str) -> None:
            if (name, text) not in said:
                said.add((name, text))
                told(f"{name}: {text}")

        while True:
            found = self._each(lambda server: server.problems(wanted))
            absent = self._members.absent()
            wrong = {name: problems for name, problems in found.items() if problems}
            if not found:
                why = "; ".join(f"{name} is not up: {why}" for name, why in absent.items())
                none = Problem(why or "none is running", final=True, silent=True)
                wrong = {NONE: [none]}
            final = [any(one.final for one in problems) for problems in wrong.values()]
            if all(final) or (any(final) and not patient) or time.monotonic() >= end:
                return wrong
            for name, why in absent.items():
                say(name, f"not up: {why}")
            for name, problems in wrong.items():
                say(name, problems[0].text)
            time.sleep(POLL_S)

    def _refreshed(self) -> Mapping[str, Server]:
        """The servers as of now: closes those that have gone, opens those that have come."""
        members = {member.name: member for member in self._members.now()}
        for name, server in list(self._servers.items()):
            if members.get(name) != server.member:
                self._servers.pop(name).close()
        for name, member in members.items():
            if name not in self._servers:
                self._servers[name] = Server(member, self._model, self._connection)
        return self._servers

    def _each(self, ask: Callable[[Server], Answer]) -> dict[str, Answer]:
        servers = self._refreshed()
        return dict(zip(servers, self._pool.map(ask, servers.values())))


def _named(tls: bool | Tls | None, host: str) -> bool | Tls:
    """TLS with the name in the server's certificate, unless another one was given."""
    if not tls or not host:
        return tls or False
    tls = Tls() if tls is True else tls
    return tls if tls.server_name else dataclasses.replace(tls, server_name=host)


def _short(error: TfsError) -> str:
    """The server's own words where there are any."""
    if isinstance(error, CallError) and error.details:
        return f"{error.code.name} {error.details}"
    return str(error)
