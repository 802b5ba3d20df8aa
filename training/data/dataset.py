"""Finds images and labels: in a folder, in a manifest, or in the sample set.

    dataset = find("my_images/", positive="defective")

Says what is there and what is wrong with the listing, and fingerprints the files. Does not decode a
picture (training/data/inspection.py does) and does not split (training/data/split.py does).
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from foundation.command_line import InputError
from foundation.digests import file_digest
from training.data import class_names, folder, manifest
from training.data.items import SPLITS, Dataset, Item, SetAside

__all__ = ["SPLITS", "Dataset", "Item", "SetAside", "find", "fingerprint", "sample_set_folder"]

SAMPLE_SET = "the sample set ELPV (elpv-dataset)"
SAMPLE_LICENCE = "CC-BY-NC-SA-4.0: not for commercial use"

_Any = TypeVar("_Any")


def find(data: str | None, positive: str | None = None, max_images: int | None = None) -> Dataset:
    """Finds the dataset that a run's settings name.

    Args:
        data: a folder with one sub-folder a class, a .csv or .tsv manifest; None: the sample set.
        positive: name of the positive class; see RunConfig.positive.
        max_images: keep only so many, in the classes' proportions, the same ones each time.

    Raises:
        InputError: the listing cannot be used; says what is wrong and what to do.
    """
    if data is None:
        dataset = _sample_set(positive)
    else:
        path = Path(data)
        if path.is_dir():
            dataset = _folder(path, positive)
        elif path.is_file():
            dataset = _manifest(path, positive)
        else:
            raise InputError(
                f"Expected a folder of images or a CSV/TSV manifest. Received: {data}, which does "
                "not exist. Give an existing one, or none for the sample set."
            )
    return _thinned(dataset, max_images) if max_images else dataset


def sample_set_folder() -> Path:
    """Where the sample set lies: labels.csv and images/; found without importing its package.

    Raises:
        InputError: it is not installed.
    """
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "Expected the package elpv-dataset, which holds the sample images. Received: not "
            "installed. Run `make setup`, or use images of your own."
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 over every file's content, path, label, group and fixed split, as hexadecimal digits.

    The same data gives the same fingerprint wherever it lies.
    """
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) * 2)) as pool:
        hashes = pool.map(lambda item: file_digest(dataset.file(item)), dataset.items)
        whole = hashlib.sha256(repr(dataset.class_names).encode())
        for item, content in zip(dataset.items, hashes):
            whole.update(repr((item.path, item.label, item.group, item.split, content)).encode())
    return whole.hexdigest()


def _sample_set(positive: str | None) -> Dataset:
    """ELPV: solar cells by electroluminescence; defective means a defect probability >= 0.5.

    Buerhop-Lutz et al., "A Benchmark for Visual Identification of Defective Solar Cells in
    Electroluminescence Imagery", EU PVSEC 2018.
    """
    root = sample_set_folder()
    items = []
    for line in (root / "labels.csv").read_text(encoding="utf-8").splitlines():
        path, probability, cell_type = line.split()
        label = "defective" if float(probability) >= 0.5 else "sound"
        items.append(
            Item(
                path=path,
                label=label,
                probability=float(probability),
                columns=(("cell_type", cell_type),),
                stratum=f"{cell_type} {probability}",
            )
        )
    names, how = class_names.choose({"sound", "defective"}, positive)
    return Dataset(
        source=SAMPLE_SET,
        licence=SAMPLE_LICENCE,
        root=root,
        class_names=names,
        positive_by=how,
        items=tuple(sorted(items, key=lambda item: item.path)),
    )


def _folder(root: Path, positive: str | None) -> Dataset:
    found = folder.read(root)
    names, how = class_names.choose(set(found.labels), positive)
    return Dataset(
        source=str(root),
        root=root,
        class_names=names,
        positive_by=how,
        items=found.items,
        left_out=found.left_out,
        other_files=found.other_files,
    )


def _manifest(path: Path, positive: str | None) -> Dataset:
    items = manifest.read(path)
    names, how = class_names.choose({item.label for item in items}, positive)
    return Dataset(
        source=str(path), root=path.parent, class_names=names, positive_by=how, items=items
    )


def _thinned(dataset: Dataset, max_images: int) -> Dataset:
    """Every k-th image of each class, at least one of each; as many of those that are left out."""
    share = max_images / len(dataset.items)
    if share >= 1:
        return dataset
    kept: list[Item] = []
    for label in dataset.class_names:
        of_class = [item for item in dataset.items if item.label == label]
        kept += _spread(of_class, max(1, round(share * len(of_class))))
    return dataclasses.replace(
        dataset,
        items=tuple(sorted(kept, key=lambda item: item.path)),
        left_out=tuple(_spread(dataset.left_out, round(share * len(dataset.left_out)))),
    )


def _spread(things: Sequence[_Any], count: int) -> list[_Any]:
    return [things[index * len(things) // count] for index in range(count)]
