"""The figures behind the slider: what a run would answer from each threshold on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from training import run
from training.decision import decision, target
from training.decision.metrics import metrics
from training.results import prices

NAMES = ("sound", "defective")


def _rows(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> list[run.Prediction]:
    held = [
        run.Held(f"{place}.png", run.HELD_OUT[place % 2], NAMES[int(label)])
        for place, label in enumerate(labels)
    ]
    return run.answered(held, np.stack([1 - scores, scores], 1), decision.of_margin(0.5, 0), NAMES)


@pytest.mark.parametrize("count", [1, 7, 60, 3000])
def test_every_threshold_as_it_is_typed_costs_what_a_decision_by_it_costs(count: int) -> None:
    random = np.random.default_rng(count)
    labels = random.random(count) < 0.3
    scores = (random.random(count) * 0.7 + labels * 0.3).astype(np.float32)
    rows = _rows(scores, labels)
    found = prices.prices(rows, "defective", 0.5)
    assert found is not None
    assert 0 <= min(count + 1, prices.MOST + 1) - len(found["thresholds"]) <= 1
    typed = [target.parse(f"threshold={text}").value for text in found["thresholds"]]
    assert typed == sorted(set(typed))
    assert max(map(len, found["thresholds"])) <= 9
    for split in run.HELD_OUT:
        own = [row for row in rows if row.split == split]
        scores_of = np.array([row.model_scores for row in own], np.float32).reshape(-1, 2)
        true = np.array([row.label == "defective" for row in own], bool)
        assert (found[split]["positives"], found[split]["negatives"]) == (true.sum(), (~true).sum())
        for place in range(0, len(typed), max(1, len(typed) // 20)):
            by = dataclasses.replace(decision.of_margin(0.5, 0), threshold=typed[place])
            said = by.answers(scores_of).decided == 1
            assert found[split]["found"][place] == (said & true).sum()
            assert found[split]["false_alarms"][place] == (said & ~true).sum()


def test_the_present_threshold_is_shown_as_it_was_asked_for() -> None:
    rows = _rows(np.array([0.1, 0.2, 0.85, 0.9], np.float32), np.array([False, False, True, True]))
    for threshold, shown in ((0.5, "0.5"), (0.2, "0.2"), (0.0, "0"), (1.0000001, "1.0")):
        found = prices.prices(rows, "defective", threshold)
        assert found is not None
        assert found["thresholds"][found["present"]] == shown  # 0.5 was shown as 0.8


def test_the_present_threshold_is_among_them_and_is_answered_alike() -> None:
    random = np.random.default_rng(1)
    labels = random.random(2000) < 0.5
    scores = random.random(2000).astype(np.float32)
    rows = _rows(scores, labels)
    for threshold in (0.0, 0.0004, 0.5, 0.77777, 0.99999, 1.0):
        found = prices.prices(rows, "defective", threshold)
        assert found is not None
        by = dataclasses.replace(decision.of_margin(0.5, 0), threshold=threshold)
        own = [row for row in rows if row.split == "test"]
        answers = by.answers(run.model_scores(own))
        told = metrics(np.array([int(row.label == "defective") for row in own]), answers)
        assert found["test"]["found"][found["present"]] == told["confusion_matrix"][1][1]
        assert found["test"]["false_alarms"][found["present"]] == told["confusion_matrix"][0][1]


def test_equal_and_extreme_probabilities_have_a_threshold_each() -> None:
    scores = np.array([0, 0, 1, 1, 0.25, np.nextafter(np.float32(0.25), np.float32(1))], np.float32)
    found = prices.prices(_rows(scores, scores > 0.5), "defective", 0.5)
    assert found is not None
    assert found["thresholds"] == ["0.0", "0.2", "0.25000002", "0.5"]
    assert found["present"] == 3


def test_without_images_there_is_nothing_to_choose_by() -> None:
    assert prices.prices([], "defective", 0.5) is None
