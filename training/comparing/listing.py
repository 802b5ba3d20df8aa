"""All runs of a folder beside each other: their figures, and the settings in which they differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from foundation.command_line import InputError
from training import run
from training.config import WHERE_NOT_WHAT

FIGURES: Final = ("roc_auc", "balanced_accuracy", "accuracy", "log_loss")
"""Of each split; the first three are better where they are higher."""

BY_TIME: Final = "finished"
ORDERS: Final = (BY_TIME, *FIGURES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One run."""

    run: str
    latest: bool
    """runs/latest names it"""
    finished: str
    """ISO 8601"""
    seconds: float | None
    """that training and evaluation took; None where it was not recorded"""
    answer_ms: float | None
    """processor time of one answer, without decoding; None where it was not measured"""
    data: str
    fingerprint: str
    images: dict[str, int]
    """split -> how many"""
    classes: tuple[str, ...]
    decision: str
    """what the present one was asked for"""
    metrics: dict[str, dict[str, Any]]
    """split -> as in metrics.json, under the present decision"""
    settings: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """With FIGURES and their intervals alone."""
        shown = (*FIGURES, "intervals", "roc_auc_interval")
        return {
            **dataclasses.asdict(self),
            "metrics": {
                split: {name: found[name] for name in shown if name in found}
                for split, found in self.metrics.items()
            },
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """The runs of a folder."""

    rows: tuple[Row, ...]
    broken: dict[str, str]
    """name -> why a run is not listed"""

    def differing(self) -> dict[str, list[Any]]:
        """Classes, images (a fingerprint) and settings in which the runs differ.

        Returns:
            name -> each run's value, in the rows' order.
        """
        settings = [
            {"classes": _named(row.classes), "images": row.fingerprint[:12], **row.settings}
            for row in self.rows
        ]
        names = list(dict.fromkeys(name for own in settings for name in own))
        values = {name: [own.get(name) for own in settings] for name in names}
        return {name: found for name, found in values.items() if any(v != found[0] for v in found)}


def _named(classes: Sequence[str]) -> str:
    return ", ".join(classes) if len(classes) <= 5 else f"{len(classes)}"


def collect(runs: Path, order: str = BY_TIME) -> Listing:
    """Reads all whole runs of a folder.

    Args:
        runs: the folder.
        order: one of ORDERS: the newest first, or the best first by a figure of validation.

    Raises:
        InputError: there is no such folder, or no run in it.
    """
    if not runs.is_dir():
        raise InputError(
            f"Expected a folder of runs. Received: {runs}, which is none. Train first: make train"
        )
    latest = (runs / run.LATEST).resolve()
    rows, broken = [], {}
    for settings in sorted(runs.glob(f"[!.]*/{run.SETTINGS}")):
        folder = settings.parent
        if folder.is_symlink():
            continue
        try:
            rows.append(_row(run.load(folder), latest))
        except Exception as error:  # whatever ails one run, the others are listed
            broken[folder.name] = str(error) or type(error).__name__
    if not rows:
        why = "".join(f"; {name}: {reason}" for name, reason in broken.items())
        raise InputError(f"Expected runs in {runs}. Received: none{why}. Train first: make train")
    return Listing(rows=tuple(_sorted(rows, order)), broken=broken)


def _sorted(rows: Sequence[Row], order: str) -> list[Row]:
    if order == BY_TIME:
        return sorted(rows, key=lambda row: row.finished, reverse=True)

    def goodness(row: Row) -> float:
        value = row.metrics["validation"][order]
        if value is None:
            return -float("inf")
        return -value if order == "log_loss" else value

    return sorted(rows, key=goodness, reverse=True)


def _row(made: run.Run, latest: Path) -> Row:
    settings = {
        name: value for name, value in made.settings["config"].items() if name not in WHERE_NOT_WHAT
    }
    timings = made.settings.get("timings", {})
    return Row(
        run=made.id,
        latest=made.path == latest,
        finished=made.settings["finished"],
        seconds=sum(value for name, value in timings.items() if name.endswith("_s")) or None,
        answer_ms=timings.get("answer_processor_ms"),
        data=made.settings["data"]["source"],
        fingerprint=made.settings["data"]["fingerprint"],
        images=dict(made.settings["data"]["images"]),
        classes=made.class_names,
        decision=made.decision.target,
        metrics=made.metrics(),
        settings=settings,
    )
