"""An A/B test: half of the pictures are answered by the canary, and later the truth comes in.

    python examples/ab_test/ask.py PICTURES --target localhost:8500
    python -m serving.rollout.experiment verdict examples/ab_test/plan.json \
        --exposures build/ab/exposures.jsonl --outcomes build/ab/outcomes.csv

PICTURES is a folder with one sub-folder a class: its name is the truth. In a service the truth is
known hours later, from a person or a machine further down the line; the request id joins the two.
split.json may be edited while this runs: the router looks at it once a second.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import uuid
from pathlib import Path

from tfs_client import Client, ExposureLog, ImageClassifier, Router, Servable, TfsError

SPLIT = Path(__file__).with_name("split.json")


def main() -> int:
    """Sends every picture once and writes both logs; exit code 1 if no answer came."""
    parser = argparse.ArgumentParser(description="An A/B test with the client.")
    parser.add_argument("pictures", type=Path, help="folder with one sub-folder a class")
    parser.add_argument("--target", default="localhost:8500", help="(default: %(default)s)")
    parser.add_argument("--split", type=Path, default=SPLIT, help="(default: %(default)s)")
    parser.add_argument(
        "--logs", type=Path, default=Path("build/ab"), help="(default: %(default)s)"
    )
    arguments = parser.parse_args()
    arguments.logs.mkdir(parents=True, exist_ok=True)
    try:
        sent = ask(arguments.pictures, arguments.target, arguments.split, arguments.logs)
    except TfsError as error:
        print(f"ab_test: {error}", file=sys.stderr)
        return 1
    print(f"{sent} pictures: {arguments.logs}/exposures.jsonl {arguments.logs}/outcomes.csv")
    return 0


def ask(pictures: Path, target: str, split: Path, logs: Path) -> int:
    """Asks about each picture, and writes what was predicted and what was true.

    Returns:
        How many pictures were sent.
    """
    files = sorted(path for path in pictures.glob("*/*") if path.is_file())
    # The log is opened first and closed last: it receives an exposure for every answer.
    with ExposureLog(logs / "exposures.jsonl") as exposures, Client(target, timeout_s=2) as client:
        classifier = ImageClassifier(
            client,
            router=Router.from_file(split, on_exposure=exposures),
            fallback=[Servable(label="stable")],  # a canary that fails costs no caller an answer
            default=True,  # and where nothing answers, a person decides
        )
        with (logs / "outcomes.csv").open("a", newline="", encoding="utf-8") as file:
            outcomes = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                outcomes.writerow(["request_id", "truth", "time_s"])
            for path in files:
                # The key decides the side: all requests of one unit (a part, a user) share it.
                answer = classifier.predict(path, key=path.name, request_id=uuid.uuid4().hex)
                outcomes.writerow([answer.request_id, path.parent.name, f"{time.time():.3f}"])
    return len(files)


if __name__ == "__main__":
    sys.exit(main())
