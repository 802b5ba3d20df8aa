"""How a load goes while it runs: read from the files of samples, which grow once a second.

The processes that send are left alone: whoever looks reads what they write anyway. That costs the
looking process about 6 ms for a thousand requests on a busy machine.
"""

from __future__ import annotations

import csv
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from foundation.progress import Progress
from loadtest.results.percentiles import of_counts
from loadtest.results.samples import COLUMNS, OK

LOOK_EVERY_S: Final = 1.0
"""The files grow once a second."""

WINDOW_S: Final = 5.0
"""What the line on a terminal speaks of; a plain line speaks of the time since the last one."""

_START, _LATENCY, _CODE = (COLUMNS.index(name) for name in ("start_s", "latency_ms", "code"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lately:
    """The requests that ended within a window, and the counts since the begin."""

    per_s: float
    """Right answers a second."""
    p50_ms: float | None
    """Of the right answers; None where there is none."""
    p99_ms: float | None
    requests: int
    """Since the begin."""
    failures: int
    """Since the begin."""


class Tail:
    """Reads the lines that were added to some files since it last looked.

    Args:
        files: gives those that there are by now.
    """

    def __init__(self, files: Callable[[], Iterable[Path]]):
        self._files = files
        self._read: dict[Path, int] = {}
        self._ended: deque[tuple[float, float]] = deque()
        self._begin_s = float("inf")
        self._requests = self._failures = 0

    def look(self, window_s: float) -> Lately | None:
        """What there is by now; None before the first request ended.

        Args:
            window_s: seconds before the last end that rate and percentiles speak of.
        """
        for row in self._rows():
            try:
                start_s, latency_ms = float(row[_START]), float(row[_LATENCY])
            except (ValueError, IndexError):  # the head line
                continue
            self._requests += 1
            self._begin_s = min(self._begin_s, start_s)
            if row[_CODE] == OK:
                self._ended.append((start_s + latency_ms / 1000, latency_ms))
            else:
                self._failures += 1
        if not self._requests:
            return None
        last_s = max((end_s for end_s, _ in self._ended), default=self._begin_s)
        self._ended = deque(one for one in self._ended if one[0] > last_s - window_s)
        values_us, counts = np.unique(
            np.array([round(1000 * latency_ms) for _, latency_ms in self._ended], np.int64),
            return_counts=True,
        )
        p50 = p99 = None
        if len(values_us):
            found = of_counts(values_us, counts[None, :].astype(np.float64), (50.0, 99.0))
            p50, p99 = (float(value) / 1000 for value in found[:, 0])
        lasted_s = max(min(window_s, last_s - self._begin_s), 1e-3)
        return Lately(
            per_s=len(self._ended) / lasted_s,
            p50_ms=p50,
            p99_ms=p99,
            requests=self._requests,
            failures=self._failures,
        )

    def _rows(self) -> Iterator[list[str]]:
        for path in self._files():
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                new = file.read()
            whole = new.rfind(b"\n") + 1  # a line that is being written is read next time
            self._read[path] = self._read.get(path, 0) + whole
            yield from csv.reader(new[:whole].decode(errors="replace").splitlines())


class Shown:
    """Shows how a load goes, each time that it is called with the seconds since the begin.

    Args:
        progress: where.
        tail: of the files.
        words: what the load is called.
        total_s: how long it lasts; 0: not known.
    """

    def __init__(self, progress: Progress, tail: Tail, words: str, total_s: float):
        self._progress, self._tail, self._words, self._total_s = progress, tail, words, total_s
        self._looked_s = float("-inf")
        self._said_s = 0.0

    def __call__(self, seconds: float) -> None:
        """Looks and shows, at most once a second."""
        now_s = time.monotonic()
        if not self._progress.due() or now_s < self._looked_s + LOOK_EVERY_S:
            return
        self._looked_s = now_s
        window_s = WINDOW_S
        if not self._progress.on_terminal:
            window_s, self._said_s = max(seconds - self._said_s, 1.0), seconds
        self._progress.show(texts(self._words, seconds, self._total_s, self._tail.look(window_s)))


def texts(words: str, seconds: float, total_s: float, lately: Lately | None) -> list[str]:
    """How a load goes, in lines of three lengths."""
    at = f"{min(seconds, total_s or seconds):.0f}"
    at = f"{at}/{total_s:.0f} s" if total_s else f"{at} s"
    if lately is None:
        begun = f"{at}, no answer yet" if seconds else "starting"
        return [f"{words}: {begun}", begun]
    p50, p99, failures = _ms(lately.p50_ms), _ms(lately.p99_ms), f"{lately.failures:,}"
    return [
        f"{words}: {at}, {lately.per_s:,.0f} requests/s, p50 {p50} ms, p99 {p99} ms, "
        f"{failures} {'failure' if lately.failures == 1 else 'failures'}",
        f"{at}, {lately.per_s:,.0f}/s, p50 {p50}, p99 {p99} ms, {failures} failed",
        f"{at} {lately.per_s:,.0f}/s p99 {p99} ms {failures} failed",
    ]


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
