"""The gate, where there are more than two classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from export.gate import checks, comparisons, corruptions, figures, images, verdict
from export.gate.child import Evidence
from export.gate.evidence import CORRUPTED, HELD_OUT, key
from export.gate.figures import CANDIDATE, STABLE, Beside
from export.gate.images import HeldOut, Image
from export.gate.verdict import Limits
from foundation.command_line import InputError
from tfs_client import contract
from training.comparing import paired

NAMES = ("cat", "dog", "owl")


@dataclasses.dataclass(frozen=True)
class Version:
    number: int
    class_names: tuple[str, ...] = NAMES


def held_out(of_each: int, names: tuple[str, ...] = NAMES) -> HeldOut:
    made = [
        Image(
            file=Path(f"{place}/{index}"),
            path=f"{place}/{index}",
            label=name,
            place=place,
            pixels_sha256=f"{place}/{index}",
            source="it",
        )
        for place, name in enumerate(names)
        for index in range(of_each)
    ]
    return HeldOut(images=tuple(made), class_names=names, left_out={})


def answered(
    said: np.ndarray,
    sureness: float,
    names: tuple[str, ...] = NAMES,
    valid: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """What a version answers that is so sure of what it says, in its own order of the classes."""
    rest = (1 - sureness) / (len(names) - 1)
    scores = np.full((len(said), len(names)), rest)
    scores[np.arange(len(said)), said] = sureness
    valid = np.ones(len(said), bool) if valid is None else valid
    return {
        contract.OUTPUT_PROBABILITY: np.where(valid, sureness, np.nan),
        contract.OUTPUT_LABEL: np.where(valid, np.array(names)[said], ""),
        contract.OUTPUT_NEEDS_REVIEW: ~valid,
        contract.OUTPUT_VALID: valid,
        contract.OUTPUT_SCORES: np.where(valid[:, np.newaxis], scores, np.nan),
    }


def beside(answers: dict[str, dict], of_each: int, **names: tuple[str, ...]) -> Beside:
    sets = {HELD_OUT: slice(None)}
    sets |= {f"{CORRUPTED}.{kind}": slice(2) for kind in corruptions.KINDS}
    arrays = {
        key(who, pictures, contract.SIGNATURE_DEFAULT, output): values[rows]
        for pictures, rows in sets.items()
        for who, outputs in answers.items()
        for output, values in outputs.items()
    }
    evidence = Evidence(ended=None, signatures=None, arrays=arrays)
    asked = {who: Version(1, names.get(who, NAMES)) for who in answers}
    return figures.set_beside(evidence, asked, held_out(of_each), [0, 1])  # type: ignore[arg-type]


def mistaken(of_each: int, wrong_of_each: int, classes: int = 3) -> np.ndarray:
    """The right class of each image, but of the first ones of each class the next one."""
    truth = np.repeat(np.arange(classes), of_each)
    index = np.tile(np.arange(of_each), classes)
    return np.where(index < wrong_of_each, (truth + 1) % classes, truth)


def test_what_each_version_says_is_set_beside_the_truth_in_one_order() -> None:
    turned = ("owl", "cat", "dog")
    right = np.repeat(np.arange(3), 10)
    own = np.array([turned.index(NAMES[place]) for place in right])
    found = beside(
        {CANDIDATE: answered(own, 0.8, turned), STABLE: answered(right, 0.6)}, 10, candidate=turned
    )
    assert found.held_out[CANDIDATE].right.all()
    assert found.held_out[CANDIDATE].likelihoods == pytest.approx(np.full(30, 0.8))
    assert found.held_out[STABLE].likelihoods == pytest.approx(np.full(30, 0.6))


def test_an_image_that_a_version_cannot_judge_stands_with_the_wrong_ones() -> None:
    valid = np.ones(30, bool)
    valid[:5] = False
    found = beside({CANDIDATE: answered(mistaken(10, 0), 0.8, valid=valid)}, 10)
    made = figures.metrics(found.held_out[CANDIDATE], found)
    assert made is not None
    assert made["not_valid"] == 5
    assert made["accuracy"] == pytest.approx(25 / 30)
    assert made["classes"][0]["recall"] == pytest.approx(0.5)
    assert made["confusion_matrix"] == [[5, 5, 0], [0, 10, 0], [0, 0, 10]]
    assert made["log_loss"] == pytest.approx((-25 * np.log(0.8) - 5 * np.log(1e-7)) / 30)
    assert made["review_share"] == pytest.approx(5 / 30)


@pytest.mark.parametrize(
    ("wrong", "sureness", "states"),
    [
        (10, 0.8, (verdict.HOLDS, verdict.HOLDS)),
        (40, 0.8, (verdict.FAILS, verdict.FAILS)),
        (10, 0.99, (verdict.HOLDS, verdict.HOLDS)),
        (10, 0.4, (verdict.HOLDS, verdict.FAILS)),  # as often right, and not as sure
    ],
)
def test_a_candidate_is_held_against_macro_accuracy_and_likelihood(
    wrong: int, sureness: float, states: tuple[str, str]
) -> None:
    found = beside(
        {
            CANDIDATE: answered(mistaken(300, wrong), sureness),
            STABLE: answered(mistaken(300, 10), 0.8),
        },
        300,
    )
    made = comparisons.not_worse(found, Limits())
    assert [check.name for check in made] == [
        "not_worse.balanced_accuracy",
        "not_worse.log_likelihood",
    ]
    assert tuple(check.state for check in made) == states


def test_an_unknown_likelihood_names_the_flag_of_its_margin() -> None:
    few = {CANDIDATE: answered(mistaken(7, 1), 0.8), STABLE: answered(mistaken(7, 0), 0.8)}
    made = comparisons.not_worse(beside(few, 7), Limits())[1]
    assert made.state == verdict.UNKNOWN
    wide = next(cure for cure in made.cures if "another margin: --log-loss-margin " in cure)
    margin = float(wide.split("--log-loss-margin ")[1].split()[0])
    limits = Limits(log_loss_margin=margin)
    assert comparisons.not_worse(beside(few, 7), limits)[1].state == verdict.HOLDS


def test_the_bound_of_a_macro_accuracy_holds_as_often_as_it_says() -> None:
    random = np.random.default_rng(4)
    truth = np.repeat(np.arange(4), [30, 60, 90, 20])
    below = 0
    for _ in range(2000):
        hard = random.random(len(truth)) < 0.2
        candidate, stable = (
            np.where(hard, random.random(len(truth)) < 0.5, random.random(len(truth)) < 0.95)
            for _ in range(2)
        )
        found = paired.balanced_accuracy(candidate, stable, truth)
        below += found.lower <= 0  # there is no difference
    assert 0.94 <= below / 2000 <= 0.985


def test_versions_of_other_classes_cannot_be_compared_and_the_reason_is_told() -> None:
    three, four, other = (
        Version(1),
        Version(2, (*NAMES, "ape")),
        Version(3, ("cat", "dog", "ape")),
    )
    pairs = [(three, three), (Version(4, ("owl", "dog", "cat")), three)]
    assert all(images.comparable(pair) for pair in pairs)  # type: ignore[arg-type]
    two = Version(5, ("ok", "nok")), Version(6, ("sound", "broken"))
    assert images.comparable(two)  # type: ignore[arg-type]
    for pair in ((four, three), (other, three), (two[0], three)):
        assert not images.comparable(pair)  # type: ignore[arg-type]
    told = checks._other_classes(four.class_names, three.class_names)
    assert told == "4 classes in place of 3, with ape"
    told = checks._other_classes(other.class_names, three.class_names)
    assert told == "3 classes in place of 3, without owl and with ape"
    told = checks._other_classes(NAMES[::-1], NAMES)
    assert told == "3 classes in place of 3, in another order"


def test_the_images_that_are_corrupted_are_of_all_classes_alike() -> None:
    few = [one for one in held_out(40).images if one.place or int(one.path[2:]) < 6]
    chosen = images.sample(few, 60)
    counts = np.bincount([few[index].place for index in chosen])
    assert counts.tolist() == [6, 27, 27]


def test_too_few_images_of_a_class_are_named() -> None:
    few = held_out(10)
    kept = dataclasses.replace(few, images=few.images[:21], left_out={"it is listed twice": 9})
    with pytest.raises(InputError, match=r"Received: 21, 1 of owl, 10 of cat.*9 left out"):
        images._check_enough(kept, None)
