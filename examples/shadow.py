"""A shadow: the canary is asked the same as the stable version, and its answers are only compared.

    python examples/shadow.py PICTURES --target localhost:8500 --share 0.2
    tfs shadow-report build/shadow.jsonl

Callers get the stable version's answers, as fast as without a shadow.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tfs_client import Client, ImageClassifier, Servable, Shadow, ShadowLog, TfsError

SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp"}


def main() -> int:
    """Classifies the pictures, mirrors a share of them and prints what became of the mirrors."""
    parser = argparse.ArgumentParser(description="Asks the canary without using its answers.")
    parser.add_argument("pictures", type=Path, help="folder, searched to the bottom")
    parser.add_argument("--target", default="localhost:8500", help="(default: %(default)s)")
    parser.add_argument("--share", type=float, default=0.2, help="mirrored (default: %(default)s)")
    parser.add_argument("--log", type=Path, default=Path("build/shadow.jsonl"))
    arguments = parser.parse_args()
    arguments.log.parent.mkdir(parents=True, exist_ok=True)
    files = sorted(p for p in arguments.pictures.rglob("*") if p.suffix.lower() in SUFFIXES)
    try:
        counts = classify(files, arguments.target, arguments.share, arguments.log)
    except TfsError as error:
        print(f"shadow: {error}", file=sys.stderr)
        return 1
    print(f"{len(files)} pictures; mirrored:", counts or "none")
    return 0


def classify(files: list[Path], target: str, share: float, log: Path) -> dict[str, int]:
    """Prints a line for each picture.

    Returns:
        What became of the mirrored requests: "compared", "failed", "dropped" … to how many.
    """
    # Closed in the other order: the client, when the mirrors are done; then the log they write to.
    with ShadowLog(log) as comparisons, Client(target, timeout_s=2) as client:
        shadow = Shadow(Servable(label="canary"), share=share, on_comparison=comparisons)
        classifier = ImageClassifier(client, label="stable", shadow=shadow)
        for path in files:
            # A share of the requests, chosen by their id: the same ones in every process.
            answer = classifier.predict(path, request_id=path.name)
            print(f"{path.name}  {answer.label}  {answer.probability:.4f}")
        shadow.drain(timeout_s=5)
        return dict(shadow.counts)


if __name__ == "__main__":
    sys.exit(main())
