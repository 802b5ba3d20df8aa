"""Replays a run's test images through the A/B router, as a service would, and logs the outcomes.

    python -m loadtest.replay                                    all test images, some seconds
    python -m loadtest.replay --experiment v2 --weights stable=90 canary=10 --passes 3

Each image is one unit of the experiment, so sending it twice does not count twice. Its outcome is
the true class. Leaves build/<experiment>/exposures.jsonl (which version answered which image) and
outcomes.csv, which `serving.rollout.experiment verdict` reads. Both are appended to, so that the
traffic may come in several runs. Send only images that neither version was trained on: those of the
run's test split.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from foundation import cells, command_line, progress
from foundation.command_line import InputError
from foundation.figures import BUILD_DIR
from tfs_client import Client, ExposureLog, ImageClassifier, Router, Servable, TfsError, contract
from training import run

EXPOSURES = "exposures.jsonl"

OUTCOMES = "outcomes.csv"

EXPERIMENT = "replay"
"""The name in serving/experiment.json too, which judges the traffic; a test compares the two."""

WEIGHTS = {contract.LABEL_STABLE: 50.0, contract.LABEL_CANARY: 50.0}
"""Those in serving/experiment.json too."""


def main(argv: Sequence[str] | None = None) -> int:
    """Replays once; prints the names of the two files."""
    parser = command_line.Parser(
        prog="python -m loadtest.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--target", default=f"localhost:{contract.GRPC_PORT}", help="(default: %(default)s)")
    add(
        "--run",
        default="runs/latest",
        help="whose images: a folder, or a name in runs/; %(default)s",
    )
    add("--experiment", default=EXPERIMENT, help="its name; (default: %(default)s)")
    add(
        "--weights",
        nargs="+",
        default=[f"{label}={weight:g}" for label, weight in WEIGHTS.items()],
        metavar="LABEL=WEIGHT",
        help="(default: %(default)s)",
    )
    add("--passes", type=int, default=1, help="over all images; %(default)s")
    add("--per-s", type=float, default=0.0, help="images a second; 0: as fast as answered")
    add("--build", type=Path, default=BUILD_DIR, help="(default: %(default)s)")
    args = parser.parse_args(argv)
    command_line.configure_logging()

    def body() -> int:
        folder = args.build / args.experiment
        try:
            count = replay(
                run.named(args.run),
                args.target,
                folder,
                experiment=args.experiment,
                weights=_weights(args.weights),
                passes=args.passes,
                per_s=args.per_s,
            )
        except TfsError as error:
            raise InputError(str(error)) from error
        print(f"{count} images: {folder / EXPOSURES} {folder / OUTCOMES}")
        return 0

    return command_line.run(parser.prog, body)


def replay(
    made: run.Run,
    target: str,
    folder: Path,
    *,
    experiment: str,
    weights: Mapping[str, float],
    passes: int = 1,
    per_s: float = 0.0,
) -> int:
    """Sends the images, one a request; if the chosen version cannot answer, stable does.

    Args:
        made: the run.
        target: host:port of the server's gRPC port.
        folder: receives EXPOSURES and OUTCOMES.
        experiment: its name.
        weights: by label.
        passes: how often each image is sent.
        per_s: images a second, 0 for no limit.

    Returns:
        How many were sent.

    Raises:
        TfsError: no server answers, or a weight is wrong.
        InputError: the run's images are gone.
    """
    rows = [row for row in made.predictions() if row.split == "test"]
    files = {row.path: made.file(row.path) for row in rows}
    folder.mkdir(parents=True, exist_ok=True)
    sent = 0
    with ExposureLog(folder / EXPOSURES) as exposures, Client(target) as client:
        client.wait_ready(contract.LABEL_STABLE, timeout_s=5)
        router = Router(weights, experiment=experiment, on_exposure=exposures)
        stable = Servable(label=contract.LABEL_STABLE)
        classifier = ImageClassifier(client, router=router, fallback=[stable])
        with (folder / OUTCOMES).open("a", newline="", encoding="utf-8") as file:
            outcomes = csv.writer(file, lineterminator="\n")
            if not file.tell():
                outcomes.writerow(["request_id", "truth", "time_s"])
            everything = rows * passes
            started = time.monotonic()
            for row in progress.tracked(everything, "replay", unit="images"):
                if per_s:
                    time.sleep(max(0.0, started + sent / per_s - time.monotonic()))
                answer = classifier.predict(files[row.path], key=row.path)
                truth = cells.as_text(row.label)
                outcomes.writerow([answer.request_id, truth, f"{time.time():.3f}"])
                sent += 1
    return sent


def _weights(given: Sequence[str]) -> dict[str, float]:
    weights = {}
    for one in given:
        label, equals, weight = one.partition("=")
        try:
            weights[label] = float(weight)
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(
                f"Expected LABEL=WEIGHT, such as canary=10. Received: --weights {one}. Correct it."
            )
    return weights


if __name__ == "__main__":
    sys.exit(main())
