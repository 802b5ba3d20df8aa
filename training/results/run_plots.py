"""Plots of a run: for its page, and for whoever looks at it in a notebook.

Each takes a run as `training.run.load` gives it, and returns a matplotlib figure of its own, that
no global state of pyplot knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.figure
import numpy as np
import sklearn.metrics

from foundation.pages import plots
from foundation.pages.palette import BLUE, GREY, INK, ORANGE
from training import run
from training.decision import calibration
from training.decision.decision import Decision


def learning_curves(made: run.Run) -> matplotlib.figure.Figure:
    """Loss and ROC-AUC by epoch; the dotted line is the epoch whose weights were kept."""
    training, two = made.settings["training"], len(made.class_names) == 2
    history = training["history"]
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) == 1 else None  # a line of one point is none
    figure, (loss, auc) = plots.panels(3.2, columns=2)
    loss.plot(epochs, [row["loss"] for row in history], color=GREY, marker=marker, label="training")
    validation = [row["validation_loss"] for row in history]
    loss.plot(epochs, validation, color=BLUE, marker=marker, label="validation")
    loss.set(title="Loss (cross-entropy)", xlabel="epoch")
    areas = [row["validation_roc_auc"] for row in history]
    areas = [np.nan if area is None else area for area in areas]
    auc.plot(epochs, areas, color=BLUE, marker=marker, label="ROC-AUC")
    auc.plot(
        epochs,
        [row["validation_accuracy"] for row in history],
        color=ORANGE,
        marker=marker,
        label="accuracy at 0.5" if two else "accuracy",
    )
    auc.set(title="Validation", xlabel="epoch")
    for ax in (loss, auc):
        ax.axvline(training["best_epoch"], color=INK, linewidth=0.8, linestyle=":")
        plots.style(ax)
    return figure


def reliability(made: run.Run) -> matplotlib.figure.Figure:
    """What probabilities say, and how often it was true.

    Of two classes the positive one's probability, of more the likeliest one's.
    """
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


def roc_and_precision_recall(made: run.Run) -> matplotlib.figure.Figure:
    """Both curves of a run of two classes, on validation and on test.

    Raises:
        ValueError: the run has more classes.
    """
    _, positive = made.class_names
    predictions = made.predictions()
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


def histogram(made: run.Run) -> matplotlib.figure.Figure:
    """The test images by probability, with what is decided by it.

    Of two classes the positive one's probability, of more that of the answer.
    """
    test = [row for row in made.predictions() if row.split == "test"]
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
