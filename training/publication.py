"""How a run comes to stand on disk: written aside, and published by one rename.

runs/cnn-5ff1b5fb9309/       whole
runs/.cnn-5ff1b5fb9309/      under way or interrupted; nobody takes it for a run
runs/latest                  symbolic link to the run that was asked for last
"""

from __future__ import annotations

import csv
import fcntl
import importlib.metadata
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foundation import cells, files
from foundation.command_line import InputError
from training import run


def partial_folder(final: Path) -> Path:
    """Where the run is made before it is published."""
    return final.with_name(f".{final.name}")


@contextmanager
def sole_writer(final: Path) -> Iterator[None]:
    """Holds the run's lock, which the system releases even after kill -9.

    Raises:
        InputError: another process is making the same run.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    lock = final.with_name(f".{final.name}.lock")
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"Expected to be the only one to make {final}. Received: another training of the "
                "same settings and images is under way. Wait for it, or change a setting."
            ) from None
        yield
        lock.unlink()


def clear(partial: Path, resume: bool) -> None:
    """Makes the folder of a run under way ready: empty, or with what `resume` goes on from.

    Everything else in there is written anew, and half of it may be missing.
    """
    kept = (run.CHECKPOINTS, run.TENSORBOARD) if resume else ()
    partial.mkdir(parents=True, exist_ok=True)
    for path in partial.iterdir():
        if path.name not in kept:
            files.remove(path)


def publish(partial: Path, final: Path) -> None:
    """Makes a finished run visible: one rename.

    The checkpoints go after it: what is interrupted before can still go on from them.
    """
    files.remove(partial / run.CACHE)
    files.sync_tree(partial)
    partial.rename(final)
    files.sync(final.parent)
    tidy(final)


def tidy(final: Path) -> None:
    """Removes from a published run what only making it needed."""
    files.remove(final / run.CHECKPOINTS)


def check_place(final: Path) -> None:
    """Checks that the run can take its place in the end, before hours are spent on it.

    Raises:
        InputError: something else stands there.
    """
    if final.exists() and not (final / run.SETTINGS).is_file():
        raise InputError(
            f"Expected nothing or a whole run in {final}. Received: no {run.SETTINGS} there. Move "
            "it away, or give another folder with --runs."
        )
    latest = final.with_name(run.LATEST)
    if latest.is_dir() and not latest.is_symlink():
        raise InputError(
            f"Expected {latest} to be a link to the latest run. Received: a folder. Move it away, "
            "or give another folder with --runs."
        )


def point_latest(final: Path) -> None:
    """Lets runs/latest name this run; a reader sees the old link or the new one."""
    with files.replacing(final.with_name(run.LATEST)) as aside:
        files.remove(aside)
        aside.symlink_to(final.name)


def write_predictions(
    folder: Path, rows: Sequence[run.Prediction], class_names: tuple[str, ...]
) -> None:
    """Writes a run's table of answers, whole or not at all.

    Of two classes, model_probability is the positive one's; of more, there is a column a class.
    """
    own = run.score_columns(class_names)
    header = ["path", "split", "label", "probability", "predicted", "review", *own]
    said = [row.model_scores[1:] if len(class_names) == 2 else row.model_scores for row in rows]
    values = [
        (row.path, row.split, row.label, row.probability, row.predicted, row.review, *scores)
        for row, scores in zip(rows, said)
    ]
    with files.replacing(folder / run.PREDICTIONS) as aside:
        _write_rows(aside, header, values)


def write_split(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes split.csv: SPLIT_COLUMNS, and what else the manifest said of the images.

    Args:
        folder: of the run.
        rows: of the images, in their order.
    """
    header = list(dict.fromkeys([*run.SPLIT_COLUMNS, *(name for row in rows for name in row)]))
    _write_rows(
        folder / run.SPLIT, header, [[row.get(name, "") for name in header] for row in rows]
    )


def write_table(path: Path, rows: Sequence[Any], columns: Sequence[str]) -> None:
    """Writes dataclass instances as CSV, one a line, the given fields as columns.

    No text is a formula to a spreadsheet: read it with `cells.text_of`.
    """
    _write_rows(path, columns, [[getattr(row, column) for column in columns] for row in rows])


def _write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow(cells.as_text(one) if isinstance(one, str) else one for one in row)


def package_versions() -> dict[str, str]:
    """What a result depends on besides settings and data."""
    names = ("tensorflow", "keras", "numpy", "pillow", "scikit-learn")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in names
    }
