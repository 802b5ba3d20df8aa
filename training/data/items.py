"""What a dataset is made of: labelled files of two classes or more, and the files beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One labelled image file."""

    path: str
    """relative to the dataset's root, with forward slashes"""
    label: str
    group: str | None = None
    """images of one group (one part, one patient) stay in one split"""
    split: str | None = None
    """train, validation or test where a manifest or a folder of that name fixes it"""
    probability: float | None = None
    """of the positive class, 0-1, where somebody was unsure; see --soft-labels"""
    columns: tuple[tuple[str, str], ...] = ()
    """what else a manifest says of it: name and value; figures are told by these, too"""
    stratum: str
    """what the split keeps in proportion; the label, or finer"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetAside:
    """A file that is not used, and why."""

    path: str
    """relative to the dataset's root; bytes that are no UTF-8 are written as \\xff"""
    label: str
    """empty where it lies in no class's folder"""
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled image files of two classes or more."""

    source: str
    """for people: where it came from"""
    root: Path
    class_names: tuple[str, ...]
    """K of them; of two, negative, positive"""
    positive_by: str
    """how the positive class of two was chosen; see training/data/class_names.py"""
    items: tuple[Item, ...]
    """sorted by path"""
    left_out: tuple[SetAside, ...] = ()
    """what looks like a picture in the folder and is no item; sorted by path"""
    other_files: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """suffix -> how many files in the folder are no pictures"""
    licence: str | None = None

    def file(self, item: Item) -> Path:
        """Where the item lies."""
        return self.root / item.path

    def target(self, item: Item) -> int:
        """The place of its class, 0 to K-1: 1 for the positive class of two."""
        return self.class_names.index(item.label)
