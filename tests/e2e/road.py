"""Walks the whole road as a person would, and times it: train, export, serve, predict, load.

    python -m tests.e2e.road                                     the full size, about six minutes
    python -m tests.e2e.road --max-images 400 --epochs 3         a small budget, about two minutes

Uses a folder of its own, so runs/ and models/ stay as they are. Writes build/road.json; exit code 1
if a step fails or a bar does not hold. Bars for training hold at full size only.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from foundation import command_line, figures
from foundation.command_line import InputError
from tests.ports import free_ports
from tfs_client import Client, contract
from training import run

logger = logging.getLogger("tests.e2e.road")

ROOT = Path(__file__).resolve().parents[2]

STARTS = 3
"""Server starts for the figures of a start: one alone says little on a busy machine."""

FOLLOWING_PREDICTIONS = 50


def main(argv: list[str] | None = None) -> int:
    """The command; prints the path of the figures on stdout."""
    parser = command_line.Parser(
        prog="python -m tests.e2e.road",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--max-images", type=int)
    parser.add_argument("--epochs", type=int)
    args = parser.parse_args(argv)
    command_line.configure_logging()
    budget = [
        part
        for flag, value in (("--max-images", args.max_images), ("--epochs", args.epochs))
        if value is not None
        for part in (flag, str(value))
    ]

    def body() -> int:
        with tempfile.TemporaryDirectory() as folder:
            return walk(Path(folder), budget)

    return command_line.run(parser.prog, body)


def walk(folder: Path, budget: Sequence[str]) -> int:
    """Every step in turn.

    Args:
        folder: empty; receives runs/ and models/.
        budget: flags for training; none means full size.

    Returns:
        0 if every bar holds.

    Raises:
        InputError: a step failed; names it and its exit code.
    """
    full = not budget
    result = figures.Figures("road", " ".join(["python -m tests.e2e.road", *budget]))
    runs, models = str(folder / "runs"), str(folder / "models")
    took = _step("training.train", "--runs", runs, *budget)
    result.add("training_s", took, "s", at_most=180 if full else None)
    metrics = run.load(folder / "runs" / run.LATEST).metrics()["test"]
    for name in ("roc_auc", "accuracy"):
        result.add(f"test.{name}", metrics[name], "")
    latest = str(folder / "runs" / run.LATEST)
    took = _step("export.saved_model", "--run", latest, "--models", models)
    result.add("export_s", took, "s", at_most=60)
    again = _step("export.saved_model", "--run", latest, "--models", models, "--if-new")
    result.add("export_that_stands_s", again, "s", at_most=10)

    sample = next((folder / "runs" / run.LATEST / run.SAMPLES).iterdir())
    starts, imports, ratios = [], [], []
    for _ in range(STARTS):
        imports.append(_tensorflow_import())
        with _server(folder) as (ready_s, target, _):
            starts.append(ready_s)
            ratios.append(_first_against_following(target, sample))
    # Seconds have a bar on the whole road only. A small budget is for checks on machines that do
    # other work too: there the start is compared with TensorFlow's import in the same minute.
    result.add("server_ready_s", statistics.median(starts), "s", at_most=10 if full else None)
    beside = statistics.median(start / own for start, own in zip(starts, imports))
    result.add("server_ready_to_tensorflow_import", beside, "", at_most=3)
    result.add("first_prediction_ratio", statistics.median(ratios), "", at_most=2)

    with _server(folder) as (_, target, rest):
        _step("tfs_client", "predict", str(sample.parent), "--target", target)
        _step("export.parity", "--run", latest, "--target", target, "--rest", rest)
        _step("loadtest.run", "--target", target, "--duration-s", "5")
    return result.write()


def _step(module: str, *flags: str) -> float:
    """Runs one command of the road, whose output is shown; returns the seconds it took."""
    logger.info("python -m %s %s", module, " ".join(flags))
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", module, *flags], cwd=ROOT, check=False)
    if done.returncode != 0:
        raise InputError(f"Expected {module} to succeed. Received: exit code {done.returncode}.")
    return time.monotonic() - started


def _tensorflow_import() -> float:
    """Seconds that a fresh process needs to import TensorFlow as the server does."""
    code = "from foundation import quiet_tensorflow as q; q.import_tensorflow(keras=False)"
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    return time.monotonic() - started


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[tuple[float, str, str]]:
    """Starts what `make serve` starts, and stops it as Ctrl-C does.

    Yields:
        seconds until it was ready, gRPC address, REST address.
    """
    grpc_port, rest_port = free_ports(2, "")
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.launch", "--server", "local"]
        + ["--models", str(folder / "models")]
        + ["--grpc-port", str(grpc_port), "--rest-port", str(rest_port)],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.DEVNULL,
    )
    try:
        target = f"localhost:{grpc_port}"
        with Client(target) as client:
            client.wait_ready(contract.LABEL_STABLE, timeout_s=60)
        yield time.monotonic() - started, target, f"localhost:{rest_port}"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _first_against_following(target: str, image: Path) -> float:
    """The first prediction's latency over the median of the following ones, one caller."""
    inputs = {contract.INPUT_IMAGE_BYTES: [image.read_bytes()]}
    with Client(target) as client:
        client.metadata(label=contract.LABEL_STABLE)  # connects
        first, *following = (
            client.predict(inputs, label=contract.LABEL_STABLE).latency_s
            for _ in range(1 + FOLLOWING_PREDICTIONS)
        )
    return first / statistics.median(following)


if __name__ == "__main__":
    sys.exit(main())
