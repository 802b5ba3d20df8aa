"""Gets the metrics pages of model servers at regular moments while a load test runs."""

from __future__ import annotations

import dataclasses
import http.client
import math
import threading
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from foundation.command_line import InputError
from loadtest.server.pages import Page, parse

METRICS_PATH: Final = "/monitoring/prometheus/metrics"
"""As serving/monitoring.config has it, which is TensorFlow Serving's own default."""

LARGEST_PAGE: Final = 32 << 20
"""Bytes; a real page with many models is well below one million."""


def page_url(address: str) -> str:
    """The address of a server's page.

    Args:
        address: host:port of the REST port, or a whole URL; without a path, METRICS_PATH is added.

    Raises:
        InputError: the address is neither.
    """
    whole = "://" in address
    try:
        url = urlsplit(address if whole else f"http://{address}")
        valid = bool(url.scheme in ("http", "https") and url.hostname)
        valid = valid and url.port != 0 and (whole or url.port is not None)
    except ValueError:  # as for a port that is no number
        valid = False
    if not valid:
        raise InputError(
            "Expected host:port of a server's REST port, or the http:// address of its metrics "
            f"page. Received: {address!r}"
        )
    return url._replace(path=url.path if url.path not in ("", "/") else METRICS_PATH).geturl()


def fetch(url: str, timeout_s: float) -> Page:
    """Gets and reads a page.

    Raises:
        InputError: the address has no page, or another one than TensorFlow Serving's.
        OSError: no answer (in time).
        http.client.HTTPException: the answer is not HTTP.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target)
        answer = connection.getresponse()
        text = answer.read(LARGEST_PAGE).decode("utf-8", "replace")
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise InputError(
            f"Expected a metrics page at {url}. Received: HTTP {answer.status}. Start the server "
            "with --monitoring_config_file"
        )
    return parse(text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scrape:
    """One attempt to get a page."""

    url: str
    tick: int
    """The number of the regular moment that it belongs to; the same for all servers."""
    at_s: float
    """Unix time, halfway between question and answer."""
    page: Page | None
    error: str = ""
    """Why there is no page, in one line."""


class Scraper:
    """Gets the pages of all servers at regular moments, in threads, until it is stopped.

        with Scraper(["localhost:8501"]) as scraper:
            ...  # the load
        view = view.view(scraper.scrapes(), ...)

    Whatever a server does, nothing is raised: a failure is a Scrape without a page. Each address
    must be one process (a pod); behind a load balancer, each page could come from another one.

    Args:
        addresses: as `page_url` takes them; the same one twice counts once.
        interval_s: between the moments. A server that takes longer misses some of them.
        timeout_s: how long a server is waited for.

    Raises:
        InputError: an address that `page_url` refuses.
    """

    def __init__(
        self, addresses: Iterable[str], *, interval_s: float = 1.0, timeout_s: float = 2.0
    ) -> None:
        self.urls: Final = tuple(dict.fromkeys(page_url(address) for address in addresses))
        self._interval_s, self._timeout_s = interval_s, timeout_s
        self._lock = threading.Lock()
        self._scrapes: list[Scrape] = []
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Scraper:
        """Gets the first pages before it returns, so that everything after is counted."""
        begun = [threading.Event() for _ in self.urls]
        start = time.monotonic()
        for url, first in zip(self.urls, begun):
            thread = threading.Thread(
                target=self._watch, args=(url, start, first), name=f"scrape {url}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        for first in begun:
            first.wait(2 * self._timeout_s)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gets the last pages and ends the threads."""
        self._ending.set()
        deadline = time.monotonic() + 3 * self._timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def scrapes(self) -> Sequence[Scrape]:
        """All scrapes so far, in no particular order."""
        with self._lock:
            return tuple(self._scrapes)

    def _watch(self, url: str, start: float, first: threading.Event) -> None:
        tick = 0
        self._scrape(url, tick)
        first.set()
        while True:
            passed = (time.monotonic() - start) / self._interval_s
            tick = max(tick + 1, math.ceil(passed))
            ended = self._ending.wait(start + tick * self._interval_s - time.monotonic())
            self._scrape(url, tick)
            if ended:
                return

    def _scrape(self, url: str, tick: int) -> None:
        page, error, asked_s = None, "", time.time()
        try:
            page = fetch(url, self._timeout_s)
        except Exception as caught:  # the run goes on whatever a server answers
            error = " ".join((str(caught) or type(caught).__name__).split())[:300]
        at_s = (asked_s + time.time()) / 2
        scrape = Scrape(url=url, tick=tick, at_s=at_s, page=page, error=error)
        with self._lock:
            self._scrapes.append(scrape)
