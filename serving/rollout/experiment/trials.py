"""Thousands of simulated experiments whose truth is known, judged as a verdict judges.

They run the same functions of sequential.py as a verdict, and look after EVERY outcome. They run on
all cores, a few at a time; what is drawn depends on the seed alone.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from foundation.command_line import raise_if_interrupted
from serving.rollout.experiment import looks, sequential
from serving.rollout.experiment.plan import Plan

Flags: TypeAlias = NDArray[np.bool_]
Firsts: TypeAlias = NDArray[np.int64]
"""[experiments]: outcomes of both sides at the first decision; -1 where there was none."""

Result = TypeVar("Result")
Draw: TypeAlias = Callable[[float, float, float], tuple[Flags, Flags]]

_CELLS: Final = 100_000
"""Outcomes in one piece of work, so that their arrays stay in the processor's cache."""


def ended(firsts: Firsts) -> float:
    """The share of experiments that reached a decision."""
    return float((firsts > 0).mean())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stopped:
    """Where many experiments ended, in outcomes."""

    sequential: Firsts
    """With what all looks leave of the confidence sequence of `sequential.difference`."""
    naive: Firsts
    """With a test for one look, looked at after every outcome."""
    missed: Firsts
    """Where that first missed the true difference; from then on it always does."""


def stopped(
    plan: Plan, random: np.random.Generator, treated: float, *, experiments: int, horizon: int
) -> Stopped:
    """Runs experiments in which every outcome is a unit of its own.

    Args:
        plan: its baseline is the control's true share of right answers; weights, alpha,
            smallest_difference and min_outcomes count too.
        random: draws everything.
        treated: the treatment's true share of right answers, 0-1.
        experiments: how many, 1 or more.
        horizon: outcomes of each, both sides.
    """
    z = statistics.NormalDist().inv_cdf(1 - plan.alpha / 2)
    true = treated - plan.baseline

    def judge(draw: Draw) -> tuple[Firsts, Firsts, Firsts]:
        events, treatment = draw(plan.baseline, treated, plan.treatment_share)
        found = sequential.difference(
            *sequential.independent_sums(events, treatment),
            alpha=plan.alpha,
            scale=plan.smallest_difference,
            least=plan.min_outcomes,
        )
        enough = ~np.isnan(found.lower)
        lower, upper = sequential.running_intersection(found.lower, found.upper)
        return (
            _firsts((lower > 0) | (upper < 0)),
            _firsts(enough & (np.abs(found.estimate) > z * np.sqrt(found.spread))),
            _firsts((lower > true) | (upper < true)),
        )

    columns = zip(*_each(judge, random, experiments, horizon))
    ours, naive, missed = (np.concatenate(column) for column in columns)
    return Stopped(sequential=ours, naive=naive, missed=missed)


def mismatches(
    plan: Plan, random: np.random.Generator, share: float, *, experiments: int, horizon: int
) -> Firsts:
    """Units until a sample-ratio mismatch is found, where `share` of them get the treatment."""
    threshold = -math.log(plan.srm_alpha)

    def judge(draw: Draw) -> Firsts:
        _, treatment = draw(0.5, 0.5, share)
        log = sequential.mismatch_log_bayes_factor(treatment, plan.treatment_share)
        return _firsts(log >= threshold)

    return np.concatenate(_each(judge, random, experiments, horizon))


def breaches(
    plan: Plan,
    random: np.random.Generator,
    control: float,
    treated: float,
    *,
    experiments: int,
    horizon: int,
) -> Firsts:
    """Exposures until the guardrail `errors` breaks.

    Args:
        plan: its weights, guardrail_alpha and margin count.
        random: draws everything.
        control: its true share of errors, 0-1.
        treated: the treatment's.
        experiments: how many, 1 or more.
        horizon: exposures of each, both sides.
    """

    def judge(draw: Draw) -> Firsts:
        events, treatment = draw(control, treated, plan.treatment_share)
        found = sequential.difference(
            *sequential.independent_sums(events, treatment),
            alpha=plan.guardrail_alpha,
            scale=looks.GUARDRAIL_SCALE,
            least=looks.GUARDRAIL_LEAST,
        )
        return _firsts(found.lower > plan.guardrails.errors)

    return np.concatenate(_each(judge, random, experiments, horizon))


def clustered(
    plan: Plan,
    random: np.random.Generator,
    *,
    experiments: int,
    horizon: int,
    requests: float,
    alike: float,
) -> tuple[float, float]:
    """False positives where the outcomes of a unit are alike: by units, and as if independent.

    Each unit has a share of right answers of its own, from a beta distribution around the baseline.

    Args:
        plan: as for `stopped`.
        random: draws everything.
        experiments: how many, 1 or more, all without a difference.
        horizon: outcomes of each, both sides.
        requests: outcomes a unit, on average.
        alike: correlation of two outcomes of a unit, above 0 and below 1.
    """
    units = max(round(horizon / requests), 2)
    strength = 1 / alike - 1
    wrong = [0, 0]
    for _ in range(experiments):
        raise_if_interrupted()
        sides = random.random(units) < plan.treatment_share
        shares = random.beta(plan.baseline * strength, (1 - plan.baseline) * strength, units)
        unit = random.integers(0, units, horizon)
        events = random.random(horizon) < shares[unit]
        pairs = (
            sequential.unit_sums(events, sides[unit], unit),
            sequential.independent_sums(events, sides[unit]),
        )
        for at, pair in enumerate(pairs):
            found = sequential.difference(
                *pair, alpha=plan.alpha, scale=plan.smallest_difference, least=plan.min_outcomes
            )
            wrong[at] += bool(((found.lower > 0) | (found.upper < 0)).any())
    return wrong[0] / experiments, wrong[1] / experiments


def _each(
    judge: Callable[[Draw], Result], random: np.random.Generator, experiments: int, horizon: int
) -> list[Result]:
    """Results of all experiments, a few at a time, in threads, as numpy releases Python's lock."""
    some = max(_CELLS // horizon, 1)
    sizes = [min(some, experiments - begin) for begin in range(0, experiments, some)]

    def run(size: int, own: np.random.Generator) -> Result:
        def draw(control: float, treated: float, share: float) -> tuple[Flags, Flags]:
            treatment = own.random((size, horizon), np.float32) < share
            chance = np.where(treatment, np.float32(treated), np.float32(control))
            return own.random((size, horizon), np.float32) < chance, treatment

        raise_if_interrupted()
        return judge(draw)

    threads = ThreadPoolExecutor(os.cpu_count())
    try:
        return list(threads.map(run, sizes, random.spawn(len(sizes))))
    finally:
        threads.shutdown(cancel_futures=True)


def _firsts(crossed: Flags) -> Firsts:
    return np.where(crossed.any(axis=-1), np.argmax(crossed, axis=-1) + 1, -1)
