"""The latencies of a run as HdrHistograms: merged without loss, written as JSON.

A recording's size does not grow with the number of requests, only with that of the seconds. Its
JSON holds HdrHistogram's own encoding, which any HdrHistogram library can read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from foundation.command_line import InputError
from loadtest.results.histograms import (
    HIGHEST_US,
    Percentile,
    decoded,
    empty,
    percentiles,
    record,
)
from loadtest.results.samples import OK, Sample

OPEN_SECONDS: Final = 60
"""How many seconds are held as histograms. The others, longest untouched, are packed to 1 % of
the size."""

INTENDED, SENT = "intended", "sent"
"""Where a latency is counted from: when the request was due, or when it was sent."""

FORMAT: Final = "loadtest-recording/2"


class Series(NamedTuple):
    """Which latencies a histogram holds."""

    label: str
    version: int | None
    """None for failures."""
    code: str
    since: str
    """INTENDED or SENT."""


class Second(NamedTuple):
    """Which latencies a second's histogram holds, counted from INTENDED."""

    second: int
    """Of the intended start, since the run's begin."""
    label: str
    version: int | None
    """None for failures."""
    code: str


class Recording:
    """The latencies of one run, or of one worker's part of it.

    Args:
        begin_s: Unix time of second 0; the same one for all parts of a run.

    Attributes:
        begin_s: as given.
        beyond_range: how many latencies were over 100 s.
    """

    def __init__(self, begin_s: float):
        self.begin_s = begin_s
        self.beyond_range = 0
        self._totals: dict[Series, Any] = {}
        self._seconds: dict[Second, Any] = {}
        self._packed: dict[Second, bytes] = {}

    @classmethod
    def of(cls, samples: Iterable[Sample], begin_s: float) -> Recording:
        """The recording of these samples."""
        recording = cls(begin_s)
        for sample in samples:
            recording.add(sample)
        return recording

    def add(self, sample: Sample) -> None:
        """Counts one request."""
        if 1000 * sample.latency_ms > HIGHEST_US:
            self.beyond_range += 1
        series = Series(sample.label, sample.version, sample.code, INTENDED)
        record(self._total(series), sample.latency_ms)
        since_sent_ms = sample.latency_ms - sample.late_ms
        record(self._total(series._replace(since=SENT)), since_sent_ms)
        second = Second(
            int(sample.start_s - self.begin_s), sample.label, sample.version, sample.code
        )
        record(self._second(second), sample.latency_ms)

    def merge(self, other: Recording) -> None:
        """Adds another part of the same run: all counts, without rounding any again.

        Raises:
            InputError: the other one counts its seconds from another begin.
        """
        if other.begin_s != self.begin_s:
            raise InputError(
                f"Expected parts of one run, which begin at {self.begin_s:.6f}. "
                f"Received: one that begins at {other.begin_s:.6f}"
            )
        self.beyond_range += other.beyond_range
        for series, histogram in other._totals.items():
            self._total(series).add(histogram)
        for key in other._keys():
            self._second(key).add(other._peek(key))

    def histogram(
        self,
        *,
        since: str = INTENDED,
        code: str | None = OK,
        label: str | None = None,
        version: int | None = None,
    ) -> Any:
        """The sum of the series that fit; None fits any value.

        Returns:
            An HdrHistogram of microseconds; a new one.
        """
        found = empty()
        for series, histogram in self._totals.items():
            fits = series.since == since and code in (None, series.code)
            if fits and label in (None, series.label) and version in (None, series.version):
                found.add(histogram)
        return found

    def percentiles(self, shares: Sequence[float], **which: Any) -> list[Percentile]:
        """Percentiles of the series that fit (see histogram); none of no samples."""
        return percentiles(self.histogram(**which), shares)

    @property
    def series(self) -> list[tuple[Series, int]]:
        """All series, counted from INTENDED, with their numbers of samples."""
        found = [(key, int(held.get_total_count())) for key, held in self._totals.items()]
        found = [one for one in found if one[0].since == INTENDED]
        return sorted(found, key=lambda one: repr(one[0]))

    def counts(self) -> dict[str, int]:
        """Code → requests."""
        found: dict[str, int] = defaultdict(int)
        for series, count in self.series:
            found[series.code] += count
        return dict(found)

    def by_second(
        self, code: str | None = OK, *, label: str | None = None, version: int | None = None
    ) -> dict[int, Any]:
        """Second of the intended start → HdrHistogram of microseconds, ascending; new ones.

        The arguments choose requests as those of `histogram` do.
        """
        found: dict[int, Any] = {}
        for key in self._keys():
            if (
                code in (None, key.code)
                and label in (None, key.label)
                and version in (None, key.version)
            ):
                found.setdefault(key.second, empty()).add(self._peek(key))
        return found

    def to_json(self) -> dict[str, Any]:
        """The content of a JSON file; from_json reads it."""
        return {
            "format": FORMAT,
            "unit": "us",
            "begin_s": self.begin_s,
            "beyond_range": self.beyond_range,
            "totals": [
                {
                    **series._asdict(),
                    "count": int(histogram.get_total_count()),
                    "histogram": histogram.encode().decode(),
                }
                for series, histogram in sorted(self._totals.items(), key=lambda it: repr(it[0]))
            ],
            "seconds": [
                {**key._asdict(), "histogram": self._peek(key).encode().decode()}
                for key in self._keys()
            ],
        }

    @classmethod
    def from_json(cls, content: Any) -> Recording:
        """Reads what to_json wrote.

        Raises:
            InputError: it is something else.
        """
        try:
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            recording = cls(float(content["begin_s"]))
            recording.beyond_range = int(content["beyond_range"])
            for row in content["totals"]:
                series = Series(row["label"], row["version"], row["code"], row["since"])
                recording._total(series).add(decoded(row["histogram"].encode()))
            for row in content["seconds"]:
                key = Second(int(row["second"]), row["label"], row["version"], row["code"])
                recording._packed[key] = row["histogram"].encode()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"Expected a recording as {FORMAT}. Received: {type(error).__name__}: {error}"
            ) from error
        return recording

    def _total(self, series: Series) -> Any:
        histogram = self._totals.get(series)
        if histogram is None:
            histogram = self._totals[series] = empty()
        return histogram

    def _keys(self) -> list[Second]:
        return sorted({*self._seconds, *self._packed}, key=lambda key: (key.second, repr(key)))

    def _second(self, key: Second) -> Any:
        """The second's histogram, unpacked, to be added to."""
        histogram = self._seconds.pop(key, None)
        if histogram is None:
            packed = self._packed.pop(key, None)
            histogram = empty() if packed is None else decoded(packed)
        self._seconds[key] = histogram  # at the end: the last one touched
        while len(self._seconds) > OPEN_SECONDS:
            oldest = next(iter(self._seconds))
            self._packed[oldest] = self._seconds.pop(oldest).encode()
        return histogram

    def _peek(self, key: Second) -> Any:
        held = self._seconds.get(key)
        return decoded(self._packed[key]) if held is None else held
