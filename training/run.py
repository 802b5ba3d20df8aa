"""A run on disk, and how it is read: without TensorFlow.

    made = run.load(Path("runs/latest"))
    made.metrics()["test"], made.table()

How it comes to stand there is publication.py's.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation import cells
from foundation.command_line import InputError
from foundation.text import did_you_mean
from training.config import RunConfig, config_from_dict
from training.decision import decision as decisions
from training.decision.decision import AnyDecision

__all__ = ["HELD_OUT", "SPLIT_COLUMNS", "Prediction", "Run", "load", "named"]
"""What a notebook needs; the names of the files are for this room."""

WEIGHTS = "model.weights.h5"
SETTINGS = "run.json"
METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"
SPLIT = "split.csv"
SET_ASIDE = "set_aside.csv"
REPORT = "report.html"
SAMPLES = "samples"
LATEST = "latest"
CHECKPOINTS = "checkpoint"
"""Folder of a run under way, as is the next one."""
CACHE = "cache"
TENSORBOARD = "tensorboard"

SPLIT_COLUMNS = ("path", "label", "split", "group", "pixels_sha256")
"""Of split.csv; others are what a manifest says of the images beside."""

HELD_OUT = ("validation", "test")
"""The splits that predictions are kept of."""

_WHOLE = f"[!.]*/{SETTINGS}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """One held-out image and what the run said of it; a row of predictions.csv."""

    path: str
    """relative to the dataset's root"""
    split: str
    label: str
    model_scores: tuple[float, ...]
    """of each class, 0-1, as the model gives them"""
    scores: tuple[float, ...]
    """calibrated: what a server answers"""
    probability: float
    """what a server answers: of two classes, the positive one's; of more, that of `predicted`"""
    predicted: str
    review: bool
    """a person should decide"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A whole run, read back."""

    path: Path
    config: RunConfig
    settings: dict[str, Any]
    """run.json, whole"""

    @property
    def id(self) -> str:
        """Names the run; also its folder's name."""
        return str(self.settings["id"])

    @property
    def name(self) -> str:
        """As RUN= takes it: the folder's name where the run lies in runs/, else the whole path."""
        published = self.path.with_name(self.path.name.removeprefix("."))  # if it is under way
        return published.name if published.parent == Path("runs").resolve() else str(published)

    @property
    def class_names(self) -> tuple[str, ...]:
        """K of them; of two, negative, positive."""
        return tuple(self.settings["classes"])

    @property
    def weights(self) -> Path:
        """The trained weights, for architectures.build_model(config, len(class_names))."""
        return self.path / WEIGHTS

    @property
    def decision(self) -> AnyDecision:
        """How probabilities become answers, as it was decided last.

        Raises:
            InputError: decision.json is broken.
        """
        read = decisions.read(self.path)
        if read is not None:
            return read
        if len(self.class_names) > 2:
            return decisions.TopDecision()
        config = self.settings["config"]
        return decisions.of_margin(config.get("threshold", 0.5), config.get("review_margin", 0.1))

    def metrics(self, decision: AnyDecision | None = None) -> dict[str, Any]:
        """The figures of metrics.json, one entry a split.

        Args:
            decision: to answer by; None: the present one.
        """
        # scikit-learn takes a second to import
        from training.decision import metrics, metrics_of_many, slices

        beside = self.columns()
        taken, left_out = slices.columns(list(beside.values()))
        decision = decision or self.decision
        found = {}
        rows = self.predictions(decision)
        for split in HELD_OUT:
            own = [row for row in rows if row.split == split]
            targets = self.targets(own)
            answers = decision.answers(model_scores(own))
            if isinstance(decision, decisions.Decision):
                found[split] = metrics.metrics(targets, answers)
                found[split]["threshold"] = decision.threshold
            else:
                found[split] = metrics_of_many.metrics_of_many(targets, answers, self.class_names)
            said = [beside.get(row.path, {}) for row in own]
            found[split]["slices"] = slices.slices(targets, answers, said, taken)
            found[split]["not_sliced_by"] = left_out
        return found

    def columns(self) -> dict[str, dict[str, str]]:
        """What the manifest said of each image beside what training takes: path → column → value.

        Empty of a run that kept none.
        """
        try:
            rows = self.split_rows()
        except InputError:
            return {}
        return {
            row["path"]: {
                name: value for name, value in row.items() if name not in SPLIT_COLUMNS and value
            }
            for row in rows
        }

    def targets(self, rows: Sequence[Prediction | Held]) -> NDArray[np.int_]:
        """The places of the right classes: int [N], 0 to K-1."""
        places = {name: place for place, name in enumerate(self.class_names)}
        return np.array([places[row.label] for row in rows], int)

    def predictions(self, decision: AnyDecision | None = None) -> list[Prediction]:
        """The run's answers on its validation and test images.

        Args:
            decision: to answer by; None: the present one.
        """
        held, said = self.said()
        return answered(held, said, decision or self.decision, self.class_names)

    def said(self) -> tuple[list[Held], NDArray[np.float32]]:
        """The held-out images, and what the model said of each class: float32 [N, K], 0-1.

        Raises:
            InputError: the file is cut, or not what training wrote.
        """
        with as_written(self.path / PREDICTIONS):
            with (self.path / PREDICTIONS).open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            held = [
                Held(cells.text_of(row["path"]), row["split"], cells.text_of(row["label"]))
                for row in rows
            ]
            said = _said(rows, self.class_names)
            _check_said(held, said, self.class_names)
        return held, said

    def table(self, decision: AnyDecision | None = None) -> dict[str, NDArray[Any]]:
        """The run's answers on its held-out images as columns, one row an image.

        `pandas.DataFrame(made.table())` takes it as it is.

        Args:
            decision: to answer by; None: the present one.

        Returns:
            N values each of: path, split, label, predicted, probability, review and right; for each
            class `score of NAME`; and what the manifest said of the images beside.
        """
        rows = self.predictions(decision)
        beside = self.columns()
        names = dict.fromkeys(name for row in rows for name in beside.get(row.path, {}))
        found: dict[str, NDArray[Any]] = {
            "path": np.array([row.path for row in rows], str),
            "split": np.array([row.split for row in rows], str),
            "label": np.array([row.label for row in rows], str),
            "predicted": np.array([row.predicted for row in rows], str),
            "probability": np.array([row.probability for row in rows], np.float32),
            "review": np.array([row.review for row in rows], bool),
            "right": np.array([row.label == row.predicted for row in rows], bool),
        }
        for place, name in enumerate(self.class_names):
            scores = [row.scores[place] for row in rows]
            found[f"score of {name}"] = np.array(scores, np.float32)
        for name in names:
            found.setdefault(
                name, np.array([beside.get(row.path, {}).get(name, "") for row in rows])
            )
        return found

    def split_rows(self) -> list[dict[str, str]]:
        """The rows of split.csv: SPLIT_COLUMNS of each image, and those of its manifest.

        Raises:
            InputError: the file is not there, or lacks one of these.
        """
        path = self.path / SPLIT
        columns = set(SPLIT_COLUMNS)
        try:
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                missing = columns - set(reader.fieldnames or ())
                with as_written(path):
                    rows = [cells.texts_of(row) for row in reader]
        except FileNotFoundError:
            missing, rows = columns, []
        if missing:
            raise InputError(
                f"Expected {path} with the columns {', '.join(sorted(columns))}. Received: without "
                f"{', '.join(sorted(missing))}. Train again: make train"
            )
        return rows

    def file(self, path: str) -> Path:
        """Where an image of the run's dataset lies.

        Raises:
            InputError: it is no longer there.
        """
        file = Path(self.settings["data"]["root"]) / path
        if not file.is_file():
            raise InputError(
                f"Expected the images of run {self.id} where it found them. Received: {file} does "
                "not exist. Put them back, or train again."
            )
        return file


class Held(NamedTuple):
    """A held-out image."""

    path: str
    split: str
    label: str


def answered(
    held: Sequence[Held],
    probabilities: NDArray[np.float32],
    decision: AnyDecision,
    class_names: tuple[str, ...],
) -> list[Prediction]:
    """What a run answers to held-out images.

    Args:
        held: N images.
        probabilities: float32 [N, K], as the model gives them.
        decision: to answer by.
        class_names: K of them; of two, negative, positive.
    """
    answers = decision.answers(probabilities)
    return [
        Prediction(
            path=one.path,
            split=one.split,
            label=one.label,
            model_scores=tuple(said),
            scores=tuple(scores),
            probability=probability,
            predicted=class_names[place],
            review=review,
        )
        for one, said, scores, probability, place, review in zip(
            held,
            probabilities.tolist(),
            answers.scores.tolist(),
            answers.probabilities.tolist(),
            answers.decided.tolist(),
            answers.review.tolist(),
        )
    ]


def model_scores(rows: Sequence[Prediction]) -> NDArray[np.float32]:
    """What the model said of each class: float32 [N, K]."""
    return np.array([row.model_scores for row in rows], np.float32)


_WRONG: Final = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError),
    *(OverflowError, RecursionError, csv.Error),
)
"""What reading a file raises that is cut, changed, or of something else."""


def _said(rows: Sequence[dict[str, str]], class_names: tuple[str, ...]) -> NDArray[np.float32]:
    """What the model said, as PREDICTIONS has it: float32 [N, K]."""
    columns = score_columns(class_names)
    if len(class_names) == 2 and rows and columns[0] not in rows[0]:
        columns = ["probability"]  # a run from before there were decisions
    said = np.array([[row[name] for name in columns] for row in rows], np.float32)
    said = said.reshape(len(rows), len(columns))
    return np.hstack([1 - said, said]) if len(class_names) == 2 else said


def score_columns(class_names: tuple[str, ...]) -> list[str]:
    """The columns of PREDICTIONS that hold what the model said."""
    if len(class_names) == 2:
        return ["model_probability"]
    return [f"model_probability of {name}" for name in class_names]


def named(text: str, runs: Path = Path("runs")) -> Run:
    """Reads a run as it is named on a command line.

    Args:
        text: the run's folder, or its name alone, which is looked for in `runs`.
        runs: where the runs lie.

    Raises:
        InputError: there is no run, or it is not whole.
    """
    path = Path(text)
    by_name = path.name == text and not path.exists()
    if not text:
        raise InputError(f"Expected the folder of a run, or its name in {runs}. Received: nothing.")
    return load(runs / text if by_name else path)


def load(path: Path) -> Run:
    """Reads a run.

    Args:
        path: the run's folder, or a link to it such as runs/latest.

    Raises:
        InputError: there is no run, or it is not whole.
    """
    settings = path / SETTINGS
    if not settings.is_file():
        meant = did_you_mean(path.name, [whole.parent.name for whole in path.parent.glob(_WHOLE)])
        raise InputError(
            f"Expected a run in {path}. Received: no {SETTINGS} there."
            f"{meant or ' Train one first: make train'}"
        )
    with as_written(settings):
        content = json.loads(settings.read_text(encoding="utf-8"))
        config = config_from_dict(content["config"])
        _check_settings(content)
    return Run(path=path.resolve(), config=config, settings=content)


@contextlib.contextmanager
def as_written(path: Path) -> Iterator[None]:
    """Tells what is wrong with a file of a run in one line.

    Raises:
        InputError: in place of what reading raised.
        OSError: the system's refusal, as it is; a library's own words are what is wrong.
    """
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise _not_as_written(path, error) from error
    except _WRONG as error:
        raise _not_as_written(path, error) from error


def _not_as_written(path: Path, error: Exception) -> InputError:
    said = next(iter(str(error).splitlines()), "")[:200]
    return InputError(
        f"Expected {path} as training writes it. Received: {type(error).__name__}: {said}. "
        "Put back what was there, or train again."
    )


def _check_settings(content: dict[str, Any]) -> None:
    names = content["classes"]
    if len(set(names)) < 2 or len(set(names)) != len(names):
        raise ValueError("classes that are not two or more, each once")
    texts = [*names, content["id"], content["data"]["root"]]
    if not isinstance(names, list) or not all(isinstance(one, str) for one in texts):
        raise TypeError("id, classes or data that are no text")


def _check_said(
    held: Sequence[Held], said: NDArray[np.float32], class_names: tuple[str, ...]
) -> None:
    for split in HELD_OUT:
        if not any(one.split == split for one in held):
            raise ValueError(f"no image of {split}")
    foreign = {one.label for one in held} - set(class_names)
    if foreign:
        raise ValueError(f"{sorted(foreign)[0]!r}, which is no class of the run")
    if not ((said >= 0) & (said <= 1)).all():
        raise ValueError("what is no probability")
