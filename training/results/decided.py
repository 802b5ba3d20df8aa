"""Writes what follows from a run's decision: its answers, figures and page.

All figures are computed before anything is written. Then the decision itself comes first: whoever
reads the run computes its answers from there, so an interruption leaves nothing that contradicts it
but files for people, which the next `make decide` writes again.
"""

from __future__ import annotations

from typing import Any

from foundation import figures
from training import publication, run
from training.decision import decision as decisions
from training.decision.decision import AnyDecision
from training.results import report


def write(made: run.Run, decision: AnyDecision) -> dict[str, Any]:
    """Makes a decision the run's own.

    Args:
        made: the run, with its predictions and settings.
        decision: how to answer from now on.

    Returns:
        the figures, one entry a split.

    Raises:
        InputError: the run's files are not what training wrote.
        OSError: a file cannot be written.
    """
    metrics, rows = made.metrics(decision), made.predictions(decision)
    decisions.write(made.path, decision)
    publication.write_predictions(made.path, rows, made.class_names)
    figures.write_json(made.path / run.METRICS, metrics)
    report.write(made, made.path / run.REPORT)
    return metrics
