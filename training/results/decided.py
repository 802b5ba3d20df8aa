"""Writes what follows from a run's decision: its answers, figures and page.

The decision itself is written first. Whoever reads the run computes its answers from there, so an
interruption leaves nothing that contradicts it but files for people, which the next `make decide`
writes again.
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
        OSError: a file cannot be written.
    """
    decisions.write(made.path, decision)
    publication.write_predictions(made.path, made.predictions(), made.class_names)
    metrics = made.metrics()
    figures.write_json(made.path / run.METRICS, metrics)
    report.write(made, made.path / run.REPORT)
    return metrics
