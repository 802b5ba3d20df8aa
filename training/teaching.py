"""A larger run's answers to the training images, from which a smaller one learns.

Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from foundation.command_line import InputError
from training import architectures, run
from training.data import pipeline
from training.data.prepared import PreparedData
from training.learning import evaluation

logger = logging.getLogger(__name__)


def answers(teacher: run.Run, data: PreparedData) -> NDArray[np.float32]:
    """The teacher's calibrated probabilities of the training images.

    Args:
        teacher: a run of the same classes.
        data: of the run that learns.

    Returns:
        float32 [N, K], in the order of the split.

    Raises:
        InputError: the teacher learned from images that are held out here.
    """
    _check_apart(teacher, data)
    logger.info("asking the teacher, %s, about the training images", teacher.id)
    model = architectures.trained_model(teacher)
    files = data.files("train")
    pixels = pipeline.pixels(files, [0] * len(files), teacher.config)
    batches = pipeline.scaled_batches(pixels, teacher.config)
    said = evaluation.Predictor(model).probabilities(batches)
    return teacher.decision.answers(said).scores


def _check_apart(teacher: run.Run, data: PreparedData) -> None:
    """The figures of the run would else be those of images that it knows by its teacher."""
    content = dict(zip(data.inspection.items, data.inspection.content))
    held = {content[item] for name in run.HELD_OUT for item in data.splits[name]}
    learned = {row["pixels_sha256"] for row in teacher.split_rows() if row["split"] == "train"}
    if held & learned:
        raise InputError(
            f"Expected a teacher that has not learned from the images that this run holds out. "
            f"Received: {teacher.id}, which learned from {len(held & learned)} of {len(held)}. "
            "Train it with the same images, shares, folds and --seed."
        )
