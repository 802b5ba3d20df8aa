"""Whether an answer is right: a wrong one counts as a failure, however fast it came."""

from __future__ import annotations

import csv
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from foundation import cells
from foundation.command_line import InputError
from loadtest.results.samples import OK
from loadtest.traffic.workload import AS_IS, Request
from tfs_client import AnswerError, CallError, contract

INVALID_IMAGE: Final = "INVALID_IMAGE"
"""The server says that a good image is not valid."""

WRONG_ANSWER: Final = "WRONG_ANSWER"
"""The same version said something else about the same picture before, or the answer is known to be
another one."""

TOLERANCE: Final = 0.005
"""Of the probability. Another batch size or processor adds numbers up in another order;
export.parity allows the same between a run and its servers."""

Known = Mapping[str, tuple[str, float]]
"""Name of an image → label and probability."""


class Answer(Protocol):
    """What judging needs of an answer: tfs_client's Prediction has it."""

    @property
    def version(self) -> int | None:
        """The version that answered; None where the API does not tell."""
        ...

    def __getitem__(self, name: str) -> Any:
        """An output's array, with a row for each image."""
        ...


class Answers:
    """The answers so far, which later ones are compared with. For all threads.

    Args:
        known: right answers to images that are sent as they are, for any version.
    """

    def __init__(self, known: Known | None = None):
        self._known = dict(known or {})
        self._seen: dict[tuple[str, str, int], tuple[str, float]] = {}
        self._lock = threading.Lock()

    def judge(self, request: Request, answer: Answer) -> tuple[str, str]:
        """OK or the code of what is wrong, and a description.

        Later answers of a version to a picture through a signature must equal the first one. Each
        worker process learns the first answers on its own.

        Raises:
            AnswerError: the answer does not follow the contract.
        """
        try:
            labels = answer[contract.OUTPUT_LABEL].tolist()
            probabilities = answer[contract.OUTPUT_PROBABILITY].tolist()
            valid = answer[contract.OUTPUT_VALID].tolist()
            rows = list(zip(request.pictures, labels, probabilities, valid, strict=True))
        except (KeyError, TypeError, ValueError) as error:
            raise AnswerError(
                f"Expected {', '.join(contract.DECISION_OUTPUTS)} with a row for each of "
                f"{len(request.pictures)} images. Received: {error}"
            ) from error
        for picture, label, probability, is_valid in rows:
            if not is_valid:
                return INVALID_IMAGE, f"the server says that {picture} is not valid"
            found = (label.decode(errors="replace"), probability)
            for right in self._right(picture, request.signature, answer.version, found):
                if found[0] != right[0] or not abs(found[1] - right[1]) <= TOLERANCE:
                    return WRONG_ANSWER, (
                        f"version {answer.version} says {found[0]} {found[1]:.4f} of {picture}, "
                        f"where {right[0]} {right[1]:.4f} is right"
                    )
        return OK, ""

    def _right(
        self, picture: str, signature: str, version: int | None, found: tuple[str, float]
    ) -> list[tuple[str, float]]:
        right = []
        if version is not None:  # REST does not tell, and a label may move to another version
            with self._lock:
                right = [self._seen.setdefault((picture, signature, version), found)]
        name, _, kind = picture.partition("|")
        if kind == f"{AS_IS}|{AS_IS}" and (known := self._known.get(name)):
            right.append(known)
        return right


def read_known(path: Path) -> Known:
    """Right answers from a CSV with columns path, predicted, probability: a run's predictions.csv.

    Raises:
        InputError: no such file, or one without these columns.
    """
    if not path.is_file():
        raise InputError(f"Expected a CSV file as --answers. Received: {path}, which is none")
    known = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                name = str(Path(*Path(cells.text_of(row["path"])).parts[-2:]))
                known[name] = (cells.text_of(row["predicted"]), float(row["probability"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "Expected path, predicted, probability (a run's predictions.csv). "
            f"Received: {path}, after {len(known)} good lines: {error!r}"
        ) from error
    if not known or any(math.isnan(probability) for _, probability in known.values()):
        raise InputError(f"Expected known answers in {path}. Received: none, or NaN among them")
    return known


def code_of(error: Exception) -> str:
    """What a failure is counted under: the gRPC code, or the error's class."""
    return error.code.name if isinstance(error, CallError) else type(error).__name__
