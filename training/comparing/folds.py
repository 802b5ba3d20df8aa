"""The runs of all folds as one: every image was tested once, by a run that did not train on it."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from training import run
from training.decision import choice
from training.decision.decision import Answers, AnyDecision, Decision

REPORTED: Final = ("roc_auc", "balanced_accuracy", "accuracy", "log_loss", "calibration_error")

LEAST_DOUBT: Final = 0.9
"""Probability of another class than the label's, from which on the label is doubted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """One figure over several runs."""

    values: tuple[float | None, ...]
    mean: float | None
    """None where a run has none"""
    deviation: float | None
    """standard deviation; None of a single run"""
    interval: tuple[float, float] | None
    """of the mean, 95 %, by Student's t. The folds share most of their training images, so that it
    is somewhat too narrow (Nadeau and Bengio, Machine Learning 52, 2003)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doubt:
    """An image whose label may be wrong."""

    made: run.Run
    path: str
    label: str
    said: str
    probability: float
    """of what was said, 0-1, calibrated"""


def spreads(runs: Sequence[run.Run], decisions: Sequence[AnyDecision]) -> dict[str, Spread]:
    """The test figures over the runs, each under a decision of its own."""
    tests = [made.metrics(decision)["test"] for made, decision in zip(runs, decisions)]
    return {
        name: spread([test[name] for test in tests], math.inf if name == "log_loss" else 1.0)
        for name in REPORTED
    }


def spread(values: Sequence[float | None], most: float = 1.0, least: float = 0.0) -> Spread:
    """Mean, standard deviation and interval of a figure between `least` and `most`."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Spread(values=tuple(values), mean=None, deviation=None, interval=None)
    mean = statistics.mean(known)
    if len(known) == 1:
        return Spread(values=tuple(values), mean=mean, deviation=None, interval=None)
    deviation = statistics.stdev(known)
    reach = float(scipy.stats.t.ppf(0.975, len(known) - 1)) * deviation / math.sqrt(len(known))
    return Spread(
        values=tuple(values),
        mean=mean,
        deviation=deviation,
        interval=(max(mean - reach, least), min(mean + reach, most)),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Together:
    """The answers to all test images of several runs."""

    class_names: tuple[str, ...]
    rows: tuple[run.Prediction, ...]
    targets: NDArray[np.int_]
    """int [N]"""
    answers: Answers
    columns: tuple[dict[str, str], ...]
    """of each image, what the manifest said of it beside"""

    def metrics(self) -> dict[str, Any]:
        """As metrics.json of one run, but that each run has a threshold of its own."""
        from training.decision import metrics, metrics_of_many, slices

        if len(self.class_names) == 2:
            found = metrics.metrics(self.targets, self.answers)
        else:
            found = metrics_of_many.metrics_of_many(self.targets, self.answers, self.class_names)
        taken, left_out = slices.columns(self.columns)
        found["slices"] = slices.slices(self.targets, self.answers, self.columns, taken)
        found["not_sliced_by"] = left_out
        return found


def together(runs: Sequence[run.Run], decisions: Sequence[AnyDecision]) -> Together:
    """Puts the test sets of runs of the same classes one behind the other."""
    names = runs[0].class_names
    rows = [
        row
        for made, decision in zip(runs, decisions)
        for row in made.predictions(decision)
        if row.split == "test"
    ]
    places = {name: place for place, name in enumerate(names)}
    columns = {path: said for made in runs for path, said in made.columns().items()}
    return Together(
        class_names=names,
        rows=tuple(rows),
        targets=runs[0].targets(rows),
        answers=Answers(
            scores=np.array([row.scores for row in rows], np.float32),
            decided=np.array([places[row.predicted] for row in rows], int),
            review=np.array([row.review for row in rows], bool),
        ),
        columns=tuple(columns.get(row.path, {}) for row in rows),
    )


def doubted_labels(runs: Sequence[run.Run]) -> list[Doubt]:
    """Images of which a run that did not train on them is sure that they are of another class.

    The surest first. Not every one is a wrong label: some are pictures that no model reads.
    """
    found = []
    for made in runs:
        for row in made.predictions():
            sure = max(row.scores)
            said = made.class_names[row.scores.index(sure)]
            if row.split == "test" and said != row.label and sure >= LEAST_DOUBT:
                found.append(
                    Doubt(made=made, path=row.path, label=row.label, said=said, probability=sure)
                )
    return sorted(found, key=lambda doubt: -doubt.probability)


def decisions(runs: Sequence[run.Run], asked: str | None) -> list[AnyDecision]:
    """How each run answers: as it has decided, or by another target, on its validation images.

    Raises:
        InputError: no such target, or a run's validation images cannot show what is asked for.
    """
    if asked is None:
        return [made.decision for made in runs]
    found = []
    for made in runs:
        rows = [row for row in made.predictions() if row.split == "validation"]
        found.append(choice.by_text(made.targets(rows), run.model_scores(rows), asked))
    return found


def thresholds(decided: Sequence[AnyDecision]) -> list[float] | None:
    """The thresholds of two classes; None of more."""
    found = [one.threshold for one in decided if isinstance(one, Decision)]
    return found if len(found) == len(decided) else None
