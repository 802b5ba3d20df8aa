"""Writes what a run found: its split, metrics, predictions, sample pictures, settings and page.

The test set is looked at here, once, after everything is decided.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import logging
import re
import shutil
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.src.saving import saving_lib

from foundation import figures, files
from foundation.command_line import InputError
from training import backbones, publication, run
from training.config import RunConfig
from training.data.prepared import PreparedData
from training.decision import chance, choice, slices
from training.decision.decision import AnyDecision
from training.learning import evaluation, loop
from training.results import decided, hyperparameters

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A trained run, before it is written down."""

    id: str
    config: RunConfig
    data: PreparedData
    fingerprint: str
    weights: str | None
    """SHA-256 of the backbone's file; None without a backbone"""
    progress: loop.Progress
    timings: dict[str, float]
    """seconds a stage"""
    device: str
    command: str
    """as it was typed; after an interruption, the one that went on"""
    started: str
    """ISO 8601: when that command began"""


def write(folder: Path, model: keras.Model, trained: TrainedRun) -> None:
    """Evaluates the model and writes the run's files; run.json last of all.

    Args:
        folder: of the run under way.
        model: holds the best weights.
        trained: everything else.

    Raises:
        InputError: an answer to a held-out image is not finite.
        OSError: a file cannot be written. The checkpoints stay: --resume goes on from there.
    """
    started = time.monotonic()
    _write_data_tables(folder, trained.data)
    predictor = evaluation.Predictor(model)
    answers = {
        name: predictor.probabilities(trained.data.evaluation_batches(name))
        for name in run.HELD_OUT
    }
    _check_finite(answers, trained)
    decision = choice.by_text(trained.data.targets("validation"), answers["validation"])
    predictions = _predictions(trained, answers, decision)
    publication.write_predictions(folder, predictions, trained.data.dataset.class_names)
    _write_samples(folder / run.SAMPLES, trained, predictions)
    write_weights(folder / run.WEIGHTS, model)
    trained.timings["evaluation_s"] = time.monotonic() - started
    trained.timings["answer_processor_ms"] = predictor.processor_ms()
    settings = _settings(trained, model)
    figures.write_json(folder / run.SETTINGS, settings)
    metrics = decided.write(run.load(folder), decision)
    hyperparameters.write(folder, trained.id, trained.config, metrics)
    test = metrics["test"]
    shown = {
        "ROC-AUC": test["roc_auc"],
        "accuracy": test["accuracy"],
        "balanced": test["balanced_accuracy"],
        "F1": test["f1"] if "f1" in test else test["macro_f1"],
    }
    figures_told = (f"{name} {_three_digits(value)}" for name, value in shown.items())
    logger.info("test: %s on %d images", ", ".join(figures_told), test["count"])
    for one in slices.told(test["slices"]):
        logger.warning("worse than the rest of the test images: %s", one)
    if unkept := choice.unkept_review(decision, metrics["validation"]):
        logger.warning("%s", unkept)
    for doubt in chance.doubts(test):
        logger.warning("not shown to be better than guessing by the test images: %s", doubt)


def _three_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _check_finite(answers: dict[str, np.ndarray], trained: TrainedRun) -> None:
    for name, probabilities in answers.items():
        wrong = int(np.sum(~np.isfinite(probabilities).all(axis=1)))
        if wrong:
            raise InputError(
                f"Expected probabilities of all {name} images. Received: {wrong} of "
                f"{len(probabilities)} are not finite, after epoch "
                f"{trained.progress.best_epoch + 1}. Lower --learning-rate."
            )


class _Memory(io.BytesIO):
    """A file in memory; Keras takes only a name that ends in .weights.h5."""

    def __str__(self) -> str:
        return "memory.weights.h5"


def write_weights(path: Path, model: keras.Model) -> None:
    """Saves the weights by way of memory: HDF5 crashes the process where it meets a full disk.

    Raises:
        OSError: there is no room, for one.
    """
    memory = _Memory()
    saving_lib.save_weights_only(model, memory)
    files.write(path, memory.getvalue())


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
    columns = {item.path: dict(item.columns) for item in content}
    publication.write_split(folder, [dataclasses.asdict(row) | columns[row.path] for row in rows])
    publication.write_table(
        folder / run.SET_ASIDE, data.inspection.set_aside, ["path", "label", "reason"]
    )


def _predictions(
    trained: TrainedRun, answers: dict[str, np.ndarray], decision: AnyDecision
) -> list[run.Prediction]:
    held = [
        run.Held(item.path, split, item.label)
        for split in run.HELD_OUT
        for item in trained.data.splits[split]
    ]
    probabilities = np.concatenate([answers[split] for split in run.HELD_OUT])
    return run.answered(held, probabilities, decision, trained.data.dataset.class_names)


def _write_samples(folder: Path, trained: TrainedRun, predictions: list[run.Prediction]) -> None:
    """Copies one test image of each class, the one with the class's median probability.

    Something to try a server with: neither the best nor the worst of its class. Each has its
    class's name, with a number where the names of both come out the same.
    """
    folder.mkdir(exist_ok=True)
    labels = trained.data.dataset.class_names
    names = [re.sub(r"[^\w.-]", "_", label).lstrip(".")[:60] or "_" for label in labels]
    # also where a file system takes a for A
    if len({name.casefold() for name in names}) < len(names):
        names = [f"{name}_{index}" for index, name in enumerate(names)]
    for label, name in zip(labels, names):
        of_class = sorted(
            (row for row in predictions if row.split == "test" and row.label == label),
            key=lambda row: row.probability,
        )
        source = trained.data.dataset.root / of_class[len(of_class) // 2].path
        shutil.copyfile(source, folder / f"{name}{source.suffix.lower()}")


def _settings(trained: TrainedRun, model: keras.Model) -> dict[str, Any]:
    dataset, config = trained.data.dataset, trained.config
    diverged = trained.progress.diverged_epoch
    return {
        "id": trained.id,
        "config": dataclasses.asdict(config),
        "classes": dataset.class_names,
        "data": {
            "source": dataset.source,
            "root": str(dataset.root.resolve()),
            "licence": dataset.licence,
            "fingerprint": trained.fingerprint,
            "images": {name: len(items) for name, items in trained.data.splits.items()},
            "set_aside": len(trained.data.inspection.set_aside),
            "odd": [dataclasses.asdict(kind) for kind in trained.data.inspection.odd],
        },
        "model": {
            "architecture": config.name,
            "weights": model.count_params(),
            "backbone": config.backbone
            and backbones.described(config.backbone, config.backbone_cut, str(trained.weights)),
        },
        "training": {
            "epochs": trained.progress.next_epoch,
            "best_epoch": trained.progress.best_epoch + 1,
            "diverged_epoch": None if diverged is None else diverged + 1,
            "history": trained.progress.history,
        },
        "versions": publication.package_versions(),
        "command": trained.command,
        "commit": figures.git_commit(),
        "machine": figures.machine(),
        "strategy": trained.device,
        "timings": trained.timings,
        "started": trained.started,
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
