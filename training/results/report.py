"""A run as one self-contained HTML page: figures, plots, and the pictures it got wrong.

Reads the run from disk. A plot or a picture that cannot be shown is said in words: see page.drawn.
"""

from __future__ import annotations

import collections
import os
import shlex
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foundation.pages import page
from training import run
from training.data.class_names import MOST_IN_A_TABLE
from training.data.thumbnails import thumbnail
from training.decision import chance
from training.decision.decision import Decision
from training.results import prices, run_plots

TEMPLATE = Path(__file__).with_name("report.html")
MISTAKES_SHOWN = 100
"""With their pictures; the page holds about ten kilobytes of each."""

MISTAKES_FIRST = 12
"""Of them, until one asks for more."""

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
        "name": shlex.quote(made.name),
        "metrics": metrics,
        "decision": made.decision,
        "doubts": chance.doubts(metrics["test"]),
        "classes": made.class_names,
        "settings": sorted(made.settings["config"].items()),
        "curves": page.drawn("Learning curves", run_plots.learning_curves, made),
        "many": len(made.class_names) > 2,
        "most_in_a_table": MOST_IN_A_TABLE,
        "confused": _confused(metrics["test"]["confusion_matrix"], made.class_names),
        "roc": page.drawn(
            "ROC curve, and precision by recall",
            run_plots.roc_and_precision_recall,
            made,
        )
        if len(made.class_names) == 2
        else "",
        "reliability": page.drawn(
            "Reliability: what probabilities say, and what was true", run_plots.reliability, made
        ),
        "histogram": page.drawn(
            "Histogram of the test images by probability", run_plots.histogram, made
        ),
        "prices": prices.prices(predictions, made.class_names[1], made.decision.threshold)
        if isinstance(made.decision, Decision)
        else None,
        **_mistakes(made, test),
    }


def _confused(confusion: list[list[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The most frequent mistakes: what an image is, what was said, and how often."""
    found = [
        {"truth": names[row], "said": names[column], "count": count}
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(found, key=lambda one: -one["count"])[:CONFUSIONS_SHOWN]


def _mistakes(made: run.Run, test: Sequence[run.Prediction]) -> dict[str, Any]:
    """The test images that the run got wrong, those first of which it was most sure."""
    wrong = [row for row in test if row.label != row.predicted]
    decision = made.decision
    middle = decision.threshold if isinstance(decision, Decision) else 0.0
    wrong.sort(key=lambda row: -abs(row.probability - middle))
    beside = made.columns()
    shown = [
        {
            "row": row,
            "kind": _kind(row),
            "beside": ", ".join(
                f"{name} {value}" for name, value in beside.get(row.path, {}).items()
            ),
            "address": _address(made, row.path),
            "picture": page.pictured(
                f"{row.path}, which is {row.label} and was taken for {row.predicted}",
                _thumbnail,
                made,
                row.path,
            ),
        }
        for row in wrong[:MISTAKES_SHOWN]
    ]
    return {
        "mistakes": shown,
        "wrong": len(wrong),
        "first": MISTAKES_FIRST,
        "beside": any(beside.values()),
        "kinds": collections.Counter(str(one["kind"]) for one in shown).most_common(),
    }


def _kind(row: run.Prediction) -> str:
    return f"is {row.label}, said {row.predicted}"


def _address(made: run.Run, path: str) -> str:
    """Of a picture, seen from the run's folder: both may have moved together."""
    file = Path(made.settings["data"]["root"]) / path
    return urllib.parse.quote(os.fsencode(os.path.relpath(file, made.path)))


def _thumbnail(made: run.Run, path: str) -> np.ndarray:
    return thumbnail(made.file(path), made.config.max_pixels)
