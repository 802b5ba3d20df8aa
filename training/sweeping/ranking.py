"""Ranks variants by validation: mean and spread over the seeds, and in pairs against the best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Final

from training import run
from training.comparing import folds
from training.comparing.folds import Spread
from training.sweeping.variants import Variant

FIGURES: Final = ("roc_auc", "balanced_accuracy", "accuracy", "log_loss")

LESS_IS_BETTER: Final = ("log_loss",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A variant and what its runs came to."""

    variant: Variant
    runs: tuple[str, ...]
    """one a seed"""
    validation: dict[str, Spread]
    test: dict[str, Spread]
    """not ranked by: who chooses by it has no figure left that nobody has chosen by"""
    behind: Spread
    """how much better the first row is, seed by seed, by validation; 0 for itself"""
    weights: int
    seconds: float
    """of training, on average"""
    answer_ms: float | None
    """processor time of one answer; None of a run from before it was measured"""

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


def rank(made: Sequence[tuple[Variant, Sequence[run.Run]]], by: str) -> list[Row]:
    """The best variant first.

    Args:
        made: each variant with its runs, by the same seeds.
        by: one of FIGURES, of validation.
    """
    found = {variant.name: [one.metrics() for one in runs] for variant, runs in made}
    spreads = {
        name: {split: _spreads([one[split] for one in metrics]) for split in run.HELD_OUT}
        for name, metrics in found.items()
    }

    def goodness(name: str) -> float:
        mean = spreads[name]["validation"][by].mean
        if mean is None:
            return -math.inf
        return -mean if by in LESS_IS_BETTER else mean

    names = sorted(spreads, key=goodness, reverse=True)
    best = spreads[names[0]]["validation"][by].values
    by_name = {variant.name: (variant, runs) for variant, runs in made}
    return [
        _row(*by_name[name], spreads[name], _behind(best, spreads[name]["validation"][by], by))
        for name in names
    ]


def _spreads(metrics: Sequence[dict[str, Any]]) -> dict[str, Spread]:
    return {
        name: folds.spread(
            [one[name] for one in metrics], math.inf if name in LESS_IS_BETTER else 1.0
        )
        for name in FIGURES
    }


def _behind(best: Sequence[float | None], other: Spread, by: str) -> Spread:
    sign = -1 if by in LESS_IS_BETTER else 1
    return folds.spread(
        [
            None if one is None or two is None else sign * (one - two)
            for one, two in zip(best, other.values)
        ],
        most=math.inf,
        least=-math.inf,
    )


def _row(
    variant: Variant, runs: Sequence[run.Run], spreads: dict[str, dict[str, Spread]], behind: Spread
) -> Row:
    timings = [one.settings["timings"] for one in runs]
    answer = [found["answer_processor_ms"] for found in timings if "answer_processor_ms" in found]
    return Row(
        variant=variant,
        runs=tuple(one.id for one in runs),
        validation=spreads["validation"],
        test=spreads["test"],
        behind=behind,
        weights=runs[0].settings["model"]["weights"],
        seconds=sum(found["training_s"] for found in timings) / len(timings),
        answer_ms=sum(answer) / len(answer) if answer else None,
    )


def told(rows: Sequence[Row], by: str) -> list[str]:
    """The table, for a terminal and for Markdown."""
    header = [
        *("variant", f"validation {by}", "behind the first", "test ROC-AUC", "test balanced"),
        *("weights", "training s", "an answer"),
    ]
    lines = [
        [
            row.variant.name,
            _mean(row.validation[by]),
            _mean(row.behind) if row is not rows[0] else "",
            _mean(row.test["roc_auc"]),
            _mean(row.test["balanced_accuracy"]),
            f"{row.weights:,}",
            f"{row.seconds:.0f}",
            "-" if row.answer_ms is None else f"{row.answer_ms:.1f} ms",
        ]
        for row in rows
    ]
    cells = [header, ["---", *["---:"] * (len(header) - 1)], *lines]
    widths = [max(len(line[place]) for line in cells) for place in range(len(header))]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
        for line in cells
    ]


def _mean(found: Spread) -> str:
    if found.mean is None:
        return "-"
    spread = "" if found.deviation is None else f" ± {found.deviation:.3f}"
    return f"{found.mean:.3f}{spread}"
