"""A dataset made ready: inspected, split, and handed to the loop and to evaluation by split."""

from __future__ import annotations

import collections
import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from foundation.command_line import InputError
from foundation.text import did_you_mean
from training.config import RunConfig
from training.data import pipeline, targets
from training.data.inspection import Inspection
from training.data.items import SPLITS, Dataset, Item, SetAside
from training.data.split import blocks, open_splits, split, split_by_fold
from training.learning import loop

logger = logging.getLogger(__name__)

REASONS_TOLD = 6
"""In the log; set_aside.csv names them all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparedData:
    """Usable images, each in its split."""

    dataset: Dataset
    inspection: Inspection
    config: RunConfig
    splits: dict[str, tuple[Item, ...]]
    """train, validation, test"""

    def files(self, name: str) -> list[str]:
        """The files of a split, as paths."""
        return [str(self.dataset.file(item)) for item in self.splits[name]]

    def targets(self, name: str) -> np.ndarray:
        """The targets of a split: int [N], 0 to K-1; of two classes 1 for the positive one."""
        return np.array([self.dataset.target(item) for item in self.splits[name]], int)

    def training_targets(self, taught: np.ndarray | None = None) -> np.ndarray:
        """What training is to answer: float32 [N] or [N, K], see data/targets.py."""
        return targets.of(self.dataset, self.splits["train"], self.config, taught)

    @property
    def class_weights(self) -> np.ndarray | None:
        """float32 [K] of --balance-classes, None without it."""
        if not self.config.balance_classes:
            return None
        return targets.weights(self.dataset, self.splits["train"])

    def evaluation_batches(self, name: str) -> tf.data.Dataset:
        """A split in its order, for evaluation; decoded anew each time."""
        images = pipeline.pixels(self.files(name), self.targets(name), self.config)
        return pipeline.scaled_batches(images, self.config)

    def for_loop(self, cache: Path, taught: np.ndarray | None = None) -> loop.Data:
        """What training needs.

        Args:
            cache: folder for decoded images that do not fit into memory; does not exist yet.
            taught: a teacher's probabilities of the training images, float32 [N, K].

        Raises:
            InputError: soft labels are asked for, and the images have none.
        """
        wanted = self.training_targets(taught)
        cache.mkdir(parents=True)
        config = self.config
        count = len(self.splits["train"])
        order = pipeline.file_order(count, config)
        listed = self.files("train")
        files = [listed[index] for index in order]
        train = pipeline.pixels(files, wanted[order], config)
        train = pipeline.cached(train, count, config, cache / "train")
        validation = pipeline.pixels(self.files("validation"), self.targets("validation"), config)
        validation = pipeline.cached(
            validation, len(self.splits["validation"]), config, cache / "validation"
        )
        validation = pipeline.scaled_batches(validation, config)
        if config.validation_steps is not None:
            validation = validation.take(config.validation_steps)
        steps = math.ceil(count / config.batch_size)
        return loop.Data(
            epoch_batches=lambda epoch: pipeline.epoch_batches(train, count, epoch, config),
            steps=min(steps, config.steps_per_epoch or steps),
            validation=validation,
            validation_targets=self.targets("validation"),
            classes=len(self.dataset.class_names),
            class_weights=self.class_weights,
        )


def prepare(dataset: Dataset, inspection: Inspection, config: RunConfig) -> PreparedData:
    """Splits the usable images and says how.

    Raises:
        InputError: a split would lack a class; says which, and why.
    """
    how = {
        "train_share": config.train_share,
        "validation_share": config.validation_share,
        "seed": config.seed,
    }
    if config.fold is not None and config.folds is not None:
        names = split_by_fold(
            inspection.items, inspection.content, fold=config.fold, folds=config.folds, **how
        )
    else:
        names = split(inspection.items, inspection.content, **how)
    splits = {
        name: tuple(item for item, where in zip(inspection.items, names) if where == name)
        for name in SPLITS
    }
    for name, items in splits.items():
        for label in dataset.class_names:
            if not any(item.label == label for item in items):
                raise InputError(_without(label, name, inspection))
    logger.info("split: %s; seed=%d", _sizes(dataset, splits), config.seed)
    taken = open_splits(inspection.items)
    if taken:
        logger.info("nothing is fixed to %s: taken from train, by the shares", " or ".join(taken))
    if inspection.set_aside:
        logger.warning(
            "%d unusable files are set aside; the run names each one in set_aside.csv: %s",
            len(inspection.set_aside),
            _by_reason(inspection.set_aside),
        )
    return PreparedData(dataset=dataset, inspection=inspection, config=config, splits=splits)


def _by_reason(set_aside: Sequence[SetAside]) -> str:
    """How many files for each reason, in one line; sizes of single files count as one reason."""
    reasons = collections.Counter(file.reason.split("; w x h")[0] for file in set_aside)
    told = [f"{count} x {reason}" for reason, count in reasons.most_common(REASONS_TOLD)]
    others = len(reasons) - len(told)
    return "; ".join(told) + (f"; and {others} reasons more" if others else "")


def _sizes(dataset: Dataset, splits: dict[str, tuple[Item, ...]]) -> str:
    """For people: how many images of each class are in each split."""
    return ", ".join(
        f"{name}={len(items)} ("
        + ", ".join(
            f"{sum(item.label == label for item in items)} {label}" for label in dataset.class_names
        )
        + ")"
        for name, items in splits.items()
    )


def _without(label: str, name: str, inspection: Inspection) -> str:
    """Says why a class is missing in a split, and what to do."""
    items, content = inspection.items, inspection.content
    of_class = [item for item in items if item.label == label]
    groups = sum(
        any(items[index].label == label for index in block) for block in blocks(items, content)
    )
    fixed = [item.split for item in of_class if item.split]
    if len(fixed) == len(of_class):
        why = f"all {len(of_class)} are fixed to {' and '.join(sorted(set(fixed)))}"
        advice = f"Fix some of them to {name}, or leave their split open"
    elif groups < len(SPLITS):
        why = (
            f"its {len(of_class)} images form {groups} group{'s' * (groups != 1)}, and one group, "
            "or the same picture, is never torn apart"
        )
        advice = f"Add images of {label} from other groups, or divide the groups: it takes 3"
    else:
        why = f"{len(fixed)} of its {len(of_class)} images are fixed, too few groups are left"
        advice = f"Fix some of them to {name}, or fewer to the other splits"
    return (
        f"Expected images of every class in every split. Received: no {label} in {name}; {why}."
        f"{_misspelt(label, items)} {advice}."
    )


def _misspelt(label: str, items: Sequence[Item]) -> str:
    """A question, where a class of few images has a name much like that of a class of many.

    Not of two classes: each is meant, as ok and nok are.
    """
    counts = collections.Counter(item.label for item in items)
    if len(counts) == 2:
        return ""
    larger = [other for other, count in counts.items() if count > 10 * counts[label]]
    return did_you_mean(label, larger)
