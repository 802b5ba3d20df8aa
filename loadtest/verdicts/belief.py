"""At which rate the objectives cease to hold, learnt from noisy measurements: the psi method.

The probability that a measurement holds falls with the logarithm of the rate, as a logistic curve
of unknown place and width; a few measurements are accidents that say nothing. Place and width form
a grid of probabilities. Each measurement multiplies each point by the probability of its outcome
there (Bayes). Kontsevich and Tyler, Vision Research 39, 1999.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

ACCIDENTS: Final = 0.04
"""The share of measurements that say nothing about their rate, as when another process woke up."""

PLACES: Final = 600
WIDTHS: Final = np.geomspace(0.005, 0.3, 9)
"""Of the curve, in natural logarithms of the rate: a rate 2.2 widths above the knee holds once in
ten times. 0.005 is a sudden end; at 0.3 a server hardly bends."""

SHARE: Final = 0.9
"""Of the posterior probability in the interval."""


class Belief:
    """What is known about place and width of the curve: a grid of probabilities.

    Args:
        lowest: a rate that the place is surely above.
        highest: a rate that it is surely below.
    """

    def __init__(self, lowest: float, highest: float):
        self._places = np.linspace(math.log(lowest), math.log(highest), PLACES)
        self._posterior: NDArray[np.float64] = np.full((PLACES, len(WIDTHS)), 1.0)
        self._posterior /= self._posterior.sum()

    def learn(self, rate: float, holds: bool) -> None:
        """Learns from one measurement."""
        chance = self._chance(np.array([math.log(rate)]))[0]
        self._posterior = self._posterior * (chance if holds else 1 - chance)
        self._posterior /= self._posterior.sum()

    def interval(self) -> tuple[float, float, float]:
        """Lower end, middle and upper end of the place, as rates."""
        below = np.cumsum(self._posterior.sum(axis=1))
        shares = ((1 - SHARE) / 2, 0.5, (1 + SHARE) / 2)
        found = np.exp(np.interp(shares, below, self._places))
        return float(found[0]), float(found[1]), float(found[2])

    def next_rate(self) -> float:
        """The rate whose measurement is expected to leave the least uncertainty about the place."""
        low, _, high = self.interval()
        rates = np.linspace(math.log(low / 1.05), math.log(high * 1.05), 41)
        holds = self._chance(rates)  # [rates, places, widths]
        entropy = np.zeros(len(rates))
        for chance in (holds, 1 - holds):
            after = chance * self._posterior
            weight = after.sum(axis=(1, 2))
            place = after.sum(axis=2) / weight[:, None]
            entropy -= weight * (place * np.log(place + 1e-300)).sum(axis=1)
        return float(np.exp(rates[entropy.argmin()]))

    def _chance(self, log_rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability that rates hold, for each place and width: [rates, places, widths]."""
        distance = (self._places[None, :, None] - log_rates[:, None, None]) / WIDTHS
        clean = 1 / (1 + np.exp(-np.clip(distance, -60, 60)))
        found: NDArray[np.float64] = ACCIDENTS / 2 + (1 - ACCIDENTS) * clean
        return found
