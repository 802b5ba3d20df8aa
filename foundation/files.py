"""Files and folders that a reader sees whole or not at all: written aside, then renamed.

"Aside" is a hidden name in the same folder, because a rename is atomic only within a file system.
A process that is killed leaves at most the file aside; what stood in the place before stays whole.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write(
    path: Path,
    content: str | bytes,
    *,
    durable: bool = False,
    mode: int | None = None,
    aside: Path | None = None,
) -> None:
    """Writes a file aside and renames it into place.

    Args:
        path: the file; its folder exists. A symbolic link is replaced, not followed: resolve the
            path first where the link should stay.
        content: text is written as UTF-8, with its line ends as they are.
        durable: whether content and rename must outlive a power failure.
        mode: the permissions, such as 0o644; without it those that the umask leaves.
        aside: the file to write first, in the same folder; without it a name of this process's own.

    Raises:
        OSError: it cannot be written; what stood there before stays, and nothing is left aside.
    """
    with replacing(path, durable=durable, aside=aside) as new, new.open("wb") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(content.encode() if isinstance(content, str) else content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def replacing(path: Path, *, durable: bool = False, aside: Path | None = None) -> Iterator[Path]:
    """Gives a path to write to, and renames it to `path` when the block ends.

    If the block raises, what it wrote is removed and `path` is as it was.

    Args:
        path: a file, a link, or a folder that does not exist yet.
        durable: whether the rename must outlive a power failure. What is renamed is not flushed
            here: the block does that (see `sync_tree` for a folder).
        aside: where to write first, in the same folder; without it a name of this process's own.

    Yields:
        The path aside. Nothing is there, unless a killed process left it.
    """
    aside = aside or path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield aside
        aside.replace(path)
    except BaseException:
        remove(aside)
        raise
    if durable:
        sync(path.parent)


@contextmanager
def no_pattern(folder: Path) -> Iterator[Path]:
    """Gives a folder a path that nobody takes for a pattern, as long as the block runs.

    TensorFlow looks for the variables of a SavedModel by a pattern, and finds none below "runs[1]".

    Yields:
        the folder's own path, or that of a link to it.
    """
    if not any(one in str(folder) for one in "*?[\\"):
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        link = Path(place) / "link"
        link.symlink_to(folder.absolute())
        yield link


def sync(path: Path) -> None:
    """Flushes a file's content, or a folder's list of names, to the disk.

    Nothing happens on a file system that cannot flush folders, as some network ones.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flushes a folder with all that is in it to the disk."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            sync(path)


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
