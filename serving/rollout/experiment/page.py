"""An experiment as one self-contained HTML page: the verdict and its series as plots."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib.figure
import numpy as np

from foundation.figures import Figures
from foundation.pages import numbers, page, plots
from foundation.pages.palette import BLUE, GREY, ORANGE, RED
from serving.rollout.experiment import words
from serving.rollout.experiment.plan import Plan
from serving.rollout.experiment.verdict import GuardrailRow, MismatchRow, Since, Verdict

TEMPLATE: Final = Path(__file__).with_name("experiment.html")


def write(path: Path, *, plan: Plan, verdict: Verdict, figures: Figures) -> None:
    """Writes the page.

    Args:
        path: of the page.
        plan: what was meant to be shown.
        verdict: what is shown.
        figures: of the same verdict, with the command and its start.
    """
    page.write(
        path,
        TEMPLATE,
        origin=page.origin(figures.command, figures.started),
        plan=plan,
        verdict=verdict,
        settings={**dataclasses.asdict(plan), "weights": dict(plan.weights)},
        counts={
            **dataclasses.asdict(verdict.counts),
            "records_after_now": verdict.after_now,
            "outcomes_after_the_planned_time": verdict.after_end,
        },
        words=words,
        quality=page.drawn(
            "Difference of the shares of right answers over time", _quality, plan, verdict
        )
        if verdict.series["hours"]
        else "",
        split=page.drawn("Evidence of a sample-ratio mismatch over time", _split, plan, verdict)
        if verdict.mismatch.series["hours"]
        else "",
        guardrails=page.drawn("Each guardrail over time", _guardrails, verdict)
        if verdict.guardrails[0].series["hours"]
        else "",
    )


def _quality(plan: Plan, verdict: Verdict) -> matplotlib.figure.Figure:
    """The difference with its confidence sequence, and both shares."""
    figure, (upper, lower) = plots.panels(5.8, rows=2, sharex=True, height_ratios=(3, 2))
    small = 100 * plan.smallest_difference
    _interval(upper, verdict.series, BLUE, least=2 * small)
    upper.axhline(0, color=GREY, linewidth=1)
    for at in (-small, small):
        label = "smallest difference that matters" if at > 0 else None
        upper.axhline(at, color=ORANGE, linestyle="--", linewidth=1, label=label)
    quality_decided = verdict.kind in ("better", "worse", "no_difference", "changing")
    _mark(upper, verdict, verdict.since if quality_decided else None, verdict.kind)
    upper.set(
        title=f"Share of right answers, {plots.name(plan.treatment)} minus "
        f"{plots.name(plan.control)}",
        ylabel="percentage points",
    )
    _sides(lower, verdict.series, plan)
    lower.set(title="Share of right answers", ylabel="%", xlabel="hours since the first exposure")
    for axes in (upper, lower):
        plots.style(axes)
    return figure


def _split(plan: Plan, verdict: Verdict) -> matplotlib.figure.Figure:
    """The evidence of a sample-ratio mismatch."""
    figure, (axes,) = plots.panels(2.8)
    row: MismatchRow = verdict.mismatch
    axes.plot(
        row.series["hours"],
        _numbers(row.series["estimate"]) / math.log(10),
        color=BLUE,
        label="Bayes factor",
        drawstyle="steps-post",
    )
    axes.axhline(
        row.log10_threshold, color=RED, linestyle="--", linewidth=1, label="a mismatch from here on"
    )
    _mark(axes, verdict, row.broken, "mismatch")
    axes.set(
        title=f"Units on {plots.name(plan.treatment)}: {words.percent(row.found)}, "
        f"{words.percent(row.planned)} planned",
        ylabel="power of ten",
        xlabel="hours since the first exposure",
    )
    plots.style(axes)
    return figure


def _guardrails(verdict: Verdict) -> matplotlib.figure.Figure:
    """Each guardrail's difference with its margin."""
    figure, every = plots.panels(7.2, rows=len(verdict.guardrails), sharex=True)
    row: GuardrailRow
    for axes, row in zip(every, verdict.guardrails):
        _interval(axes, row.series, BLUE, least=300 * row.margin)
        axes.axhline(0, color=GREY, linewidth=1)
        axes.axhline(
            100 * row.margin, color=RED, linestyle="--", linewidth=1, label="the most allowed"
        )
        _mark(axes, verdict, row.broken, "broken")
        axes.set(title=words.TITLES[row.name], ylabel="points")
        plots.style(axes)
    every[-1].set_xlabel("hours since the first exposure")
    figure.align_ylabels()
    return figure


def _interval(axes: Any, series: Mapping[str, list[Any]], color: str, least: float) -> None:
    """Estimate and band in percentage points; the axis shows what matters, not the first looks."""
    hours = series["hours"]
    estimate, lower, upper = (
        100 * _numbers(series[name]) for name in ("estimate", "lower", "upper")
    )
    axes.fill_between(
        hours, lower, upper, color=color, alpha=0.18, linewidth=0, label="all looks leave"
    )
    axes.plot(hours, estimate, color=color, label="difference")
    later = slice(len(hours) // 5, None)
    shown = np.concatenate([lower[later], upper[later], estimate[later]])
    shown = shown[np.isfinite(shown)]
    low, high = (shown.min(), shown.max()) if len(shown) else (0.0, 0.0)
    low, high = min(low, -least), max(high, least)
    axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))


def _sides(axes: Any, series: Mapping[str, list[Any]], plan: Plan) -> None:
    """Both shares in percent; the axis leaves out the first looks, which jump."""
    later = slice(len(series["hours"]) // 20, None)
    for side, name, color in (
        ("control", plan.control, GREY),
        ("treatment", plan.treatment, BLUE),
    ):
        shares = 100 * _numbers(series[f"{side}_share"])
        axes.plot(series["hours"][later], shares[later], color=color, label=plots.name(name))


def _mark(axes: Any, verdict: Verdict, since: Since | None, word: str) -> None:
    if since is not None and verdict.started_s is not None:
        at = (since.time_s - verdict.started_s) / 3600
        word = word.replace("_", " ")
        axes.axvline(at, color=RED, linewidth=1.2, label=f"{word} after {numbers.amount(at, 'h')}")


def _numbers(column: list[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([math.nan if one is None else one for one in column], np.float64)
