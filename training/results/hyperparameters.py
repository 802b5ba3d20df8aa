"""A run's settings and figures for TensorBoard's HPARAMS page, which compares runs by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import tensorflow as tf
from tensorboard.plugins.hparams import api

from training import run
from training.config import RunConfig

FIGURES: Final = ("balanced_accuracy", "roc_auc", "log_loss")
"""Of validation and of test."""

NOT_SHOWN: Final = ("data", "runs")
"""Where things lie is not what a run is compared by."""


def write(folder: Path, name: str, config: RunConfig, metrics: Mapping[str, Any]) -> None:
    """Adds them to the run's learning curves.

    Args:
        folder: of the run.
        name: of the run.
        config: its settings; one that is None is left out.
        metrics: as in metrics.json.
    """
    settings = {
        setting: value
        for setting, value in dataclasses.asdict(config).items()
        if isinstance(value, (bool, int, float, str)) and setting not in NOT_SHOWN
    }
    writer = tf.summary.create_file_writer(str(folder / run.TENSORBOARD))
    with writer.as_default(step=0):
        api.hparams(settings, trial_id=name)
        for split in run.HELD_OUT:
            for figure in FIGURES:
                if metrics[split][figure] is not None:
                    tf.summary.scalar(f"held_out/{split}_{figure}", metrics[split][figure])
    writer.close()
