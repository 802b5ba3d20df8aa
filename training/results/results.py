"""Writes what a run found: its split, metrics, predictions, sample pictures, settings and page.

The test set is looked at here, once, after everything is decided.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import re
import shutil
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from foundation import figures
from training import evaluation, loop, run
from training.config import RunConfig
from training.data.prepared import PreparedData
from training.results import report

logger = logging.getLogger(__name__)

HELD_OUT = ("validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """A trained run, before it is written down."""

    id: str
    config: RunConfig
    data: PreparedData
    fingerprint: str
    progress: loop.Progress
    timings: dict[str, float]
    """seconds a stage"""
    device: str


def write(folder: Path, model: keras.Model, made: Made) -> None:
    """Evaluates the model and writes the run's files; run.json last of all.

    Args:
        folder: of the run under way.
        model: holds the best weights.
        made: everything else.
    """
    started = time.monotonic()
    _write_data_tables(folder, made.data)
    predictor = evaluation.Predictor(model)
    answers = {
        name: predictor.probabilities(made.data.evaluation_batches(name)) for name in HELD_OUT
    }
    metrics = {
        name: evaluation.metrics(
            made.data.targets(name),
            probabilities,
            threshold=made.config.threshold,
            review_margin=made.config.review_margin,
        )
        for name, probabilities in answers.items()
    }
    figures.write_json(folder / run.METRICS, metrics)
    predictions = _predictions(made, answers)
    columns = [field.name for field in dataclasses.fields(run.Prediction)]
    run.write_table(folder / run.PREDICTIONS, predictions, columns)
    _write_samples(folder / run.SAMPLES, made, predictions)
    (folder / loop.BEST_WEIGHTS).replace(folder / run.WEIGHTS)
    made.timings["evaluation_s"] = time.monotonic() - started
    settings = _settings(made, model)
    figures.write_json(folder / run.SETTINGS, settings)
    report.write(run.load(folder), folder / run.REPORT)
    test = metrics["test"]
    logger.info(
        "test: ROC-AUC %s, accuracy %.3f, balanced %.3f, F1 %.3f on %d images",
        "-" if test["roc_auc"] is None else f"{test['roc_auc']:.3f}",
        test["accuracy"],
        test["balanced_accuracy"],
        test["f1"],
        test["count"],
    )


def _write_data_tables(folder: Path, data: PreparedData) -> None:
    @dataclasses.dataclass(frozen=True)
    class Row:
        path: str
        label: str
        split: str
        group: str
        pixels_sha256: str

    content = dict(zip(data.inspection.items, data.inspection.content))
    rows = [
        Row(item.path, item.label, name, item.group or "", content[item])
        for name, items in data.splits.items()
        for item in items
    ]
    rows.sort(key=lambda row: row.path)
    run.write_table(folder / run.SPLIT, rows, [field.name for field in dataclasses.fields(Row)])
    run.write_table(folder / run.SET_ASIDE, data.inspection.set_aside, ["path", "label", "reason"])


def _predictions(made: Made, answers: dict[str, np.ndarray]) -> list[run.Prediction]:
    names = made.data.dataset.class_names
    return [
        run.Prediction(
            path=item.path,
            split=split,
            label=item.label,
            probability=float(probability),
            predicted=names[int(probability >= made.config.threshold)],
        )
        for split in HELD_OUT
        for item, probability in zip(made.data.splits[split], answers[split])
    ]


def _write_samples(folder: Path, made: Made, predictions: list[run.Prediction]) -> None:
    """Copies one test image of each class, the one with the class's median probability.

    Something to try a server with: neither the best nor the worst of its class.
    """
    folder.mkdir(exist_ok=True)
    for label in made.data.dataset.class_names:
        of_class = sorted(
            (row for row in predictions if row.split == "test" and row.label == label),
            key=lambda row: row.probability,
        )
        source = made.data.dataset.root / of_class[len(of_class) // 2].path
        name = re.sub(r"[^\w.-]", "_", label)
        shutil.copyfile(source, folder / f"{name}{source.suffix.lower()}")


def _settings(made: Made, model: keras.Model) -> dict[str, Any]:
    dataset = made.data.dataset
    return {
        "id": made.id,
        "config": dataclasses.asdict(made.config),
        "classes": dataset.class_names,
        "data": {
            "source": dataset.source,
            "root": str(dataset.root.resolve()),
            "licence": dataset.licence,
            "fingerprint": made.fingerprint,
            "images": {name: len(items) for name, items in made.data.splits.items()},
            "set_aside": len(made.data.inspection.set_aside),
        },
        "model": {"architecture": made.config.architecture, "weights": model.count_params()},
        "training": {
            "epochs": made.progress.next_epoch,
            "best_epoch": made.progress.best_epoch + 1,
            "history": made.progress.history,
        },
        "versions": run.package_versions(),
        "commit": figures.git_commit(),
        "machine": figures.machine(),
        "strategy": made.device,
        "timings": made.timings,
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
