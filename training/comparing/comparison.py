"""Which of two runs is better, on the images that both kept for their test.

In pairs, image by image, as the gate compares two versions; see paired.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foundation.command_line import InputError
from training import run
from training.comparing import paired
from training.comparing.paired import LEAST_OF_A_CLASS, Comparison
from training.config import WHERE_NOT_WHAT
from training.decision.decision import INSIDE

BETTER: Final = "{} is better"
NO_DIFFERENCE: Final = "no difference is shown"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disagreement:
    """An image about which the runs say different things."""

    path: str
    truth: str
    said: tuple[str, str]
    probability: tuple[float, float]
    """of the right class, 0-1, by each"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """Two runs, B against A: a difference above 0 says that B is better."""

    a: str
    b: str
    images: int
    left_out: dict[str, int]
    """why -> how many"""
    same_data: bool
    settings: dict[str, tuple[Any, Any]]
    """name -> A's and B's, where they differ"""
    figures: dict[str, Comparison]
    mcnemar_p: float
    only_right: tuple[int, int]
    """images that only A, and that only B, was right about"""
    disagreements: tuple[Disagreement, ...]
    """the most different first"""

    def outcome(self, figure: str) -> str:
        """In words."""
        found = self.figures[figure]
        if found.lower > 0:
            return BETTER.format(self.b)
        return BETTER.format(self.a) if found.upper < 0 else NO_DIFFERENCE

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **dataclasses.asdict(self),
            "figures": {
                name: {**dataclasses.asdict(found), "outcome": self.outcome(name)}
                for name, found in self.figures.items()
            },
        }


def compare(a: run.Run, b: run.Run) -> Compared:
    """Compares two runs under their present decisions.

    Raises:
        InputError: they are one run, have different classes, or too few images in common.
    """
    if a.path == b.path:
        raise InputError(f"Expected two runs. Received: {a.id} twice. Name another one as A or B.")
    if set(a.class_names) != set(b.class_names):
        raise InputError(
            f"Expected runs of the same classes. Received: {_few(a.class_names)} of {a.id}, "
            f"{_few(b.class_names)} of {b.id}. Their answers mean different things."
        )
    pairs, left_out = _in_common(a, b)
    truth = a.targets([one for one, _ in pairs])
    counts = np.bincount(truth, minlength=len(a.class_names))
    if counts.min() < LEAST_OF_A_CLASS:
        why = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise InputError(
            f"Expected {LEAST_OF_A_CLASS} images of each class that both runs kept for their test. "
            f"Received: {counts.min()} of {a.class_names[int(counts.argmin())]}"
            f"{'; left out: ' + why if why else ''}. Train both on the same images with the same "
            "seed and shares."
        )
    scores = [_scores(pairs, place, made, a.class_names) for place, made in enumerate((a, b))]
    right = [
        np.array([pair[place].predicted == pair[0].label for pair in pairs]) for place in (0, 1)
    ]
    return Compared(
        a=a.id,
        b=b.id,
        images=len(pairs),
        left_out=left_out,
        same_data=_fingerprint(a) == _fingerprint(b),
        settings=_differing(a, b),
        figures=_figures(scores, right, truth),
        mcnemar_p=paired.mcnemar_p(right[1], right[0]),
        only_right=(int(np.sum(right[0] & ~right[1])), int(np.sum(right[1] & ~right[0]))),
        disagreements=_disagreements(pairs, scores, truth),
    )


Pair = tuple[run.Prediction, run.Prediction]


def _in_common(a: run.Run, b: run.Run) -> tuple[list[Pair], dict[str, int]]:
    """The answers of both to pictures that lie in both tests, and what was left out."""
    tests = [_test_by_content(made) for made in (a, b)]
    only = [len(tests[place].keys() - tests[1 - place].keys()) for place in (0, 1)]
    pairs = [(one, tests[1][key]) for key, one in tests[0].items() if key in tests[1]]
    alike = [pair for pair in pairs if pair[0].label == pair[1].label]
    left_out = {
        f"in the test of {a.id} alone": only[0],
        f"in the test of {b.id} alone": only[1],
        "labelled differently by the two": len(pairs) - len(alike),
    }
    return alike, {why: count for why, count in left_out.items() if count}


def _test_by_content(made: run.Run) -> dict[str, run.Prediction]:
    """The hash of an image's pixels -> the run's answer to it, of its test."""
    content = {row["path"]: row["pixels_sha256"] for row in made.split_rows()}
    return {content[one.path]: one for one in made.predictions() if one.split == "test"}


def _scores(
    pairs: list[Pair], place: int, made: run.Run, names: tuple[str, ...]
) -> NDArray[np.float64]:
    """What a run said of each class, in the order of `names`: float [N, K]."""
    order = [made.class_names.index(name) for name in names]
    return np.array([pair[place].scores for pair in pairs])[:, order]


def _figures(
    scores: list[NDArray[np.float64]], right: list[NDArray[np.bool_]], truth: NDArray[np.int_]
) -> dict[str, Comparison]:
    figures = {"balanced_accuracy": paired.balanced_accuracy(right[1], right[0], truth)}
    if scores[0].shape[1] == 2:
        figures["roc_auc"] = paired.roc_auc(scores[1][:, 1], scores[0][:, 1], truth == 1)
    own = [np.take_along_axis(of, truth[:, np.newaxis], axis=1)[:, 0] for of in scores]
    logs = [np.log(np.clip(one, INSIDE, 1)) for one in own]
    figures["log_likelihood"] = paired.log_likelihood(logs[1], logs[0])
    return figures


def _disagreements(
    pairs: list[Pair], scores: list[NDArray[np.float64]], truth: NDArray[np.int_]
) -> tuple[Disagreement, ...]:
    own = [np.take_along_axis(of, truth[:, np.newaxis], axis=1)[:, 0] for of in scores]
    found = [
        Disagreement(
            path=one.path,
            truth=one.label,
            said=(one.predicted, other.predicted),
            probability=(float(own[0][at]), float(own[1][at])),
        )
        for at, (one, other) in enumerate(pairs)
        if one.predicted != other.predicted
    ]
    found.sort(key=lambda one: -abs(one.probability[0] - one.probability[1]))
    return tuple(found)


def _differing(a: run.Run, b: run.Run) -> dict[str, tuple[Any, Any]]:
    first, second = (made.settings["config"] for made in (a, b))
    names = [name for name in dict.fromkeys([*first, *second]) if name not in WHERE_NOT_WHAT]
    found = {name: (first.get(name), second.get(name)) for name in names}
    return {name: both for name, both in found.items() if both[0] != both[1]}


def _fingerprint(made: run.Run) -> str:
    return str(made.settings["data"]["fingerprint"])


def _few(names: tuple[str, ...]) -> str:
    return " | ".join(names[:5]) + (" | …" if len(names) > 5 else "")
