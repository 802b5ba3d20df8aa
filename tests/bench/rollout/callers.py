"""Callers that ask a model by its labels, and record which version answered when.

    python -m tests.bench.rollout.callers localhost:8500 out.npz --callers 8 --per-s 200

Ends when its standard input does. There is no fallback, and without --retry nothing is sent twice,
so that every request that the server loses is counted.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

import numpy as np

from tests.bench.line_model import MODEL
from tfs_client import Client, TfsError

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
        "--per-s", type=float, default=0.0, help="all together; 0: as fast as they can"
    )
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--retry", action="store_true", help="as the client does by itself")
    given = parser.parse_args()
    retry = {} if given.retry else {"retry": None}
    with Client(given.target, breaker=None, timeout_s=20, **retry) as client:
        for label in LABELS:
            client.wait_ready(label, model=given.model)
        calling = _Calling(client, given.model)
        pause_s = given.callers / given.per_s if given.per_s else 0.0
        threads = [
            threading.Thread(target=calling.call, args=(number, pause_s, number / given.callers))
            for number in range(given.callers)
        ]
        for thread in threads:
            thread.start()
        print("calling", flush=True)
        sys.stdin.read()
        calling.stop.set()
        for thread in threads:
            thread.join()
    rows, errors = np.array(calling.rows, ROW), np.array(calling.errors[:20], object)
    np.savez_compressed(given.out, rows=rows, errors=errors)


class _Calling:
    """What all callers share."""

    def __init__(self, client: Client, model: str) -> None:
        self.stop = threading.Event()
        self.rows: list[tuple[float, float, int, int]] = []
        self.errors: list[str] = []
        self._client, self._model = client, model

    def call(self, number: int, pause_s: float, offset: float) -> None:
        """One caller.

        Args:
            number: decides its label and its input.
            pause_s: between the starts of two calls; 0: none.
            offset: of its first call, as a share of the pause.
        """
        due = time.monotonic() + offset * pause_s
        while not self.stop.is_set():
            if pause_s:
                time.sleep(max(0.0, due - time.monotonic()))
                due += pause_s
            self._ask(number)

    def _ask(self, number: int) -> None:
        label = number % len(LABELS)
        x = np.array([float(number)], np.float32)
        begun = time.monotonic()
        version = FAILED
        try:
            answer = self._client.predict({"x": x}, model=self._model, label=LABELS[label])
            right = float(answer["y"][0]) == number / 2 + answer.version
            version = answer.version if right else WRONG
        except TfsError as error:
            self.errors.append(str(error))
        self.rows.append((begun, time.monotonic(), label, version))


if __name__ == "__main__":
    main()
