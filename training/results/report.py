"""A run as one self-contained HTML page: figures, plots, and the pictures it got wrong.

Reads the run from disk. A plot or a picture that cannot be shown is said in words: see page.drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import sklearn.metrics

from foundation.pages import page, plots
from foundation.pages.palette import BLUE, GREY, INK, ORANGE
from training import run
from training.data.class_names import MOST_IN_A_TABLE
from training.data.thumbnails import thumbnail
from training.decision import calibration, chance
from training.decision.decision import Decision

TEMPLATE = Path(__file__).with_name("report.html")
MISTAKES_SHOWN = 12

CONFUSIONS_SHOWN = 20
"""Where there is no whole table of them: the most frequent ones."""


def write(made: run.Run, path: Path) -> None:
    """Writes the page of a run, or one that says why there is none: the run counts more."""
    try:
        values = _values(made)
    except Exception as error:
        page.write_instead(path, error)
    else:
        page.write(path, TEMPLATE, **values)


def _values(made: run.Run) -> dict[str, Any]:
    """What the template names."""
    predictions = made.predictions()
    test = [row for row in predictions if row.split == "test"]
    metrics = made.metrics()
    return {
        "origin": page.Origin(
            command=made.settings.get("command"),  # older runs have none
            commit=made.settings["commit"],
            machine=made.settings.get("machine"),
            started=made.settings.get("started"),
            finished=made.settings["finished"],
        ),
        "run": made.settings,
        "metrics": metrics,
        "decision": made.decision,
        "doubts": chance.doubts(metrics["test"]),
        "classes": made.class_names,
        "settings": sorted(made.settings["config"].items()),
        "curves": page.drawn("Learning curves", _learning_curves, made),
        "many": len(made.class_names) > 2,
        "most_in_a_table": MOST_IN_A_TABLE,
        "confused": _confused(metrics["test"]["confusion_matrix"], made.class_names),
        "roc": page.drawn(
            "ROC curve, and precision by recall",
            _roc_and_precision_recall,
            made.class_names[1],
            predictions,
        )
        if len(made.class_names) == 2
        else "",
        "reliability": page.drawn(
            "Reliability: what probabilities say, and what was true", _reliability, made
        ),
        "histogram": page.drawn(
            "Histogram of the test images by probability", _histogram, made, test
        ),
        "mistakes": _mistakes(made, test),
    }


def _learning_curves(made: run.Run) -> matplotlib.figure.Figure:
    training, two = made.settings["training"], len(made.class_names) == 2
    history = training["history"]
    epochs = [row["epoch"] for row in history]
    figure, (loss, auc) = plots.panels(3.2, columns=2)
    loss.plot(epochs, [row["loss"] for row in history], color=GREY, label="training")
    loss.plot(epochs, [row["validation_loss"] for row in history], color=BLUE, label="validation")
    loss.set(title="Loss (cross-entropy)", xlabel="epoch")
    areas = [row["validation_roc_auc"] for row in history]
    auc.plot(epochs, [np.nan if a is None else a for a in areas], color=BLUE, label="ROC-AUC")
    auc.plot(
        epochs,
        [row["validation_accuracy"] for row in history],
        color=ORANGE,
        label="accuracy at 0.5" if two else "accuracy",
    )
    auc.set(title="Validation", xlabel="epoch")
    for ax in (loss, auc):
        ax.axvline(training["best_epoch"], color=INK, linewidth=0.8, linestyle=":")
        plots.style(ax)
    return figure


def _confused(confusion: list[list[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The most frequent mistakes: what an image is, what was said, and how often."""
    found = [
        {"truth": names[row], "said": names[column], "count": count}
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(found, key=lambda one: -one["count"])[:CONFUSIONS_SHOWN]


def _reliability(made: run.Run) -> matplotlib.figure.Figure:
    """Of two classes the positive one's probability, of more the likeliest one's."""
    figure, (ax,) = plots.panels(3.8)
    for split, color in (("validation", GREY), ("test", BLUE)):
        rows = [row for row in made.predictions() if row.split == split]
        if len(made.class_names) == 2:
            said = np.array([row.scores[1] for row in rows])
            true = made.targets(rows)
        else:
            said = np.array([max(row.scores) for row in rows])
            true = np.array([row.label == row.predicted for row in rows], int)
        bins = calibration.reliability(true, said)
        ax.plot(
            [one.probability for one in bins],
            [one.share for one in bins],
            "o-",
            color=color,
            label=split,
        )
    ax.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="perfect")
    two = len(made.class_names) == 2
    ax.set(
        title="Reliability, as many images in each point",
        xlabel=f"probability of {plots.name(made.class_names[1])}"
        if two
        else "probability of the answer",
        ylabel=f"share that is {plots.name(made.class_names[1])}" if two else "share that is right",
        ylim=(0, 1.03),
    )
    plots.style(ax)
    return figure


def _roc_and_precision_recall(
    positive: str, predictions: Sequence[run.Prediction]
) -> matplotlib.figure.Figure:
    figure, (roc, pr) = plots.panels(3.8, columns=2)
    for split, color in (("validation", GREY), ("test", BLUE)):
        rows = [row for row in predictions if row.split == split]
        targets = [row.label == positive for row in rows]
        scores = [row.probability for row in rows]
        roc.plot(*sklearn.metrics.roc_curve(targets, scores)[:2], color=color, label=split)
        precision, recall, _ = sklearn.metrics.precision_recall_curve(targets, scores)
        pr.plot(recall, precision, color=color, label=split)
    roc.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="guessing")
    roc.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    pr.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.03))
    for ax in (roc, pr):
        plots.style(ax)
    return figure


def _histogram(made: run.Run, test: Sequence[run.Prediction]) -> matplotlib.figure.Figure:
    if not isinstance(made.decision, Decision):
        return _histogram_of_many(made.decision.least_top, test)
    figure, (ax,) = plots.panels(3.0)
    bins = np.linspace(0, 1, 41)
    for label, color in zip(made.class_names, (GREY, ORANGE)):
        scores = [row.probability for row in test if row.label == label]
        ax.hist(scores, bins, color=color, alpha=0.75, label=plots.name(label))
    decision = made.decision
    ax.axvline(decision.threshold, color=INK, linewidth=1, label="threshold")
    ax.axvspan(
        decision.review.low,
        decision.review.high,
        color=BLUE,
        alpha=0.12,
        label="needs review",
    )
    ax.set(
        title="Test images by probability",
        xlabel=f"probability of {plots.name(made.class_names[1])}",
        ylabel="images",
        xlim=(0, 1),
    )
    plots.style(ax)
    return figure


def _histogram_of_many(
    least_top: float, test: Sequence[run.Prediction]
) -> matplotlib.figure.Figure:
    figure, (ax,) = plots.panels(3.0)
    bins = np.linspace(0, 1, 41)
    for wrong, color in ((False, GREY), (True, ORANGE)):
        scores = [row.probability for row in test if (row.label != row.predicted) is wrong]
        ax.hist(scores, bins, color=color, alpha=0.75, label="wrong" if wrong else "right")
    ax.axvspan(0, min(least_top, 1), color=BLUE, alpha=0.12, label="needs review")
    ax.set(
        title="Test images by the probability of the answer",
        xlabel="probability of the answer",
        ylabel="images",
        xlim=(0, 1),
    )
    plots.style(ax)
    return figure


def _mistakes(made: run.Run, test: Sequence[run.Prediction]) -> list[dict[str, Any]]:
    """The test images that the run was most sure of and got wrong."""
    wrong = [row for row in test if row.label != row.predicted]
    decision = made.decision
    middle = decision.threshold if isinstance(decision, Decision) else 0.0
    wrong.sort(key=lambda row: -abs(row.probability - middle))
    return [
        {
            "row": row,
            "picture": page.pictured(
                f"{row.path}, which is {row.label} and was taken for {row.predicted}",
                _thumbnail,
                made,
                row.path,
            ),
        }
        for row in wrong[:MISTAKES_SHOWN]
    ]


def _thumbnail(made: run.Run, path: str) -> np.ndarray:
    return thumbnail(made.file(path), made.config.max_pixels)
