"""A gate's verdict as one self-contained HTML page: checks, both versions, where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import sklearn.metrics

from export.gate.child import Evidence
from export.gate.figures import CANDIDATE, STABLE, Beside
from export.gate.images import Image, Version
from foundation import quiet_tensorflow
from foundation.pages import numbers, page, plots
from foundation.pages.palette import BLUE, GREY, INK, ORANGE
from training.data.class_names import MOST_IN_A_TABLE

TEMPLATE = Path(__file__).with_name("gate.html")
DISAGREEMENTS_SHOWN = 40
COLORS = {CANDIDATE: BLUE, STABLE: GREY}

OF_TWO = (
    ("balanced_accuracy", "balanced accuracy", "not_worse.balanced_accuracy"),
    ("roc_auc", "ROC-AUC", "not_worse.roc_auc"),
    ("pr_auc", "PR-AUC", ""),
    ("accuracy", "accuracy", ""),
    ("f1", "F1", ""),
    ("precision", "precision", ""),
    ("recall", "recall", ""),
    ("log_loss", "log loss", ""),
    ("review_share", "share that needs review", ""),
)
"""Figure, its name for people, and the check that compares it."""

OF_MANY = (
    ("balanced_accuracy", "balanced accuracy (macro recall)", "not_worse.balanced_accuracy"),
    # The check compares log likelihoods: its bounds have the other sign.
    ("log_loss", "log loss", ""),
    ("accuracy", "accuracy", ""),
    ("macro_f1", "macro F1", ""),
    ("macro_precision", "macro precision", ""),
    ("roc_auc", "ROC-AUC, each class against the rest, mean", ""),
    ("review_share", "share that needs review", ""),
)


def write(
    path: Path,
    verdict: dict[str, Any],
    asked: dict[str, Version],
    images: Sequence[Image],
    evidence: Evidence,
    beside: Beside | None,
) -> None:
    """Writes the page.

    Args:
        path: of the page.
        verdict: as it is written to gate.json.
        asked: "candidate", and "stable" if there is one.
        images: the held-out ones.
        evidence: for the latencies.
        beside: the answers; None where there are none, and then there are no plots.
    """
    checks = {check["name"]: check for check in verdict["checks"]}
    names = {who: f"version {version.number}" for who, version in asked.items()}
    page.write(
        path,
        TEMPLATE,
        origin=page.Origin(
            command=verdict["command"],
            commit=verdict["commit"],
            machine=verdict["machine"],
            started=verdict["started"],
            finished=verdict["time"],
        ),
        verdict=verdict,
        checks=checks,
        names=names,
        runs={who: version.made.id for who, version in asked.items()},
        classes=asked[CANDIDATE].class_names,
        most_in_a_table=MOST_IN_A_TABLE,
        compared=[
            (text, name, checks.get(check))
            for name, text, check in (OF_MANY if len(asked[CANDIDATE].class_names) > 2 else OF_TWO)
        ],
        scores=page.drawn(
            "Probabilities of the right class" if beside.many else "ROC curves, and probabilities",
            _likelihoods if beside.many else _scores,
            beside,
            names,
        )
        if beside
        else None,
        robustness=page.drawn(
            "Balanced accuracy by corruption",
            _robustness,
            checks["robust"]["detail"],
            names,
            1 / len(asked[CANDIDATE].class_names),
        )
        if "corruptions" in checks["robust"]["detail"]
        else None,
        latency=page.drawn("Histogram of the latencies", _latency, evidence, names)
        if evidence.arrays
        else None,
        both_answered=beside is not None and STABLE in beside.held_out,
        disagreements=_with_pictures(
            verdict["disagreements"][:DISAGREEMENTS_SHOWN],
            images,
            max(version.made.config.max_pixels for version in asked.values()),
        ),
    )


def _scores(beside: Beside, names: dict[str, str]) -> matplotlib.figure.Figure:
    """ROC curves, and probability against probability (or by class, where there is one version)."""
    figure, (roc, other) = plots.panels(4.2, columns=2)
    rows = beside.usable
    truth = beside.truth[rows] == 1
    if truth.any() and not truth.all():
        for who, one in reversed(beside.held_out.items()):
            x, y, _ = sklearn.metrics.roc_curve(truth, one.scores[rows])
            roc.plot(x, y, color=COLORS[who], label=names[who], linewidth=1.6)
    roc.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="guessing")
    roc.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    candidate = beside.held_out[CANDIDATE].answers.probability[rows]
    for positive, color, label in ((False, GREY, "negative"), (True, ORANGE, "positive")):
        chosen = truth == positive
        if STABLE in beside.held_out:
            stable = beside.held_out[STABLE].answers.probability[rows]
            other.scatter(
                stable[chosen], candidate[chosen], s=9, color=color, alpha=0.6, label=label
            )
        else:
            bins = np.linspace(0, 1, 31)
            other.hist(candidate[chosen], bins, color=color, alpha=0.7, label=label)
    if STABLE in beside.held_out:
        other.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        other.set(title="Probability of each image", xlabel=names[STABLE], ylabel=names[CANDIDATE])
        other.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    else:
        other.set(title="Images by probability", xlabel="probability", ylabel="images")
    for ax in (roc, other):
        plots.style(ax)
    return figure


def _likelihoods(beside: Beside, names: dict[str, str]) -> matplotlib.figure.Figure:
    """The probability of the right class, by one version and by the other."""
    figure, (ax,) = plots.panels(4.2)
    rows = beside.usable
    candidate = beside.held_out[CANDIDATE]
    for right, color in ((True, GREY), (False, ORANGE)):
        chosen = rows & (candidate.right == right)
        label = f"{names[CANDIDATE]} is {'right' if right else 'wrong'}"
        own = candidate.likelihoods[chosen]
        if STABLE in beside.held_out:
            stable = beside.held_out[STABLE].likelihoods[chosen]
            ax.scatter(stable, own, s=9, color=color, alpha=0.6, label=label)
        else:
            ax.hist(own, np.linspace(0, 1, 31), color=color, alpha=0.7, label=label)
    ax.set_title("Probability of the right class, an image a dot")
    if STABLE in beside.held_out:
        ax.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        ax.set(xlabel=names[STABLE], ylabel=names[CANDIDATE], xlim=(-0.02, 1.02))
        ax.set(ylim=(-0.02, 1.02))
    else:
        ax.set(title="Images by the probability of the right class", xlabel="probability")
        ax.set_ylabel("images")
    plots.style(ax)
    return figure


def _robustness(
    detail: dict[str, Any], names: dict[str, str], guessing: float
) -> matplotlib.figure.Figure:
    figure, (ax,) = plots.panels(3.8)
    labels = ["clean"] + [row["corruption"].replace("_", " ") for row in detail["corruptions"]]
    labels.append("mean of corruptions")
    names = {who: name for who, name in names.items() if who in detail["mean"]}
    places = np.arange(len(labels))
    width = 0.8 / len(names)
    for index, who in enumerate(reversed(names)):  # stable on the left, as it came first
        values = [detail["clean"][who]]
        values += [row[who] for row in detail["corruptions"]] + [detail["mean"][who]]
        at = places + (index - (len(names) - 1) / 2) * width
        bars = ax.bar(at, values, width, color=COLORS[who], label=names[who])
        if not plots.is_narrow():
            ax.bar_label(bars, fmt="%.2f", fontsize=7, padding=1)
    ax.axhline(guessing, color=INK, linewidth=0.8, linestyle=":")
    if plots.is_narrow():
        ax.set_xticks(places, labels, fontsize=8, rotation=90)
    else:
        ax.set_xticks(places, [label.replace(" ", "\n") for label in labels], fontsize=8)
    ax.set(ylabel="balanced accuracy", ylim=(0, 1.06))
    plots.style(ax, "y")
    return figure


def _latency(evidence: Evidence, names: dict[str, str]) -> matplotlib.figure.Figure:
    figure, (ax,) = plots.panels(2.8)
    spent = {who: evidence.latency_ms(who) for who in names}
    every = np.concatenate(list(spent.values()))
    low, high = every.min(), np.percentile(every, 99)
    bins = np.linspace(low, max(high, low * 1.01), 61)
    for who, values in reversed(spent.items()):
        label = f"{names[who]}: median {numbers.amount(np.median(values), 'ms')}"
        # what is slower than the last bin counts in it
        ax.hist(values.clip(max=bins[-1]), bins, color=COLORS[who], alpha=0.65, label=label)
        ax.axvline(np.median(values), color=COLORS[who], linewidth=1.4)
    ax.set(xlabel="ms for one file; the last bar holds the slowest 1 % too", ylabel="calls")
    plots.style(ax)
    return figure


def _with_pictures(
    rows: Sequence[dict[str, Any]], images: Sequence[Image], max_pixels: int
) -> list[dict[str, Any]]:
    if not rows:
        return []
    quiet_tensorflow.import_tensorflow(keras=False)
    from training.data.thumbnails import thumbnail

    files = {image.pixels_sha256: image.file for image in images}
    return [
        row
        | {
            "picture": page.pictured(
                f"{row['path']}, which is {row['truth']}",
                thumbnail,
                files[row["pixels_sha256"]],
                max_pixels=max_pixels,
            )
        }
        for row in rows
    ]
