"""Reads a manifest: a table with columns path and label, maybe split, group and probability."""

from __future__ import annotations

import collections
import csv
import os
from pathlib import Path

from foundation import cells
from foundation.command_line import InputError
from training.data.class_names import MOST_CLASSES
from training.data.folder import SPLIT_NAMES
from training.data.items import SPLITS, Item

OWN = ("path", "label", "split", "group", "probability", "pixels_sha256")
"""Columns that say something to training; of a run's split.csv, too."""


def read(path: Path) -> tuple[Item, ...]:
    """The images that a manifest lists, of two labels or more.

    Args:
        path: of the table; the paths in it are relative to its folder, or absolute.

    Raises:
        InputError: the table cannot be read or used; names the line.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    items: dict[str, Item] = {}
    lines: dict[str, tuple[int, str]] = {}
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
                # A run's split.csv is a manifest, too.
                item = _item(path, reader.line_num, cells.texts_of(row))
                # By the file itself: relative, absolute and through a link it is one picture.
                real = os.path.realpath(path.parent / item.path)
                if real in items:
                    line, name = lines[real]
                    other = "" if name == item.path else f" and {name}, the same file,"
                    raise InputError(
                        f"Expected each path once in {path}. Received: {item.path}{other} on lines "
                        f"{line} and {reader.line_num}. Remove one."
                    )
                items[real] = item
                lines[real] = reader.line_num, item.path
                first_line_of_label.setdefault(item.label, reader.line_num)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"Expected {path} to be a UTF-8 text table. Received: {error}. Save it as UTF-8 "
            f"{'TSV' if delimiter != ',' else 'CSV'}."
        ) from error
    if not 2 <= len(first_line_of_label) <= MOST_CLASSES:
        counts = collections.Counter(item.label for item in items.values())
        found = ", ".join(
            f"{label} ({counts[label]} images, first on line {line})"
            for label, line in sorted(first_line_of_label.items())[:5]
        ) + (", ..." if len(first_line_of_label) > 5 else "")
        raise InputError(
            f"Expected two to {MOST_CLASSES} labels in {path}. Received: "
            f"{len(first_line_of_label)}{': ' + found if found else ''}. Give each image the name "
            "of its class as its label."
        )
    return tuple(sorted(items.values(), key=lambda item: item.path))


def _item(manifest: Path, line: int, row: dict[str, str | None]) -> Item:
    root = manifest.parent
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
    if split and split.casefold() not in SPLIT_NAMES:
        raise InputError(
            f"Expected split to be {' | '.join(SPLITS)} or empty. Received: {split} on line {line} "
            f"of {manifest}."
        )
    return Item(
        path=_relative(path, root),
        label=label,
        split=SPLIT_NAMES[split.casefold()] if split else None,
        group=group or None,
        probability=_probability(row.get("probability")),
        columns=tuple(
            (name, value.strip())
            for name, value in row.items()
            if isinstance(value, str) and value.strip() and name and name not in OWN
        ),
        stratum=label,
    )


def _probability(text: str | None) -> float | None:
    """None of what is none: the column may be about something else, unless it is asked for."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def _relative(path: str, root: Path) -> str:
    """./a.png, and /where/it/is/a.png, as a.png: the same data are the same wherever they lie."""
    if Path(path).is_relative_to(root.absolute()):
        path = os.path.relpath(path, root.absolute())
    return Path(os.path.normpath(path)).as_posix()
