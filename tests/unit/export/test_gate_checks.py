"""The gate's checks: what holds, what fails, and what the figures do not tell."""

from __future__ import annotations

import re

import numpy as np
import pytest

from export.gate import checks, comparisons, figures, timing, verdict
from export.gate.child import Answers, Evidence
from export.gate.evidence import latency_key
from export.gate.figures import Beside, Judged
from export.gate.verdict import Limits
from training.decision import target


def _judged(scores: np.ndarray, positive: np.ndarray, threshold: float = 0.5) -> Judged:
    said = scores >= threshold
    fine = np.ones(len(scores), bool)
    answers = Answers(probability=scores, label=said, needs_review=~fine, valid=fine)
    return Judged(
        answers=answers,
        said=said.astype(int),
        right=said == positive,
        likelihoods=np.where(positive, scores, 1 - scores),
        scores=scores,
        strange=~fine,
    )


def _beside(candidate: Judged, stable: Judged, positive: np.ndarray) -> Beside:
    every = np.arange(len(positive))
    held_out = {figures.CANDIDATE: candidate, figures.STABLE: stable}
    return Beside(
        truth=positive.astype(int),
        class_names=("negative", "positive"),
        held_out=held_out,
        corrupted={who: {} for who in held_out},
        corrupted_rows=every,
        usable=np.ones(len(positive), bool),
        corrupted_usable=np.ones(len(positive), bool),
    )


def _accuracy(count: int, *, flipped: int, margin: float = 0.05) -> verdict.Check:
    """The stable version is always right, the candidate wrong about some of each class."""
    positive = np.arange(count) % 2 == 0
    scores = np.where(positive, 0.9, 0.1)
    own = np.where(np.arange(count) < 2 * flipped, 1 - scores, scores)
    limits = Limits(
        margin=margin,
        log_loss_margin=0.1,
        max_latency_ratio=1.25,
        max_latency_ms=None,
        max_bytes_ratio=1.5,
        max_bytes=None,
    )
    return comparisons.not_worse(
        _beside(_judged(own, positive), _judged(scores, positive), positive), limits
    )[0]


def test_a_difference_holds_fails_or_is_unknown_as_its_interval_says() -> None:
    assert _accuracy(1000, flipped=10).state == verdict.HOLDS
    assert _accuracy(1000, flipped=60).state == verdict.FAILS
    unknown = _accuracy(100, flipped=2)
    assert (unknown.state, unknown.word) == (verdict.UNKNOWN, "unknown")
    assert unknown.as_json()["holds"] is None
    assert not verdict.passed([unknown])
    assert verdict.why_refused([unknown]) == "nothing fails; unknown: not_worse.balanced_accuracy"
    failed = _accuracy(1000, flipped=60)
    both = "not_worse.balanced_accuracy; unknown: not_worse.balanced_accuracy"
    assert verdict.why_refused([failed, unknown]) == both


def test_the_cures_of_an_unknown_difference_do_cure_it() -> None:
    unknown = _accuracy(100, flipped=2)
    more, margin = unknown.cures[:2]
    needed = unknown.detail["images_needed"]
    assert f"--data with about {needed:,} like these 100 would tell, if" in more
    # as many images as it says, with the same share of wrong answers
    enough = needed + needed % 2
    assert _accuracy(enough, flipped=round(0.02 * enough)).state == verdict.HOLDS
    assert _accuracy(needed // 2, flipped=round(0.02 * needed / 2)).state == verdict.UNKNOWN
    wide = float(margin.partition("--margin ")[2].split()[0])
    assert _accuracy(100, flipped=2, margin=wide).state == verdict.HOLDS
    assert _accuracy(100, flipped=2, margin=wide - 0.002).state == verdict.UNKNOWN


def test_more_images_are_not_sold_as_a_cure_of_what_looks_worse() -> None:
    unknown = _accuracy(100, flipped=3)
    assert unknown.state == verdict.UNKNOWN
    assert "would tell, and rather that it is worse, if" in unknown.cures[0]


def test_another_threshold_is_named_where_the_ranks_are_as_good() -> None:
    random = np.random.default_rng(3)
    positive = np.arange(300) % 2 == 0
    scores = np.clip(np.where(positive, 0.6, 0.4) + random.normal(0, 0.1, 300), 0.01, 0.99)
    stable = _judged(scores, positive)
    shifted = _judged(scores * 0.91, positive)  # the same ranks, and most decisions
    accuracy, area = comparisons.not_worse(_beside(shifted, stable, positive), Limits())
    assert (accuracy.state, area.state) == (verdict.UNKNOWN, verdict.HOLDS)
    cure = next(one for one in accuracy.cures if one.startswith("another threshold"))
    named = re.search(r"make decide TARGET=(\S+),", cure)
    assert isinstance(target.parse(named[1]), target.Balanced)  # which needs no training
    at = float(cure.partition("and at ")[2].split()[0])
    again = _judged(scores * 0.91, positive, at)
    accuracy, _ = comparisons.not_worse(_beside(again, stable, positive), Limits())
    assert accuracy.state == verdict.HOLDS


def _latency(candidate: np.ndarray, stable: np.ndarray, **limits: float) -> verdict.Check:
    asked = {figures.CANDIDATE: None, figures.STABLE: _Version()}
    arrays = {latency_key(figures.CANDIDATE): candidate, latency_key(figures.STABLE): stable}
    evidence = Evidence(ended=None, signatures=None, arrays=arrays)
    every = {
        "margin": 0.05,
        "log_loss_margin": 0.1,
        "max_latency_ratio": 1.25,
        "max_latency_ms": None,
        "max_bytes_ratio": 1.5,
        "max_bytes": None,
    }
    return checks.latency(evidence, asked, Limits(**every | limits))  # type: ignore[arg-type]


class _Version:
    number = 1


@pytest.mark.parametrize(
    ("ratio", "state"), [(1.0, verdict.HOLDS), (1.25, verdict.UNKNOWN), (1.6, verdict.FAILS)]
)
def test_a_latency_at_its_limit_is_unknown(ratio: float, state: str) -> None:
    random = np.random.default_rng(5)
    stable = random.lognormal(1, 0.3, 300)
    candidate = ratio * random.lognormal(1, 0.3, 300)
    check = _latency(candidate, stable)
    assert check.state == state
    interval = check.detail["intervals"]["ratio"]
    assert f"({interval['lower']:.2f} to {interval['upper']:.2f})" in check.received
    if state == verdict.UNKNOWN:
        enough = float(check.cures[1].partition("--max-latency-ratio ")[2].split()[0])
        assert _latency(candidate, stable, max_latency_ratio=enough).state == verdict.HOLDS


def test_one_limit_that_fails_is_not_hidden_by_another_that_is_unknown() -> None:
    random = np.random.default_rng(5)
    spent = random.lognormal(1, 0.3, 300)
    other = 1.25 * random.lognormal(1, 0.3, 300)
    check = _latency(other, spent, max_latency_ms=0.1)
    assert check.state == verdict.FAILS
    assert any("--max-latency-ratio" in cure for cure in check.cures)


@pytest.mark.thorough
def test_the_bounds_of_a_ratio_hold_the_true_one_as_often_as_they_say() -> None:
    random = np.random.default_rng(2)
    above = below = 0
    for _ in range(100):
        stable, candidate = random.lognormal(0, 0.25, (2, 300))
        found = timing.ratio_of_medians(1.1 * candidate, stable)
        above, below = above + (found.lower > 1.1), below + (found.upper < 1.1)
    assert 0 < above + below <= 20
    assert max(above, below) <= 12
