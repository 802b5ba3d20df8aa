"""The page of an evaluation: figures over the folds, all answers together, labels in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib.figure
import sklearn.metrics

from foundation.pages import page, plots
from foundation.pages.page import Origin
from foundation.pages.palette import BLUE, GREY, INK
from training import run
from training.comparing import folds
from training.comparing.folds import Spread, Together
from training.comparing.halvings import Kept
from training.comparing.pages import NAMES, picture
from training.data.class_names import MOST_IN_A_TABLE
from training.decision import calibration, chance

TEMPLATE: Final = Path(__file__).with_name("folds.html")
DOUBTS_SHOWN: Final = 40


def write(
    path: Path,
    made: Sequence[run.Run],
    spreads: dict[str, Spread],
    pooled: Together,
    kept: Kept | None,
    origin: Origin,
) -> None:
    """Writes the page.

    Args:
        path: of the page.
        made: the runs of all folds.
        spreads: of their figures.
        pooled: the answers to all images, by the folds of one seed.
        kept: how often a target holds on other images, where that is known.
        origin: shown in its head.
    """
    doubts, metrics = folds.doubted_labels(made), pooled.metrics()
    page.write(
        path,
        TEMPLATE,
        origin=origin,
        runs=[one.id for one in made],
        spreads=spreads,
        names={**NAMES, "calibration_error": "calibration error"},
        metrics=metrics,
        kept=kept,
        reasons=chance.doubts(metrics),
        classes=pooled.class_names,
        most_in_a_table=MOST_IN_A_TABLE,
        spread=page.drawn("Figures of each fold", _folds, spreads),
        curves=page.drawn("Reliability, and ROC of two classes", _curves, pooled),
        doubts=[
            {
                "row": doubt,
                "picture": page.pictured(doubt.path, picture, doubt.made, doubt.path),
            }
            for doubt in doubts[:DOUBTS_SHOWN]
        ],
        all_doubts=len(doubts),
    )


def _folds(spreads: dict[str, Spread]) -> matplotlib.figure.Figure:
    shown = {name: found for name, found in spreads.items() if found.mean is not None}
    figure, (ax,) = plots.panels(0.4 * len(shown) + 1.0)
    for at, found in enumerate(list(shown.values())[::-1]):
        ax.plot(found.values, [at] * len(found.values), "o", color=BLUE, alpha=0.5)
        ax.plot([found.mean], [at], "|", color=INK, markersize=14)
    ax.set_yticks(range(len(shown)), [_name(name) for name in list(shown)[::-1]])
    ax.set_ylim(-0.6, len(shown) - 0.4)
    ax.set(title="Each fold a dot, their mean a stroke", xlabel="figure of the test images")
    plots.style(ax, "x")
    return figure


def _name(figure: str) -> str:
    return NAMES.get(figure, figure.replace("_", " "))


def _curves(pooled: Together) -> matplotlib.figure.Figure:
    two = len(pooled.class_names) == 2
    figure, panels = plots.panels(3.6, columns=2 if two else 1)
    true, said = calibration.judged(pooled.targets, pooled.answers)
    bins = calibration.reliability(true, said)
    ax = panels[0]
    ax.plot([one.probability for one in bins], [one.share for one in bins], "o-", color=BLUE)
    ax.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    ax.set(title="Reliability", xlabel="probability", ylabel="share", ylim=(0, 1.03))
    if two:
        x, y, _ = sklearn.metrics.roc_curve(pooled.targets, said)
        panels[1].plot(x, y, color=BLUE, label="all folds")
        panels[1].plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        panels[1].set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    for one in panels:
        plots.style(one)
    return figure
