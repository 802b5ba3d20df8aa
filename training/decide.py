"""Decides anew from which probability on an image is called positive, and what a person looks at.

    make decide TARGET="recall>=0.95"             of the positives, 95 % are found
    make decide TARGET="precision>=0.9"           of what is called positive, 90 % is
    make decide TARGET="fpr<=0.05"                of the negatives, 5 % are called positive at most
    make decide TARGET="miss=10,false_alarm=1"    a missed positive costs ten false alarms
    make decide TARGET=balanced                   both classes weigh the same
    make decide TARGET="threshold=0.4"            a threshold chosen otherwise

With more than two classes the likeliest one is answered, and what is asked for is what a person
looks at: where its probability, or its lead over the second, is too low.

    make decide TARGET="accuracy>=0.98"   98 % of the answers that nobody looks at are right
    make decide TARGET=likeliest          the least sure tenth goes to a person

Everything is chosen on the validation images, and its price is shown on the test images. A share is
to hold on images to come: a one-sided bound of it is held against the target, with --confidence.
Nothing is trained. The next `make export` takes the decision into the served graph.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any

from foundation import command_line, quiet_tensorflow
from foundation.command_line import InputError
from training import publication, run
from training.decision import choice, target
from training.decision.decision import AnyDecision, Decision

logger = logging.getLogger("training.decide")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What is asked for."""

    run: str
    target: str
    confidence: float
    review: float

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            InputError: a value is out of range.
        """
        if not 0.5 <= self.confidence < 1:
            raise InputError(
                f"Expected --confidence to be 0.5 up to, but not, 1. Received: {self.confidence}."
            )
        if not 0 <= self.review <= 1:
            raise InputError(f"Expected --review to be 0 to 1. Received: {self.review}.")


def main(argv: list[str] | None = None) -> int:
    """The command; prints the run's folder on stdout."""
    parser = command_line.Parser(
        prog="python -m training.decide",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="TARGET", help="such as recall>=0.95; see above")
    parser.add_argument(
        "--run", default="runs/latest", help="the run's folder or name (default: %(default)s)"
    )
    parser.add_argument(
        "--confidence",
        type=float,
        default=choice.DEFAULT_CONFIDENCE,
        help="0.5-1, that a share holds on images to come (default: %(default)s)",
    )
    parser.add_argument(
        "--review",
        type=float,
        metavar="SHARE",
        default=choice.DEFAULT_REVIEW,
        help="0-1, share of the images that go to a person: the least sure (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    command_line.configure_logging()
    return command_line.run(parser.prog, lambda: decide(Settings(**vars(args))))


def decide(settings: Settings) -> int:
    """Decides, writes it down beside the run, and tells its price."""
    made = run.named(settings.run)
    held, said = made.said()  # whatever the present decision is, be it broken
    validation = [place for place, one in enumerate(held) if one.split == "validation"]
    decision = choice.by_text(
        made.targets([held[place] for place in validation]),
        said[validation],
        settings.target,
        confidence=settings.confidence,
        review_rate=settings.review,
    )
    # The page shows pictures, which TensorFlow decodes; what can be refused was refused before.
    quiet_tensorflow.import_tensorflow()
    from training.results import decided

    with publication.sole_writer(made.path):
        metrics = decided.write(made, decision)
    for line in _told(decision, metrics["test"], made.class_names):
        logger.info("%s", line)
    if unkept := choice.unkept_review(decision, metrics["validation"]):
        logger.warning("%s", unkept)
    logger.info(
        "report: %s; into the served graph: make export RUN=%s",
        *(made.path / run.REPORT, made.name),
    )
    print(Path(made.path))
    return 0


def _told(decision: AnyDecision, test: dict[str, Any], class_names: tuple[str, ...]) -> list[str]:
    """The decision and its price, for people."""
    bound = ""
    if decision.bound is not None and decision.confidence is not None:
        sign = "at most" if decision.target.startswith(target.FPR) else "at least"
        bound = f" ({sign} {decision.bound:.3f} on images to come, in {decision.confidence:.0%})"

    def share(name: str) -> str:
        value, interval = test[name], test["intervals"][name]
        if value is None:
            return "-"
        return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"

    if isinstance(decision, Decision):
        answered = [
            f"{decision.target}: {class_names[1]} from a probability of "
            f"{decision.threshold:.4f} on{bound}",
            f"for review: {decision.review.low:.4f} up to {decision.review.high:.4f}",
        ]
        price = (
            f"recall {share('recall')}, precision {share('precision')}, false alarms "
            f"{share('false_positive_rate')} of the negatives"
        )
    else:
        answered = [
            f"{decision.target}: the likeliest of {len(class_names)} classes",
            f"for review: a probability below {decision.least_top:.4f}, or less than "
            f"{decision.least_lead:.4f} above the second{bound}",
        ]
        price = f"accuracy {share('accuracy')}"
    fitted, by_chance = decision.calibration, test["calibration_error_by_chance"]
    return [
        *answered,
        f"calibration: {fitted.in_words}",
        f"price on {test['count']} test images [95 %]: {price}",
        f"for review {share('review_share')}; accuracy of the rest "
        f"{share('accuracy_without_review')}",
        f"calibration error {test['calibration_error']:.3f}; a perfectly calibrated model would "
        f"have {by_chance['mean']:.3f}, and in 1 of 20 cases more than {by_chance['upper']:.3f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
