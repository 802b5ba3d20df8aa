"""Watches the servers of one load test: finds their pages, and scrapes them until the load ends.

    with watch.watching(addresses, target) as servers:
        ...  # the load
    seen = servers.view(Selection(model="defects"), taken.samples)

Addresses that were given must answer; otherwise the usual port is tried.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from foundation.command_line import InputError
from loadtest.results.samples import OK, Sample
from loadtest.server.measured import Selection
from loadtest.server.scraper import Scraper, fetch, page_url
from loadtest.server.view import ClientTimes, ServerView, view
from tfs_client import contract

ASK_S: Final = 2.0
"""How long a page is waited for before the load."""


class Watched:
    """The servers of a load test.

    Args:
        scraper: running; None where no metrics page is known.
        guessed: whether the page was found and not named, so that it may be another server's.
    """

    def __init__(self, scraper: Scraper | None, *, guessed: bool):
        self._scraper, self._guessed = scraper, guessed
        self.urls: tuple[str, ...] = () if scraper is None else scraper.urls

    def view(self, selection: Selection, samples: Sequence[Sample]) -> ServerView | None:
        """The servers' view of these requests, after the load; None where there is none."""
        if self._scraper is None:
            return None
        right = [sample for sample in samples if sample.code == OK]
        latency_ms = np.array([sample.latency_ms for sample in right])
        times = ClientTimes(
            ended_s=np.array([sample.start_s for sample in right]) + latency_ms / 1000,
            latency_ms=latency_ms,
            late_ms=np.array([sample.late_ms for sample in right]),
        )
        seen = view(self._scraper.scrapes(), selection, times)
        counted = seen.whole is not None and seen.whole.measured.request.count
        return None if self._guessed and not counted else seen


@contextlib.contextmanager
def watching(addresses: Sequence[str] | None, target: str) -> Iterator[Watched]:
    """Scrapes the pages until the end of the block.

    Args:
        addresses: as `page_url` takes them; None looks at REST's usual port, beside gRPC's.
        target: of the callers.

    Raises:
        InputError: an address that was given has no metrics page.
    """
    guessed = addresses is None
    found = _guess(target) if addresses is None else list(addresses)
    for address in addresses or ():
        _ask(address)
    if not found:
        yield Watched(None, guessed=guessed)
        return
    with Scraper(found) as scraper:
        yield Watched(scraper, guessed=guessed)


def _ask(address: str) -> None:
    try:
        fetch(page_url(address), ASK_S)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"Expected a metrics page at --metrics {address}: a REST port of a server that was "
            f"started with --monitoring_config_file. Received: {error or type(error).__name__}"
        ) from error


def _guess(target: str) -> list[str]:
    """The page of the server at the contract's ports, if there is one."""
    ports = {contract.GRPC_PORT: contract.REST_PORT, contract.REST_PORT: contract.REST_PORT}
    host, _, port = target.rpartition(":")
    rest = ports.get(int(port)) if port.isdigit() else None
    if rest is None or not host or "/" in host:
        return []
    address = f"{host}:{rest}"
    try:
        _ask(address)
    except InputError:
        return []
    return [address]
