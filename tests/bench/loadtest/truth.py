"""How long a server of known slowness takes: the model that the delaying server keeps to.

Every request is delayed by its own draw, however many there are (a server that is never full,
unless it has `places`), and now and then the whole server stalls: an answer that would fall into a
stall is given at its end. So a request's latency follows from when it should have come, and from
nothing that the generator did.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slowness:
    """A distribution of delays, and stalls."""

    median_s: float = 0.004
    sigma: float = 0.5
    """Of the delay's logarithm."""
    period_s: float = 10.0
    """A stall begins whenever Unix time is a multiple of this."""
    stall_s: float = 0.3
    seed: int = 0
    places: int = 0
    """So many requests are worked on at once, and others wait: the server gets slower under load.
    0: no limit, which is what `latencies_s` assumes."""

    def delays_s(self, count: int) -> Any:
        """Those of the first requests, in the order in which they come: float64 [count]."""
        random = np.random.default_rng(self.seed)
        return self.median_s * np.exp(self.sigma * random.standard_normal(count))

    def released_s(self, done_s: Any) -> Any:
        """When an answer is sent that is ready at a Unix time: then, or at the end of the stall."""
        done_s = np.asarray(done_s)
        into_s = done_s % self.period_s
        return np.where(into_s < self.stall_s, done_s - into_s + self.stall_s, done_s)

    def latencies_s(self, arrivals_s: Any) -> Any:
        """How long requests wait that come at these Unix times, ascending: float64 [requests]."""
        arrivals_s = np.asarray(arrivals_s)
        return self.released_s(arrivals_s + self.delays_s(len(arrivals_s))) - arrivals_s


AT_ONCE = Slowness(median_s=0.0, stall_s=0.0)


def percentiles_ms(latencies_s: Any, shares: tuple[float, ...]) -> list[float]:
    """By the nearest rank, as the load test's."""
    found = np.percentile(latencies_s, shares, method="inverted_cdf")
    return [1000 * float(value) for value in found]
