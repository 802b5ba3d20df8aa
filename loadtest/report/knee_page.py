"""The search for the knee as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib.figure
import numpy as np

from foundation.pages import page, plots
from foundation.pages.palette import BLUE, GREEN, GREY, RED
from loadtest.results.point import Point
from loadtest.verdicts.knee_search import Knee
from loadtest.verdicts.objectives import Objectives

TEMPLATE: Final = Path(__file__).with_name("knee.html")


def write(
    path: Path,
    *,
    verdict: str,
    knee: Knee,
    points: Sequence[Point],
    objectives: Objectives,
    settings: Mapping[str, Any],
    origin: page.Origin,
) -> None:
    """Writes the page.

    Args:
        path: of the page.
        verdict: one line.
        knee: what was found.
        points: all measurements, in order of time.
        objectives: which the rates had to hold.
        settings: name → value.
        origin: where they come from.
    """
    page.write(
        path,
        TEMPLATE,
        origin=origin,
        verdict=verdict,
        knee=knee,
        points=points,
        objectives=objectives,
        settings=settings,
        curves=page.drawn(
            "Latency of each measurement by offered and by carried rate",
            _curves,
            knee,
            points,
            objectives,
        )
        if points
        else "",
    )


def _curves(
    knee: Knee, points: Sequence[Point], objectives: Objectives
) -> matplotlib.figure.Figure:
    """Latency against what was offered, and against what was carried."""
    drawn, (left, right) = plots.panels(4.2, columns=2, sharey=True)
    for axes, name, words in (
        (left, "rate", "requests offered a second"),
        (right, "right_per_s", "right answers a second"),
    ):
        _dots(axes, points, name)
        for limit_name, color in (("p99_ms", RED), ("p50_ms", BLUE)):
            limit = objectives.limits.get(limit_name)
            if limit is not None:
                short = limit_name.removesuffix("_ms")
                axes.axhline(
                    limit, color=color, linestyle="--", linewidth=1, label=f"{short} allowed"
                )
        axes.set(xlabel=words)
        axes.set_yscale("log")
        plots.from_zero(axes)
    if knee.rate is not None and knee.high is not None:
        left.axvspan(knee.low, knee.high, color=GREEN, alpha=0.15)
        left.axvline(knee.rate, color=GREEN, linewidth=1.5, label="knee, 90 % interval")
    left.set(ylabel="ms", title="Latency by what was offered")
    right.set(title="Latency by what was carried")
    for axes in (left, right):
        plots.style(axes)
    return drawn


def _dots(axes: Any, points: Sequence[Point], name: str) -> None:
    for holds, limited, color, words in (
        (True, False, RED, "p99, objectives held"),
        (False, False, RED, "p99, objectives missed"),
        (False, True, GREY, "p99, limited by the generator"),
    ):
        here = [
            point
            for point in points
            if point.p99_ms is not None
            and point.holds is holds
            and (holds or bool(point.limited) is limited)
        ]
        if here:
            axes.scatter(
                [getattr(point, name) for point in here],
                [point.p99_ms for point in here],
                marker="o" if holds else "x",
                color=color,
                label=words,
                zorder=3,
            )
    answered = [point for point in points if point.p50_ms is not None]
    axes.scatter(
        [getattr(point, name) for point in answered],
        np.array([point.p50_ms for point in answered]),
        marker=".",
        color=BLUE,
        label="p50",
    )
