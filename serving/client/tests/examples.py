"""How many examples a property test tries: few while thinking, many in the thorough run.

    python -m pytest --hypothesis-profile=thorough

Tests say nothing, or `@examples.of_quick_run(20)` where an example is dear.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

FEW = 50
MANY = 500


def register_profiles() -> None:
    """Makes both profiles known to Hypothesis and takes the quick one.

    Both try the same examples in every run, so that a failure is there again in the next one.
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
    """So many examples in the quick run, and as many times more as others in the thorough one.

    Args:
        number: for tests whose examples are dear, or cheap.
    """
    return settings(max_examples=number * settings.default.max_examples // FEW)
