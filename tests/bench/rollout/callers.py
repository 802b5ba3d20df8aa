"""Callers that ask a model by its labels, and write down who answered when.

    python -m tests.bench.rollout.callers localhost:8500 out.npz --callers 8 --per-s 200

Ends when its standard input does. Nothing falls back, and without --retry nothing is sent twice, so
that whatever the server loses is seen.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

import numpy as np

from tfs_client import Client, TfsError

MODEL = "line"

LABELS = ("stable", "canary")

WRONG = -1
"""A version that did not compute its own answer."""

FAILED = 0

ROW = np.dtype([("begun", "f8"), ("ended", "f8"), ("label", "i1"), ("version", "i4")])
"""Times are time.monotonic()'s, which all processes of a machine share."""


def main() -> None:
    """Calls until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("out", type=Path)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument(
        "--per-s", type=float, default=0.0, help="all together; 0: as fast as can be"
    )
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--retry", action="store_true", help="as the client does by itself")
    given = parser.parse_args()
    retry = {} if given.retry else {"retry": None}
    stop = threading.Event()
    rows: list[tuple[float, float, int, int]] = []
    errors: list[str] = []
    with Client(given.target, breaker=None, timeout_s=20, **retry) as client:
        for label in LABELS:
            client.wait_ready(label, model=given.model)

        def call(number: int) -> None:
            label, pause_s = number % len(LABELS), given.callers / given.per_s if given.per_s else 0
            x = np.array([float(number)], np.float32)
            due = time.monotonic() + number * pause_s / given.callers
            while not stop.is_set():
                if pause_s:
                    time.sleep(max(0.0, due - time.monotonic()))
                    due += pause_s
                begun = time.monotonic()
                version = FAILED
                try:
                    answer = client.predict({"x": x}, model=given.model, label=LABELS[label])
                    right = float(answer["y"][0]) == number / 2 + answer.version
                    version = answer.version if right else WRONG
                except TfsError as error:
                    errors.append(str(error))
                rows.append((begun, time.monotonic(), label, version))

        threads = [threading.Thread(target=call, args=(at,)) for at in range(given.callers)]
        for thread in threads:
            thread.start()
        print("calling", flush=True)
        sys.stdin.read()
        stop.set()
        for thread in threads:
            thread.join()
    np.savez_compressed(given.out, rows=np.array(rows, ROW), errors=np.array(errors[:20], object))


if __name__ == "__main__":
    main()
