"""One look at everything: the file, the servers, the history, and the traffic if asked for."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from serving.fleet.fleet import Fleet, Seen
from serving.rollout import states
from serving.rollout.journal import Change, Journal
from serving.rollout.states import State
from serving.rollout.status import past, traffic
from serving.rollout.status.past import Past
from serving.rollout.status.prometheus import Prometheus, PrometheusError
from serving.rollout.status.traffic import Traffic
from serving.rollout.where import Where


@dataclass(frozen=True, kw_only=True)
class Status:
    """The file and the servers, side by side."""

    time: str = ""
    """When it was seen, UTC."""
    model: str
    place: str
    """Where models.config lies, as people call it."""
    state: State
    servers: tuple[Seen, ...]
    pending: Change | None
    operator: str | None
    """Who is at work now, in words."""
    past: Past = field(default_factory=Past)
    cluster: str = ""
    """The cluster in words; empty where there is none."""
    cluster_instead: str = ""
    """Asks whether a cluster was meant; empty unless no server answers."""
    traffic: Traffic | None = None
    """None where it was not asked for."""

    @property
    def answering(self) -> int:
        """How many servers answer."""
        return sum(not seen.error for seen in self.servers)

    @property
    def agrees(self) -> bool:
        """Whether there are servers, and every one serves what the file says."""
        return bool(self.servers) and not any(
            disagreements(self.state, seen) for seen in self.servers
        )


def look(where: Where, fleet: Fleet, *, prometheus: str = "", window_s: int = 0) -> Status:
    """Looks once.

    Args:
        where: which models.config and servers.
        fleet: the servers.
        prometheus: the address of the one to ask about the traffic; empty for none.
        window_s: seconds of traffic to look back.

    Raises:
        InputError: models.config cannot be read, or not as a rollout needs it.
    """
    state = states.read(where.place.read(), where.model)
    seen = tuple(fleet.look(state.labels))
    journal = Journal(where.place)
    pending = journal.pending()
    changes, unreadable = journal.history()
    ours = [change for change in changes if change.model == where.model]
    answering = any(not one.error for one in seen)
    now = datetime.datetime.now(datetime.timezone.utc)
    return Status(
        time=now.isoformat(timespec="seconds"),
        model=where.model,
        place=where.place.name,
        state=state,
        servers=seen,
        pending=pending,
        operator=where.place.operator(),
        past=past.read(ours, state, now.timestamp(), unreadable=unreadable),
        cluster=where.cluster(),
        cluster_instead="" if answering else where.cluster_instead("status"),
        traffic=_traffic(where, state, prometheus, window_s) if prometheus else None,
    )


def _traffic(where: Where, state: State, url: str, window_s: int) -> Traffic:
    """What Prometheus says, or why it does not: the servers are shown in any case."""
    asked = Prometheus(url)
    try:
        return traffic.look(
            asked, model=where.model, namespace=where.namespace, state=state, window_s=window_s
        )
    except PrometheusError as error:
        return Traffic(prometheus=asked.url, window_s=window_s, error=str(error))


def disagreements(state: State, seen: Seen) -> list[str]:
    """Where a server differs from the file, in words."""
    if seen.error:
        return [seen.error]
    found = {row.version: row for row in seen.versions}
    said = []
    for version in state.versions:
        row = found.get(version)
        if row is None or not row.available:
            told = "unknown" if row is None else f"{row.state} {row.error}".strip()
            said.append(f"version {version} is {told}")
    for version, row in found.items():
        if row.available and version not in state.versions:
            said.append(f"version {version} is loaded, and not in the file")
    for label, version in state.labels.items():
        if seen.labels.get(label) != version:
            answered = seen.labels.get(label)
            said.append(f"{label} → {answered or 'no answer'}, and {version} in the file")
    return said
