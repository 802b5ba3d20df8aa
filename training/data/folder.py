"""Reads a folder of images: the classes, fixed splits, and what in it is no usable picture.

    my_images/ok/…, my_images/nok/…                      one sub-folder a class
    my_images/train/ok/…, my_images/test/nok/…           the same in fixed splits
    my_images/ok/train/…, my_images/nok/test/…           likewise

Hidden files and folders are not looked at, at any depth, and no link to a folder below a class is
followed. Everything else that looks like a picture is either an item or left out with a reason.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from foundation.command_line import InputError
from tfs_client import contract
from training.data.class_names import MOST_CLASSES
from training.data.items import Item, SetAside

logger = logging.getLogger(__name__)

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of folders, and of manifests' splits, in lower case -> the split that they fix."""

OTHER_FORMATS = frozenset(
    ".apng .avif .cr2 .dcm .dng .emf .eps .exr .heic .heif .ico .j2k .jp2 .jpx .jxl .nef .pbm .pcx "
    ".pgm .pic .pnm .ppm .psd .ras .raw .svg .tga .tif .tiff .webp .wmf .xbm .xpm".split()
)
"""Suffixes of pictures that neither training nor the served graph decodes."""

_OF_SYSTEMS = frozenset(
    ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "Thumbs.db",
     "desktop.ini")
)  # fmt: skip
"""What systems put beside pictures: previews of them, and files of their own."""

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG", ".jpg"),
    (b"\x89PNG\r\n", "PNG", ".png"),
    (b"GIF8", "GIF", ".gif"),
)
"""BM is too short to tell a BMP from a text."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What is in a folder."""

    labels: tuple[str, ...]
    """two or more, by name"""
    items: tuple[Item, ...]
    left_out: tuple[SetAside, ...]
    other_files: dict[str, int]
    """suffix -> how many files are no pictures"""


def read(root: Path) -> Found:
    """Lists the images of all classes.

    Args:
        root: the folder; a link to it, and links in place of its class folders, are followed.

    Raises:
        InputError: it has fewer than two classes or too many, or one of them has no image.
    """
    layout = (
        f"Expected two or more sub-folders in {root}, one a class, each with images; or the same "
        "in each of train, validation and test."
    )
    listing = _Listing(root)
    places = list(_class_folders(root, layout))
    labels = sorted({label for _, label, _ in places})
    if not 2 <= len(labels) <= MOST_CLASSES:
        found = ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "") or "none"
        raise InputError(
            f"{layout} Received: {len(labels)} sub-folder{'s' * (len(labels) != 1)} ({found}). "
            "Put the images of each class into a folder of its name, or list them in a CSV "
            "manifest (path,label)."
        )
    for split, label, folder in places:
        listing.look(folder, label, split)
    for beside in sorted({folder.parent for _, _, folder in places} | {root}):
        listing.look_beside(beside)
    for label in labels:
        if not any(item.label == label for item in listing.items):
            reasons = collections.Counter(
                file.reason for file in listing.left_out if file.label == label
            )
            told = "; ".join(f"{count} files: {reason}" for reason, count in reasons.most_common(3))
            raise InputError(
                f"{layout} Received: no image in {label}{' (' + told + ')' if told else ''}. "
                f"Looked for {' '.join(contract.IMAGE_SUFFIXES)} files."
            )
    return Found(
        labels=tuple(labels),
        items=tuple(_with_inner_splits(sorted(listing.items, key=lambda item: item.path))),
        left_out=tuple(sorted(listing.left_out, key=lambda file: file.path)),
        other_files=dict(listing.other_files),
    )


def is_hidden(name: str) -> bool:
    """Whether a file or a folder of this name is never looked at."""
    return name.startswith(".") or name in _OF_SYSTEMS


def _class_folders(root: Path, layout: str) -> Iterator[tuple[str | None, str, Path]]:
    """Split (None where none is fixed), label and folder of each class folder."""
    names = _sub_folders(root)
    splits = [name for name in names if name.casefold() in SPLIT_NAMES]
    if not splits or len(splits) < len(names):
        for name in splits:
            if len(_sub_folders(root / name)) > 1:
                (other, *_) = (name for name in names if name not in splits)
                raise InputError(
                    f"{layout} Received: {name} with sub-folders, as if it were a split, beside "
                    f"{other}, which is none. Move {other} elsewhere."
                )
        yield from ((None, name, root / name) for name in names)
        return
    for name in names:
        labels = _sub_folders(root / name)
        if not labels:
            raise InputError(
                f"{layout} Received: no sub-folder in {root / name}, which is taken for the "
                f"{SPLIT_NAMES[name.casefold()]} split. Put a folder of each class into it, or "
                "give the folder of one split as the data."
            )
        yield from ((SPLIT_NAMES[name.casefold()], label, root / name / label) for label in labels)


def _sub_folders(folder: Path) -> list[str]:
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name)
    )
    for name in names:
        if not _is_utf8(name):
            raise InputError(
                f"Expected names in UTF-8. Received: the folder {_shown(name)} in {folder}. "
                "Rename it."
            )
    return names


def _with_inner_splits(items: list[Item]) -> list[Item]:
    """Takes folders below all classes' for splits, where every image lies in one of that name."""
    if any(item.split for item in items):
        return items
    inner = [SPLIT_NAMES.get((item.path.split("/")[1:-1] or [""])[0].casefold()) for item in items]
    if None not in inner:
        return [dataclasses.replace(item, split=split) for item, split in zip(items, inner)]
    if any(inner):
        logger.warning(
            "%d of %d images lie in folders named as splits, not all of them: these names are not "
            "heeded, and all images are split anew",
            *(len(inner) - inner.count(None), len(inner)),
        )
    return items


class _Listing:
    """Items, files that are left out, and other files, as they are found."""

    def __init__(self, root: Path) -> None:
        self.items: list[Item] = []
        self.left_out: list[SetAside] = []
        self.other_files: collections.Counter[str] = collections.Counter()
        self._root = root
        self._real_root = Path(os.path.realpath(root))

    def look(self, folder: Path, label: str, split: str | None) -> None:
        """Lists a class's folder with all below it."""
        waiting = [(folder, False)]
        while waiting:
            here, linked = waiting.pop()
            for path in self._entries(here, label):
                if not stat.S_ISDIR(_mode(path)):
                    self._take(path, label, split, linked)
                elif not stat.S_ISLNK(_mode(path, follow=False)):
                    waiting.append((path, linked))
                elif not linked:  # in a linked folder, links could go round in circles
                    if self._is_known(path):
                        self._leave(path, label, "a link to a folder that is looked at anyway")
                    else:
                        waiting.append((path, True))

    def look_beside(self, folder: Path) -> None:
        """Lists the files that lie beside the folders of classes."""
        for path in self._entries(folder, ""):
            if not stat.S_ISDIR(_mode(path)) and self._refusal(path) != _NO_PICTURE:
                self._leave(path, "", "lies in no class's folder")

    def _entries(self, folder: Path, label: str) -> list[Path]:
        try:
            return [path for path in folder.iterdir() if not is_hidden(path.name)]
        except OSError as error:
            self._leave(folder, label, f"a folder that cannot be looked into: {error.strerror}")
            return []

    def _take(self, path: Path, label: str, split: str | None, linked: bool) -> None:
        reason = self._refusal(path)
        if reason == _NO_PICTURE:
            self.other_files[path.suffix.lower() or "without a suffix"] += 1
        elif linked:
            self._leave(
                path, label, "in a linked folder, which is not followed; copy it, or use a manifest"
            )
        elif reason:
            self._leave(path, label, reason)
        else:
            name = path.relative_to(self._root).as_posix()
            self.items.append(Item(path=name, label=label, split=split, stratum=label))

    def _leave(self, path: Path, label: str, reason: str) -> None:
        name = _shown(path.relative_to(self._root).as_posix())
        self.left_out.append(SetAside(path=name, label=label, reason=reason))

    def _is_known(self, link: Path) -> bool:
        """Whether a link leads to what is looked at already, or to a folder around all of it."""
        real = Path(os.path.realpath(link))
        return real.is_relative_to(self._real_root) or self._real_root.is_relative_to(real)

    def _refusal(self, path: Path) -> str | None:
        """Why a file cannot be an item; _NO_PICTURE where it does not look like a picture."""
        suffix = path.suffix.lower()
        named = suffix in contract.IMAGE_SUFFIXES
        if not stat.S_ISREG(_mode(path)):
            if not named and suffix not in OTHER_FORMATS:
                return _NO_PICTURE
            if stat.S_ISLNK(_mode(path, follow=False)):
                return "a link that leads to no file"
            return "not a file" if _mode(path) else "no permission to look at it"
        if suffix in OTHER_FORMATS:
            return f"{suffix} is not decoded; save it as PNG"
        if not named:
            return _by_content(path)
        if not _is_utf8(str(path)):
            return "its name is not UTF-8; rename it"
        if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            return "no permission to read it"
        return None


_NO_PICTURE = "no picture"


def _mode(path: Path, follow: bool = True) -> int:
    """What kind of thing a path leads to, or is, as st_mode; 0 where that cannot be seen."""
    try:
        return path.stat(follow_symlinks=follow).st_mode
    except OSError:  # links in a circle, and folders without permission, among others
        return 0


def _by_content(path: Path) -> str:
    """Of a file whose suffix says nothing: .jfif, .jpg_large, or none at all."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:
        return _NO_PICTURE
    for magic, kind, suffix in _MAGIC:
        if start.startswith(magic):
            return f"a {kind} without its suffix; name it {suffix}"
    return _NO_PICTURE


def _is_utf8(text: str) -> bool:
    return not re.search("[\ud800-\udfff]", text)


def _shown(text: str) -> str:
    return os.fsencode(text).decode("utf-8", "backslashreplace")
