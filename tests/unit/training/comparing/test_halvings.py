"""How often a target holds on images that did not choose by it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from foundation.command_line import InputError
from training import publication, run
from training.comparing import halvings
from training.config import RunConfig
from training.decision import decision, target


def _run(folder: Path, scores: np.ndarray, places: np.ndarray, names: tuple[str, ...]) -> run.Run:
    """A run with these answers to its test images; it has a validation image of another kind."""
    folder.mkdir()
    by = decision.TopDecision() if len(names) > 2 else decision.of_margin(0.5, 0)
    held = [run.Held("v.png", "validation", names[0])]
    held += [run.Held(f"{at}.png", "test", names[place]) for at, place in enumerate(places)]
    every = np.concatenate([np.full((1, len(names)), 1 / len(names)), scores]).astype(np.float32)
    publication.write_predictions(folder, run.answered(held, every, by, names), names)
    settings = {
        "id": folder.name,
        "classes": names,
        "data": {"root": "."},
        "config": dataclasses.asdict(RunConfig()),
    }
    (folder / run.SETTINGS).write_text(json.dumps(settings))
    return run.load(folder)


def _of_two(folder: Path, seed: int, sharpness: float = 1.0) -> run.Run:
    """600 images whose probabilities are true where sharpness is 1."""
    random = np.random.default_rng(seed)
    logits = random.normal(-0.8, 2, 600)
    places = (random.random(600) < 1 / (1 + np.exp(-logits))).astype(int)
    positive = 1 / (1 + np.exp(-sharpness * logits))
    return _run(folder, np.stack([1 - positive, positive], 1), places, ("sound", "defective"))


def test_a_bound_holds_about_as_often_as_its_confidence_says(tmp_path: Path) -> None:
    runs = [_of_two(tmp_path / str(seed), seed) for seed in range(4)]
    careful = halvings.kept(runs, "recall>=0.9", confidence=0.9, halvings=100)
    usual = halvings.kept(runs, "recall>=0.9", confidence=0.5, halvings=100)
    assert careful.halvings == usual.halvings == 100
    assert 80 < careful.held <= 100
    assert 30 < usual.held < 75
    assert careful.review_distance is not None
    assert careful.review_distance < 0.03
    assert careful.calibrated > 85


def test_few_false_alarms_are_kept_to_as_well(tmp_path: Path) -> None:
    found = halvings.kept([_of_two(tmp_path / "run", 7)], "fpr<=0.2", confidence=0.9, halvings=30)
    assert 22 < found.held <= found.halvings == 30


def test_what_is_too_sure_is_calibrated_before_it_is_judged(tmp_path: Path) -> None:
    found = halvings.kept([_of_two(tmp_path / "run", 1, sharpness=3.0)], "recall>=0.9", halvings=40)
    assert found.calibrated > 0.85 * found.halvings


def test_halves_with_too_few_positives_are_counted_apart(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    places = (np.arange(500) < 66).astype(int)  # about 33 in a half; a recall of 0.95 takes 32
    positive = 0.2 + 0.6 * places + 0.1 * random.random(500)
    names = ("sound", "defective")
    made = _run(tmp_path / "run", np.stack([1 - positive, positive], 1), places, names)
    found = halvings.kept([made], "recall>=0.95", halvings=50)
    assert found.halvings + found.not_shown == 50
    assert 0 < found.not_shown < 50
    few = _run(tmp_path / "few", np.full((8, 2), 0.5), np.arange(8) % 2, names)
    with pytest.raises(InputError, match="32 positives or more"):
        halvings.kept([few], "recall>=0.95")


def test_of_many_classes_an_accuracy_of_the_rest_is_held_or_not(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    places = random.integers(0, 3, 900)
    raw = np.exp(random.normal(0, 1, (900, 3)) + 2.5 * np.eye(3)[places])
    made = _run(tmp_path / "run", raw / raw.sum(axis=1, keepdims=True), places, ("a", "b", "c"))
    found = halvings.kept([made], "accuracy>=0.9", confidence=0.9, halvings=30)
    assert found.held > 0.75 * found.halvings > 0
    assert found.review_distance is None


def test_what_is_no_share_is_refused_and_has_the_usual_one_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Expected a share such as recall>=0\.95\. Received: bal"):
        halvings.kept([_of_two(tmp_path / "run", 1)], "balanced")
    assert halvings.share_of("balanced", 2) == halvings.share_of(None, 2) == halvings.USUAL
    assert halvings.share_of("precision>=0.8", 2) == "precision>=0.8"
    assert halvings.share_of("likeliest", 3) is halvings.share_of(None, 3) is None
    assert halvings.share_of("accuracy>=0.8", 3) == "accuracy>=0.8"


def test_a_half_that_has_nothing_to_judge_by_is_no_half_in_which_it_held() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    answers = decision.of_margin(0.5, 0).answers(scores)
    sound = np.array([0, 0])
    assert halvings._holds(target.Share("precision", 0.9), sound, answers) is None
    assert halvings._holds(target.Share("recall", 0.9), sound, answers) is None
    assert halvings._holds(target.Share("fpr", 0.1), sound, answers) is True
    assert halvings._holds(target.Share("recall", 0.9), np.array([0, 1]), answers) is False
    for_review = dataclasses.replace(answers, review=np.array([True, True]))
    assert halvings._holds(target.Accuracy(0.9), sound, for_review) is None
    assert halvings._holds(target.Accuracy(0.9), sound, answers) is True
