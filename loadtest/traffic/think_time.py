"""How long a user thinks between an answer and the next request."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from foundation.command_line import InputError


def parse(text: str) -> Callable[[random.Random], float]:
    """Reads "0.5" (always), "0.2-1" (uniform between them) or "exp:0.5" (exponential, its mean).

    Returns:
        A function that draws seconds from a random generator.

    Raises:
        InputError: something else.
    """
    kind, _, rest = text.partition(":") if text.startswith("exp:") else ("", "", text)
    parts = [_seconds(part) for part in ([rest] if kind else rest.split("-"))]
    sound = 0 < len(parts) <= 2 and all(math.isfinite(part) for part in parts)
    if sound and kind and parts[0] > 0:
        mean = parts[0]
        return lambda source: source.expovariate(1 / mean)
    if sound and not kind and len(parts) == 1:
        always = parts[0]
        return lambda source: always
    if sound and not kind and parts[0] <= parts[1]:
        low, high = parts
        return lambda source: source.uniform(low, high)
    raise InputError(
        "Expected --think-time in seconds: 0.5, 0.2-1 (even between them), or exp:0.5 (exponential "
        f"with that mean). Received: {text!r}"
    )


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if value >= 0 else math.nan
