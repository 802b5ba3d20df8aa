"""The pages of runs beside each other: all of a folder, or two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib.figure
import numpy as np
from numpy.typing import NDArray

from foundation.pages import page, plots
from foundation.pages.page import Origin
from foundation.pages.palette import BLUE, GREY, INK
from training import run
from training.comparing.comparison import Compared
from training.comparing.listing import FIGURES, Listing

RUNS_TEMPLATE: Final = Path(__file__).with_name("runs.html")
COMPARED_TEMPLATE: Final = Path(__file__).with_name("compared.html")
DISAGREEMENTS_SHOWN: Final = 40

NAMES: Final = {
    "roc_auc": "ROC-AUC",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "log_likelihood": "log likelihood of the right class",
}
"""Figures, for people."""


def write_runs(path: Path, listing: Listing, origin: Origin) -> None:
    """Writes the page of all runs; it links to each one's own, relative to `path`."""
    page.write(
        path,
        RUNS_TEMPLATE,
        origin=origin,
        rows=listing.rows,
        broken=listing.broken,
        differing=listing.differing(),
        figures=[(name, NAMES[name]) for name in FIGURES],
        report=run.REPORT,
        accuracies=page.drawn(
            "Accuracy on the test images, with its interval", _accuracies, listing
        ),
    )


def _accuracies(listing: Listing) -> matplotlib.figure.Figure:
    figure, (ax,) = plots.panels(0.3 * len(listing.rows) + 1.0)
    rows = listing.rows[::-1]
    for split, color in (("validation", GREY), ("test", BLUE)):
        found = [row.metrics[split]["accuracy"] for row in rows]
        ax.plot(found, range(len(rows)), "o", color=color, label=split)
        if split == "test":
            bounds = np.array([row.metrics[split]["intervals"]["accuracy"] for row in rows])
            ax.hlines(range(len(rows)), *bounds.T, color=color, linewidth=1)
    ax.set_yticks(range(len(rows)), [row.run for row in rows])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set(title="Accuracy, with 95 % intervals of the test", xlabel="accuracy")
    plots.style(ax, "x")
    return figure


def write_compared(
    path: Path, compared: Compared, runs: tuple[run.Run, run.Run], origin: Origin
) -> None:
    """Writes the page of two runs."""
    page.write(
        path,
        COMPARED_TEMPLATE,
        origin=origin,
        compared=compared,
        names=NAMES,
        differences=page.drawn("Differences, with their bounds", _differences, compared),
        disagreements=[
            {"row": one, "picture": page.pictured(one.path, picture, runs[0], one.path)}
            for one in compared.disagreements[:DISAGREEMENTS_SHOWN]
        ],
    )


def _differences(compared: Compared) -> matplotlib.figure.Figure:
    figure, (ax,) = plots.panels(0.4 * len(compared.figures) + 1.0)
    names = list(compared.figures)[::-1]
    found = [compared.figures[name] for name in names]
    ax.plot([one.difference for one in found], range(len(found)), "o", color=BLUE)
    ax.hlines(
        range(len(found)), [one.lower for one in found], [one.upper for one in found], color=BLUE
    )
    ax.axvline(0, color=INK, linewidth=0.8, linestyle=":")
    ax.set_yticks(range(len(found)), [NAMES[name] for name in names])
    ax.set_ylim(-0.6, len(found) - 0.4)
    ax.set(title=f"{plots.name(compared.b)} less {plots.name(compared.a)}")
    ax.set_xlabel("difference; to the right, the second one is better")
    plots.style(ax, "x")
    return figure


def picture(made: run.Run, path: str) -> NDArray[Any]:
    """A run's image as a page shows it: uint8 [h, w, 3]."""
    from training.data.thumbnails import thumbnail  # TensorFlow: the list of runs needs none

    found: NDArray[Any] = thumbnail(made.file(path), made.config.max_pixels)
    return found
