"""What training is to answer: the labels, or probabilities in their place.

Validation and test are always held against the labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from foundation.command_line import InputError
from training.config import TEACHER_SHARE, RunConfig
from training.data.items import Dataset, Item


def of(
    dataset: Dataset,
    items: Sequence[Item],
    config: RunConfig,
    taught: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """The targets of training images, as the settings say.

    Args:
        dataset: which the items are of.
        items: N training images.
        config: soft labels, smoothing, teacher, mixup.
        taught: a teacher's probabilities, float32 [N, K].

    Returns:
        float32 [N], places of classes (of two classes, the positive one's probability); [N, K]
        where there are more than two and something spreads the target over them.

    Raises:
        InputError: soft labels are asked for, and the images have none.
    """
    count = len(dataset.class_names)
    places = np.array([dataset.target(item) for item in items], np.float32)
    spread = taught is not None or config.label_smoothing or config.mixup
    if count > 2 and not spread and not config.soft_labels:
        return places
    shares = np.zeros((len(items), count), np.float32)
    if config.soft_labels:
        positive = _probabilities(dataset, items)
        shares[:, 0], shares[:, 1] = 1 - positive, positive
    else:
        shares[np.arange(len(items)), places.astype(int)] = 1
    if taught is not None:
        share = TEACHER_SHARE if config.teacher_share is None else config.teacher_share
        shares = (1 - share) * shares + share * taught
    smoothing = config.label_smoothing or 0.0
    shares = (1 - smoothing) * shares + smoothing / count
    return shares[:, 1].astype(np.float32) if count == 2 else shares.astype(np.float32)


def weights(dataset: Dataset, items: Sequence[Item]) -> NDArray[np.float32]:
    """How much an image of each class weighs where all classes are to weigh the same: [K]."""
    counts = np.bincount(
        [dataset.target(item) for item in items], minlength=len(dataset.class_names)
    )
    return (len(items) / len(counts) / counts).astype(np.float32)


def _probabilities(dataset: Dataset, items: Sequence[Item]) -> NDArray[np.float32]:
    if len(dataset.class_names) > 2:
        raise InputError(
            f"Expected two classes for --soft-labels. Received: {len(dataset.class_names)}. A "
            "probability is that of the positive one. Leave --soft-labels out."
        )
    without = [item for item in items if item.probability is None]
    if without:
        raise InputError(
            "Expected a probability of 0 to 1 of every image for --soft-labels, in the manifest's "
            f"column probability. Received: {len(without)} images without, the first "
            f"{without[0].path}. Add them, or leave --soft-labels out."
        )
    found = np.array([item.probability for item in items], np.float32)
    if found.max() == 0 or found.min() == 1:
        raise InputError(
            f"Expected probabilities of both kinds for --soft-labels. Received: {found[0]:g} of "
            f"all {len(found)} training images. Leave --soft-labels out."
        )
    positive = np.array([dataset.target(item) == 1 for item in items])
    if positive.any() and found[positive].mean() < found[~positive].mean():
        raise InputError(
            f"Expected probabilities of {dataset.class_names[1]}, the positive class. Received: "
            f"lower ones for it ({found[positive].mean():.2f} on average) than for "
            f"{dataset.class_names[0]} ({found[~positive].mean():.2f}). Name the class that they "
            "are of with --positive."
        )
    return found


def digest(dataset: Dataset) -> str:
    """Names the soft labels of a dataset, as hexadecimal digits."""
    said = repr([(item.path, item.probability) for item in dataset.items])
    return hashlib.sha256(said.encode()).hexdigest()


def check_teacher(name: str, theirs: tuple[str, ...], ours: tuple[str, ...]) -> None:
    """Checks that a teacher means the same by its numbers.

    Args:
        name: the teacher's.
        theirs: its classes.
        ours: the classes of the run that learns from it.

    Raises:
        InputError: they are others, or in another order.
    """
    if theirs != ours:
        raise InputError(
            f"Expected a teacher of the classes {', '.join(ours)}. Received: {name}, of "
            f"{', '.join(theirs)}. Name a run of the same classes, in this order."
        )
