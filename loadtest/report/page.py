"""A load test as one self-contained HTML page."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any, Final

from foundation.pages import page
from loadtest.change.cost import SOON_S, Cost
from loadtest.report import plots
from loadtest.results import generator, samples
from loadtest.results.recording import SENT
from loadtest.results.summary import Summary
from loadtest.results.taken import Taken
from loadtest.server.figure import figure as server_figure
from loadtest.server.split import MEANINGS
from loadtest.server.view import ServerView
from loadtest.traffic.arrivals import Piece
from loadtest.verdicts.objectives import Verdict

TEMPLATE: Final = Path(__file__).with_name("page.html")

SHARES: Final = (50, 90, 95, 99, 99.9, 99.99, 100)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What a page shows."""

    taken: Taken
    """What the run measured; a partial one is marked as such."""
    summary: Summary
    settings: dict[str, Any]
    """Name -> value, shown as they are."""
    how: str
    """Which loop it was, in one line."""
    state: generator.Summary
    """How the generator did."""
    pieces: tuple[Piece, ...] = ()
    """The rates of an open loop's shape, in order of time."""
    verdict: Verdict | None = None
    """The gate's."""
    changes: tuple[Cost, ...] = ()
    """Changes that were made to the servers meanwhile."""
    server: ServerView | None = None
    command: str | None = None
    """As it was typed."""
    started: datetime.datetime | None = None


def write(path: Path, report: Report) -> None:
    """Writes the page."""
    taken, held = report.taken, report.taken.recording
    found: tuple[plots.Stair, ...] = ()
    if len(report.pieces) > 1 and taken.samples:
        found = plots.stairs(report.pieces, taken.samples, held.begin_s)
    late = any(one.late for one in taken.states)
    seen = report.server
    page.write(
        path,
        TEMPLATE,
        origin=page.origin(report.command, report.started),
        summary=report.summary,
        settings=report.settings,
        how=report.how,
        partial=taken.partial,
        verdict=report.verdict,
        state=report.state,
        cpu_limit=generator.CPU_LIMIT,
        changes=report.changes,
        soon_s=SOON_S,
        stairs=found,
        intended=held.percentiles(SHARES),
        sent=held.percentiles(SHARES, since=SENT) if late else [],
        over_time=page.drawn(
            "Latency percentiles and requests over time", plots.over_time, held, report.changes
        )
        if taken.samples
        else "",
        throughput=page.drawn("Latency against throughput", plots.throughput, found)
        if any(s.p50_ms for s in found)
        else "",
        histogram=page.drawn("Histogram of the latencies", plots.histogram, held)
        if held.counts().get(samples.OK)
        else "",
        server=seen,
        meanings=MEANINGS,
        server_figure=page.drawn(
            "Parts of the mean latency over time, and sizes of batches", server_figure, seen
        )
        if seen is not None and seen.seconds
        else "",
    )
