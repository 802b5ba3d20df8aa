"""How many examples a property test tries: few while thinking, many in the thorough run.

    python -m pytest --hypothesis-profile=thorough

A property test needs no settings of its own; `@examples.of_quick_run(20)` is for one whose examples
take long.
"""

from __future__ import annotations

import functools

from hypothesis import HealthCheck, settings

FEW = 50
MANY = 500


@functools.cache
def register_profiles() -> None:
    """Makes both profiles known to Hypothesis and chooses the quick one.

    Both try the same examples in every run, so that a failure comes again in the next run. Called a
    second time it does nothing: the command line may have chosen the other profile meanwhile.
    """
    for name, number in (("quick", FEW), ("thorough", MANY)):
        settings.register_profile(
            name,
            max_examples=number,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
    settings.load_profile("quick")


def of_quick_run(number: int) -> settings:
    """The number of examples for a test whose examples take long, or are very cheap.

    Args:
        number: in the quick run; the thorough run tries MANY / FEW times as many.
    """
    return settings(max_examples=number * settings.default.max_examples // FEW)
