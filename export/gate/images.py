"""The images a gate may judge by: labelled ones that neither version has seen in training.

Versions name their run, and a run lists every image with its split and the hash of its pixels.
Where the runs split the same images differently, an image that one of them only tested on may have
been in the other's training set, in another format even: so it is the pixels that count.
TensorFlow is imported only where images are given that belong to no run.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export import versions
from foundation.command_line import InputError
from tfs_client import contract
from training import run
from training.comparing.paired import LEAST_OF_A_CLASS
from training.data import dataset

logger = logging.getLogger("export.gate")

LEAST_IMAGES = 20
_TRAINED_ON = ("train", "validation")
"""Validation chose the epoch, so it is part of training here."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Version:
    """A standing version and the run it was made of."""

    number: int
    folder: Path
    card: dict[str, Any]
    made: run.Run

    @property
    def class_names(self) -> tuple[str, ...]:
        """K of them, as the version's own card says; of two, negative, positive."""
        return _class_names(self.card)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
    """One held-out image."""

    file: Path
    path: str
    """as its run or its manifest names it"""
    label: str
    place: int
    """of its class among those of HeldOut; of two 1 is the positive one"""
    pixels_sha256: str
    source: str
    """the run or the folder it comes from"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The images, and what was left out."""

    images: tuple[Image, ...]
    class_names: tuple[str, ...]
    """K of them; of two, negative, positive"""
    left_out: dict[str, int]
    """why -> how many"""

    def by_class(self) -> dict[str, int]:
        """How many images of each class."""
        counts = collections.Counter(image.place for image in self.images)
        return {name: counts[place] for place, name in enumerate(self.class_names)}

    def summary(self) -> dict[str, Any]:
        """JSON-ready."""
        positives = sum(image.place == 1 for image in self.images)
        return {
            "images": len(self.images),
            "by_class": self.by_class(),
            **({"positives": positives} if len(self.class_names) == 2 else {}),
            "sources": dict(collections.Counter(image.source for image in self.images)),
            "left_out": self.left_out,
        }


def load_version(model_folder: Path, number: int, runs: Path) -> Version:
    """Reads a version's card and its run.

    Raises:
        InputError: the version, its card or its run is not there; says what to do.
    """
    folder = model_folder / str(number)
    standing = versions.versions(model_folder)
    if number not in standing:
        raise InputError(
            f"Expected one of the versions in {model_folder}. Received: {number}; there "
            f"{'is ' + ', '.join(map(str, standing)) if standing else 'is none'}. Export one: "
            "make export"
        )
    if not (folder / "saved_model.pb").is_file():
        raise InputError(
            f"Expected a SavedModel in {folder}. Received: no saved_model.pb there. Export the "
            "version again: make export AGAIN=1"
        )
    card = versions.model_card(folder)
    try:
        run_id, names = card["run"], _class_names(card)
    except (TypeError, KeyError):
        raise InputError(
            f"Expected {folder / contract.MODEL_CARD} to name the run and the classes. Received: "
            "none that does. Export the version again: make export AGAIN=1"
        ) from None
    where = runs / str(run_id)
    if not where.is_dir():
        raise InputError(
            f"Expected the run of version {number}, because it lists what the version was trained "
            f"on. Received: {where} does not exist. Bring it back, or give its folder with --runs."
        )
    few = " | ".join(names[:10]) + (" | …" if len(names) > 10 else "")
    logger.info("version %d: run %s, classes %s", number, run_id, few)
    return Version(number=number, folder=folder, card=card, made=run.load(where))


def _class_names(card: dict[str, Any]) -> tuple[str, ...]:
    """As a card has them; one from before there could be more than two has these alone.

    Raises:
        KeyError, TypeError: it names none.
    """
    of_two = card.get("classes")
    return (of_two["negative"], of_two["positive"]) if of_two else tuple(card["class_names"])


def comparable(both: Sequence[Version]) -> bool:
    """Whether the answers of the versions can be held against each other.

    Two classes of other names can: the positive one stands for the positive one. Of more than two,
    the names must be the same, in whatever order.
    """
    names = [set(version.class_names) for version in both]
    return all(len(one) == 2 for one in names) or all(one == names[0] for one in names)


def held_out(both: Sequence[Version], data: str | None = None) -> HeldOut:
    """Collects the images that no version was trained on.

    Args:
        both: the versions that will be asked. The classes are those of the last one; of the first,
            whose images alone are taken then, where the answers cannot be compared.
        data: a folder or a manifest of labelled images; None: the test splits of the runs.

    Returns:
        each picture once, in the order of source and path.

    Raises:
        InputError: too few images are left, one class is, or files are gone.
    """
    reference = both[-1].class_names
    of_images = both
    if not comparable(both):
        reference, of_images = both[0].class_names, both[:1]
    listed = {version.made.id: (version, version.made.split_rows()) for version in both}
    seen_pixels: set[str] = set()
    seen_groups: set[str] = set()
    for _, rows in listed.values():
        for row in rows:
            if row["split"] in _TRAINED_ON:
                seen_pixels.add(row["pixels_sha256"])
                seen_groups.add(row["group"])
    seen_groups.discard("")
    if data is None:
        found = [
            _of_run(version, row, reference)
            for version, rows in listed.values()
            for row in rows
            if row["split"] == "test" and version in of_images
        ]
    else:
        found = _of_folder(data, both, reference)
    left_out: collections.Counter[str] = collections.Counter()
    labels: dict[str, set[int]] = collections.defaultdict(set)
    for image, _ in found:
        labels[image.pixels_sha256].add(image.place)
    kept: dict[str, Image] = {}
    for image, group in found:
        if image.pixels_sha256 in seen_pixels:
            left_out["a version was trained on it"] += 1
        elif group in seen_groups:
            left_out["a version was trained on its group"] += 1
        elif len(labels[image.pixels_sha256]) > 1:
            left_out["it is listed with several labels"] += 1
        elif image.pixels_sha256 in kept:
            left_out["it is listed twice"] += 1
        else:
            kept[image.pixels_sha256] = image
    made = HeldOut(images=tuple(kept.values()), class_names=reference, left_out=dict(left_out))
    _check_enough(made, data)
    return made


def _of_run(version: Version, row: dict[str, str], reference: tuple[str, ...]) -> tuple[Image, str]:
    names = version.made.class_names
    return (
        Image(
            file=version.made.file(row["path"]),
            path=row["path"],
            label=row["label"],
            place=place_of(row["label"], names, reference),
            pixels_sha256=row["pixels_sha256"],
            source=version.made.id,
        ),
        row["group"],
    )


def _of_folder(
    data: str, both: Sequence[Version], reference: tuple[str, ...]
) -> list[tuple[Image, str]]:
    found = dataset.find(data, positive=reference[1] if len(reference) == 2 else None)
    if set(found.class_names) != set(reference):
        raise InputError(
            f"Expected the classes {_listed(reference)} in {data}. Received: "
            f"{_listed(found.class_names)}. Name the labels as the model does."
        )
    from foundation import quiet_tensorflow

    quiet_tensorflow.import_tensorflow(keras=False)
    from training.data import inspection  # decodes as training does: its hashes are of those pixels

    limit = max(version.made.config.max_pixels for version in both)
    looked = inspection.inspect(found, max_pixels=limit, max_broken_share=1.0)
    for file in looked.set_aside:
        logger.warning("left out: %s: %s", file.path, file.reason)
    return [
        (
            Image(
                file=found.file(item),
                path=item.path,
                label=item.label,
                place=reference.index(item.label),
                pixels_sha256=key,
                source=found.source,
            ),
            item.group or "",
        )
        for item, key in zip(looked.items, looked.content)
    ]


def _listed(names: Sequence[str]) -> str:
    """For people: all names, or the first ones of many."""
    if len(names) <= 10:
        return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
    return f"{', '.join(names[:10])} and {len(names) - 10} more"


def place_of(label: str, own: tuple[str, ...], reference: tuple[str, ...]) -> int:
    """The place of a label's class in the reference; -1 where it means none of them.

    By its name, where both use the same names (in whatever order); of two classes with other names
    by its place among its own.
    """
    names = own if len(own) == len(reference) == 2 and set(own) != set(reference) else reference
    return names.index(label) if label in names else -1


def sample(images: Sequence[Image], count: int) -> list[int]:
    """Up to so many images, spread evenly, with equal numbers of all classes as far as they go.

    The class with the fewest images decides how narrow the interval is.

    Returns:
        indices, ascending.
    """
    by_class: dict[int, list[int]] = collections.defaultdict(list)
    for index, image in enumerate(images):
        by_class[image.place].append(index)
    chosen: list[int] = []
    left = count
    # What a small class does not use up is for the larger ones.
    for number, of_class in enumerate(sorted(by_class.values(), key=len)):
        wanted = min(len(of_class), max(left // (len(by_class) - number), LEAST_OF_A_CLASS))
        left -= wanted
        spread = np.linspace(0, len(of_class) - 1, max(wanted, LEAST_OF_A_CLASS))
        chosen += [of_class[round(position)] for position in spread]
    return sorted(set(chosen))


def _check_enough(held_out: HeldOut, data: str | None) -> None:
    counts = held_out.by_class()
    if len(held_out.images) >= LEAST_IMAGES and min(counts.values()) >= LEAST_OF_A_CLASS:
        return
    reasons = "; ".join(
        f"{count} left out because {why}" for why, count in held_out.left_out.items()
    )
    advice = (
        "Give images of their own, which no version was trained on: --data folder"
        if data is None
        else "Add labelled images that no version was trained on"
    )
    fewest = sorted(counts.items(), key=lambda one: one[1]) if len(counts) > 2 else counts.items()
    told = ", ".join(f"{count} of {name}" for name, count in list(fewest)[:5])
    raise InputError(
        f"Expected at least {LEAST_IMAGES} held-out images, and {LEAST_OF_A_CLASS} of each class. "
        f"Received: {len(held_out.images)}, {told}"
        f"{' (' + reasons + ')' if reasons else ''}. {advice}."
    )
