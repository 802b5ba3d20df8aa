"""Finds images and labels: in a folder, in a manifest, or in the sample set.

    dataset = find("my_images/", positive="defective")

Says what is there and what is wrong with the listing, and fingerprints the files. Does not decode a
picture (training/data/inspection.py does) and does not split (training/data/split.py does).
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import hashlib
import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from foundation.command_line import InputError
from foundation.digests import file_digest
from tfs_client import contract

SPLITS = ("train", "validation", "test")

SAMPLE_SET = "the sample set ELPV (elpv-dataset)"
SAMPLE_LICENCE = "CC-BY-NC-SA-4.0: not for commercial use"

POSITIVE_WORDS = frozenset(
    "abnormal anomalous anomaly bad broken damaged defect defective defects fail failed faulty "
    "ng nok pos positive true yes 1".split()
)
"""Class names that say of themselves that they are the positive one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One labelled image file."""

    path: str
    """relative to the dataset's root, with forward slashes"""
    label: str
    group: str | None = None
    """images of one group (one part, one patient) stay in one split"""
    split: str | None = None
    """train, validation or test where the manifest fixes it"""
    stratum: str
    """what the split keeps in proportion; the label, or finer"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled image files of two classes."""

    source: str
    """for people: where it came from"""
    root: Path
    class_names: tuple[str, str]
    """negative, positive"""
    items: tuple[Item, ...]
    """sorted by path"""
    licence: str | None = None

    def file(self, item: Item) -> Path:
        """Where the item lies."""
        return self.root / item.path

    def target(self, item: Item) -> int:
        """1 for the positive class, else 0."""
        return self.class_names.index(item.label)


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
        items.append(Item(path=path, label=label, stratum=f"{cell_type} {probability}"))
    return Dataset(
        source=SAMPLE_SET,
        licence=SAMPLE_LICENCE,
        root=root,
        class_names=_class_names({"sound", "defective"}, positive),
        items=tuple(sorted(items, key=lambda item: item.path)),
    )


def _folder(root: Path, positive: str | None) -> Dataset:
    labels = sorted(
        entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    layout = f"Expected two sub-folders in {root}, one a class, each with images."
    if len(labels) != 2:
        found = ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "") or "none"
        raise InputError(
            f"{layout} Received: {len(labels)} sub-folders ({found}). Put the images of each class "
            "into a folder of its name, or list them in a CSV manifest (path,label)."
        )
    items = [
        Item(path=file.relative_to(root).as_posix(), label=label, stratum=label)
        for label in labels
        for file in sorted((root / label).rglob("*"))
        if file.suffix.lower() in contract.IMAGE_SUFFIXES and file.is_file()
    ]
    counts = collections.Counter(item.label for item in items)
    empty = [label for label in labels if not counts[label]]
    if empty:
        raise InputError(
            f"{layout} Received: no image in {', '.join(empty)}. Looked for "
            f"{' '.join(contract.IMAGE_SUFFIXES)} files."
        )
    return Dataset(
        source=str(root),
        root=root,
        class_names=_class_names(set(labels), positive),
        items=tuple(sorted(items, key=lambda item: item.path)),
    )


def _manifest(path: Path, positive: str | None) -> Dataset:
    root = path.parent
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    items: dict[str, Item] = {}
    lines: dict[str, int] = {}
    first_line_of_label: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            columns = reader.fieldnames or []
            if not {"path", "label"} <= set(columns):
                raise InputError(
                    f"Expected {path} to begin with the columns path and label (optional: split, "
                    f"group), separated by {'tabs' if delimiter != ',' else 'commas'}. Received: "
                    f"{delimiter.join(columns) or 'nothing'}."
                )
            for row in reader:
                item = _manifest_item(path, reader.line_num, row, root)
                if item.path in items:
                    raise InputError(
                        f"Expected each path once in {path}. Received: {item.path} on lines "
                        f"{lines[item.path]} and {reader.line_num}. Remove one."
                    )
                items[item.path] = item
                lines[item.path] = reader.line_num
                first_line_of_label.setdefault(item.label, reader.line_num)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"Expected {path} to be a UTF-8 text table. Received: {error}. Save it as UTF-8 "
            f"{'TSV' if delimiter != ',' else 'CSV'}."
        ) from error
    if len(first_line_of_label) != 2:
        counts = collections.Counter(item.label for item in items.values())
        found = ", ".join(
            f"{label} ({counts[label]} images, first on line {line})"
            for label, line in sorted(first_line_of_label.items())
        )
        raise InputError(
            f"Expected two labels in {path}. Received: {len(first_line_of_label)}"
            f"{': ' + found if found else ''}. Correct or remove the lines of the unknown ones."
        )
    return Dataset(
        source=str(path),
        root=root,
        class_names=_class_names(set(first_line_of_label), positive),
        items=tuple(sorted(items.values(), key=lambda item: item.path)),
    )


def _manifest_item(manifest: Path, line: int, row: dict[str, str | None], root: Path) -> Item:
    path, label, split, group = (
        (row.get(column) or "").strip() for column in ("path", "label", "split", "group")
    )
    if not path or not label:
        raise InputError(
            f"Expected a path and a label on line {line} of {manifest}. Received: "
            f"path={path!r}, label={label!r}."
        )
    if not (root / path).is_file():
        raise InputError(
            f"Expected every path in {manifest} to be a file, relative to {root}/. Received: "
            f"{path} on line {line}, which does not exist. Correct the path or remove the line."
        )
    if split and split not in SPLITS:
        raise InputError(
            f"Expected split to be {' | '.join(SPLITS)} or empty. Received: {split} on line {line} "
            f"of {manifest}."
        )
    path = Path(os.path.normpath(path)).as_posix()  # ./a.png and a.png are one file
    return Item(path=path, label=label, split=split or None, group=group or None, stratum=label)


def _class_names(labels: set[str], positive: str | None) -> tuple[str, str]:
    """Negative first, positive second; the same for the same names, whatever the counts are."""
    if positive is None:
        named = [label for label in labels if label.lower() in POSITIVE_WORDS]
        positive = named[0] if len(named) == 1 else max(labels)
    if positive not in labels:
        raise InputError(
            f"Expected the positive class to be one of {', '.join(sorted(labels))}. Received: "
            f"{positive}."
        )
    (negative,) = labels - {positive}
    return negative, positive


def _thinned(dataset: Dataset, max_images: int) -> Dataset:
    """Every k-th image of each class, at least one of each."""
    share = max_images / len(dataset.items)
    if share >= 1:
        return dataset
    kept: list[Item] = []
    for label in dataset.class_names:
        of_class = [item for item in dataset.items if item.label == label]
        count = max(1, round(share * len(of_class)))
        kept += [of_class[index * len(of_class) // count] for index in range(count)]
    return dataclasses.replace(dataset, items=tuple(sorted(kept, key=lambda item: item.path)))
