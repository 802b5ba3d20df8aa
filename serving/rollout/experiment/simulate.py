"""How often the statistics are wrong, and how soon right: the figures of thousands of experiments.

The caller writes the figures down:

    for row in simulate(plan, experiments=10_000, horizon=20_000, seed=0):
        figures.add(row.name, row.value, row.unit, at_most=row.at_most, at_least=row.at_least)
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from serving.rollout.experiment import sequential, trials
from serving.rollout.experiment.plan import Plan

REQUESTS: Final = 10
"""Requests of one unit, on average, where the outcomes of a unit are alike."""
ALIKE: Final = 0.3
"""Correlation of the outcomes of two requests of one unit there."""
ERRORS: Final = 0.01
"""The control's share of errors where guardrails are tested."""


class Row(NamedTuple):
    """One measured figure, as Figures.add takes it."""

    name: str
    value: float | int | None
    unit: str
    at_most: float | None = None
    at_least: float | None = None


def simulate(plan: Plan, *, experiments: int, horizon: int, seed: int) -> list[Row]:
    """All figures; 10,000 experiments of 20,000 outcomes take about a minute on two cores.

    Args:
        plan: gives baseline, weights, smallest_difference, alphas and the margin of errors.
        experiments: of each kind, 1 or more; a tenth of them for those with clustered outcomes. The
            bar of the sample-ratio test, which is exact and so may come close to it, allows three
            standard errors more.
        horizon: outcomes of each experiment, both sides, after which it ends undecided.
        seed: of everything; the figures depend on nothing else.

    Returns:
        `no_difference.*`: how often the verdict is ever wrong where there is none, beside a test
        for one look that is looked at as often; `clustered.*`: the same with several outcomes a
        unit, beside taking them for independent; `difference.*`: power and outcomes at stopping
        under smallest_difference, beside the fixed-horizon test; `srm.*` and `guardrail.*`: false
        alarms, and how soon a tenth of the treatment's units that is lost, and a treatment that
        fails everything, are found.
    """
    random = np.random.default_rng(seed)
    size = {"experiments": experiments, "horizon": horizon}
    null = trials.stopped(plan, random, plan.baseline, **size)
    real = trials.stopped(plan, random, plan.improved, **size)
    robust, independent = trials.clustered(
        *(plan, random),
        experiments=max(experiments // 10, 1),
        horizon=min(horizon, 5_000),
        requests=REQUESTS,
        alike=ALIKE,
    )
    share, alpha = plan.treatment_share, plan.srm_alpha
    false = trials.mismatches(plan, random, share, **size)
    lost = trials.mismatches(plan, random, share * 0.9 / (1 - share * 0.1), **size)
    margin = plan.guardrails.errors
    size["horizon"] = min(horizon, 5_000)
    edge = trials.breaches(plan, random, ERRORS, ERRORS + margin, **size)
    size["experiments"] = min(experiments, 1_000)
    dead = trials.breaches(plan, random, ERRORS, 1.0, **size)
    ended = trials.ended
    return [
        Row("no_difference.false_positives", ended(null.sequential), "share", plan.alpha),
        Row("no_difference.false_positives_for_one_look", ended(null.naive), "share"),
        Row("clustered.false_positives", robust, "share", plan.alpha),
        Row("clustered.false_positives_as_independent", independent, "share"),
        Row("difference.ever_missed", ended(real.missed), "share", plan.alpha),
        Row("difference.power", ended(real.sequential), "share", None, plan.power),
        *stopping(plan, real),
        Row(
            *("srm.false_alarms", ended(false), "share"),
            alpha + 3 * math.sqrt(alpha * (1 - alpha) / experiments),
        ),
        Row("srm.a_tenth_lost.found", ended(lost), "share"),
        Row("srm.a_tenth_lost.units_median", _median(lost), "units"),
        Row("guardrail.false_breaches", ended(edge), "share", plan.guardrail_alpha),
        Row("guardrail.fails_everything.found", ended(dead), "share", None, 1.0),
        Row("guardrail.fails_everything.exposures_median", _median(dead), "exposures"),
    ]


def stopping(plan: Plan, real: trials.Stopped) -> list[Row]:
    """Outcomes at the first decision, both sides, beside what the fixed-horizon test takes."""
    at = real.sequential[real.sequential > 0]
    figures = {
        "mean": float(at.mean()) if len(at) else None,
        "median": _median(at),
        "p90": float(np.quantile(at, 0.9)) if len(at) else None,
        "max": int(at.max()) if len(at) else None,
        "until_power": _until(real.sequential, plan.power),
        "fixed_horizon": sum(fixed_sizes(plan)),
    }
    return [Row(f"difference.outcomes_{name}", one, "outcomes") for name, one in figures.items()]


def _until(firsts: trials.Firsts, share: float) -> int | None:
    """Outcomes by which this share of all experiments has ended; None where fewer ever do."""
    needed = math.ceil(share * len(firsts))
    at = np.sort(firsts[firsts > 0])
    return int(at[needed - 1]) if len(at) >= needed else None


def fixed_sizes(plan: Plan) -> tuple[int, int]:
    """Control's and treatment's outcomes of the plan's fixed-horizon test."""
    return sequential.fixed_sizes(
        *(plan.baseline, plan.improved),
        treatment_share=plan.treatment_share,
        alpha=plan.alpha,
        power=plan.power,
    )


def _median(firsts: trials.Firsts) -> float | None:
    """The median of the experiments that ended; None where none did."""
    crossed = firsts[firsts > 0]
    return float(np.median(crossed)) if len(crossed) else None
