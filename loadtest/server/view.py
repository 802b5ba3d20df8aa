"""The server's view of a load test: from scraped pages to figures, for the run and over time.

    with scraper.Scraper(["localhost:8501"]) as scraper:
        ...  # the load
    seen = view.view(scraper.scrapes(), Selection(model="defects"), times)
    print(seen.as_text())

`split` says what the parts of a latency are, and what each metric covers. Nothing is raised for
what a server did: a missing page, another program's page, or a process that died and came back make
the view partial, with a note. A second's split compares the answers that the server counted in it
with those that arrived in it. These differ at its edges, so seconds with few answers are rough;
trust the split of the whole run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtest.server.measured import Distribution, Measured, Selection, measured
from loadtest.server.pages import Page
from loadtest.server.scraper import Scrape
from loadtest.server.split import Split, doubts, split

SHORTEST: Final = 0.25
"""Windows shorter than this share of the usual one are left out: their rates would be noise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientTimes:
    """The callers' right answers."""

    ended_s: NDArray[np.float64]
    """Unix times [N] at which the answers arrived: the server counts at the end of a request."""
    latency_ms: NDArray[np.float64]
    """[N]"""
    late_ms: NDArray[np.float64] | None = None
    """[N], the part of the latency between the intended start and the sending."""

    def means(self, start_s: float, end_s: float) -> tuple[float | None, float | None]:
        """Mean latency and lateness of the requests that ended in between; None of none."""
        inside = (self.ended_s >= start_s) & (self.ended_s < end_s)
        if not inside.any():
            return None, None
        late = None if self.late_ms is None else float(self.late_ms[inside].mean())
        return float(self.latency_ms[inside].mean()), late


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """What happened between two scrapes."""

    start_s: float
    """Unix time."""
    end_s: float
    servers: int
    """How many servers' pages it is made from."""
    measured: Measured
    split: Split | None
    """None where no request was answered, or where the callers had no right answer."""

    def rate_per_s(self) -> float:
        """Answers a second."""
        seconds = self.end_s - self.start_s
        return self.measured.request.count / seconds if seconds > 0 else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerView:
    """What the servers say of a run."""

    urls: tuple[str, ...]
    whole: Window | None
    """From the first page to the last; None where there are not two of any server."""
    seconds: tuple[Window, ...]
    """Between pages that follow each other; a gap where one is missing."""
    partial: bool
    """Whether pages are missing."""
    restarts: int
    """How often a server's counters began again at 0."""
    notes: tuple[str, ...]
    """What is missing or may mislead, a sentence each."""

    def as_json(self) -> dict[str, Any]:
        """For a JSON file: infinite limits of buckets are None."""
        found: dict[str, Any] = _plain(dataclasses.asdict(self))
        return found

    def as_text(self) -> str:
        """A small table."""
        lines = [f"Server's view of {len(self.urls)} server{'s' * (len(self.urls) != 1)}"]
        if self.partial:
            lines[0] += ", partial"
        if self.whole is not None:
            lines += _window_lines(self.whole)
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])


def view(
    scrapes: Sequence[Scrape], selection: Selection, client: ClientTimes | None = None
) -> ServerView:
    """Makes the view.

    Args:
        scrapes: of all servers, in any order.
        selection: which of their requests are meant.
        client: the callers' measurements; without them, the server's own latency is split.
    """
    by_url: dict[str, list[Scrape]] = {}
    for scrape in sorted(scrapes, key=lambda scrape: scrape.tick):
        by_url.setdefault(scrape.url, []).append(scrape)
    servers = {url: _Server(rows) for url, rows in by_url.items()}
    notes = [note for url, server in servers.items() for note in server.notes(url)]
    partial = bool(notes) or not servers
    if not servers:
        notes.append("no server was scraped")
    counted = [server for server in servers.values() if server.total is not None]
    whole = None
    if counted:
        whole = _window([server.span() for server in counted], selection, client, whole=True)
        notes += doubts(whole.measured, whole.split)
        notes += _compared(whole, client)
    steps: dict[int, list[_Span]] = {}
    for server in counted:
        for tick, span in server.steps.items():
            steps.setdefault(tick, []).append(span)
    # All seconds have the parts that the whole run has.
    apart = whole.split.apart if whole is not None and whole.split is not None else None
    seconds = [_window(spans, selection, client, apart=apart) for _, spans in sorted(steps.items())]
    lengths = [window.end_s - window.start_s for window in seconds]
    shortest = SHORTEST * float(np.median(lengths)) if lengths else 0.0
    return ServerView(
        urls=tuple(by_url),
        whole=whole,
        seconds=tuple(w for w, length in zip(seconds, lengths) if length >= shortest),
        partial=partial,
        restarts=sum(server.restarts for server in servers.values()),
        notes=tuple(notes),
    )


@dataclasses.dataclass(frozen=True)
class _Span:
    start_s: float
    end_s: float
    grown: Page


class _Server:
    """The pages of one server, subtracted."""

    def __init__(self, scrapes: Sequence[Scrape]) -> None:
        self._scrapes = scrapes
        self._pages = [(row, row.page) for row in scrapes if row.page is not None]
        self.restarts = 0
        self.steps: dict[int, _Span] = {}
        self.total: Page | None = None
        if len(self._pages) < 2:
            return
        total, base, last = Page(), self._pages[0][1], self._pages[0]
        for row, page in self._pages[1:]:
            before, earlier = last
            gap = row.tick - before.tick > 1
            if page.restarted_since(earlier, gap=gap):
                # The process that ended is counted up to its last page, the new one from 0.
                self.restarts += 1
                total, base, earlier = total.plus(earlier.since(base)), Page(), Page()
            if not gap:
                self.steps[row.tick] = _Span(before.at_s, row.at_s, page.since(earlier))
            last = (row, page)
        self.total = total.plus(last[1].since(base))

    def span(self) -> _Span:
        assert self.total is not None, "two pages"
        return _Span(self._pages[0][0].at_s, self._pages[-1][0].at_s, self.total)

    def notes(self, url: str) -> list[str]:
        failed = [row for row in self._scrapes if row.page is None]
        found = []
        if failed:
            missing, tried = len(failed), len(self._scrapes)
            found.append(
                f"{url}: {missing} of {tried} scrapes failed; the last: {failed[-1].error}"
            )
            if self.total is not None and self._scrapes[0].page is None:
                found.append(f"{url}: what it counted before its first page is not known")
        elif self.total is None:
            found.append(f"{url}: one page only, so nothing to subtract")
        if self.restarts:
            found.append(
                f"{url}: started anew {self.restarts} x; what it counted between the last page and "
                "its end is lost"
            )
        return found


def _window(
    spans: Sequence[_Span],
    selection: Selection,
    client: ClientTimes | None,
    *,
    whole: bool = False,
    apart: bool | None = None,
) -> Window:
    start_s, end_s = min(s.start_s for s in spans), max(s.end_s for s in spans)
    grown = Page()
    for span in spans:
        grown = grown.plus(span.grown)
    seen = measured(grown, selection)
    parts: Split | None = None
    if client is None:
        parts = split(seen, apart=apart)
    else:
        # Answers that were under way at the last page belong to the run all the same.
        edges = (-math.inf, math.inf) if whole else (start_s, end_s)
        client_ms, late_ms = client.means(*edges)
        if client_ms is not None:
            parts = split(seen, client_ms=client_ms, late_ms=late_ms, apart=apart)
    return Window(start_s=start_s, end_s=end_s, servers=len(spans), measured=seen, split=parts)


def _compared(whole: Window, client: ClientTimes | None) -> list[str]:
    if client is None:
        return []
    sent, counted = len(client.latency_ms), whole.measured.request.count
    if math.isclose(sent, counted, rel_tol=0.01):
        return []
    return [
        f"the callers have {sent} right answers, the servers counted {counted}: other callers, or "
        "servers that were not seen all the time"
    ]


def _plain(value: Any) -> Any:
    """The same, with None for the infinities and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _window_lines(window: Window) -> list[str]:
    seen, seconds = window.measured, window.end_s - window.start_s
    lines = []
    if window.split is not None:
        lines.append(f"{'part of the mean':<18}{'ms':>10}{'+-':>9}{'share':>8}")
        for part in window.split.parts:
            numbers = f"{part.mean_ms:>10.3f}{part.error_ms:>9.3f}{part.share:>8.1%}"
            lines.append(f"{part.name:<18}{numbers}")
        lines.append(f"{window.split.of + chr(39) + 's mean':<18}{window.split.whole_ms:>10.3f}")
    lines.append(f"{'metric':<18}{'count':>10}{'1/s':>9}{'mean':>9}  p50, p95, p99 (bucket)")
    for name, unit, found in (
        ("request_latency", "ms", seen.request),
        ("runtime_latency", "ms", seen.runtime),
        ("queuing_latency", "ms", seen.queuing),
        ("batch size", "rows", seen.batch),
    ):
        if found.mean is not None:
            rate = found.count / seconds if seconds > 0 else 0.0
            numbers = f"{found.count:>10}{rate:>9.1f}{found.mean:>9.3f}"
            lines.append(f"{name:<18}{numbers}  {_percentiles(found)} {unit}")
    if seen.batch_sizes:
        sizes = ", ".join(f"{count} x {rows}" for rows, count in seen.batch_sizes)
        padding = seen.padding_rows / seen.rows if seen.rows else 0.0
        lines.append(f"batches x rows: {sizes}; {padding:.1%} of the rows are padding")
    statuses = ", ".join(f"{status} {count}" for status, count in seen.by_status)
    lines.append(f"status: {statuses or 'no request'}")
    lines.append("Means add up; percentiles do not, and are known to the width of a bucket.")
    return lines


def _percentiles(found: Distribution) -> str:
    shown = (
        f"{p.value:.3g}" if p.low == p.high else f"{p.value:.3g} ({p.low:.3g} to {p.high:.3g})"
        for p in found.percentiles
    )
    return ", ".join(shown) or "no buckets"
