"""Holds every way to a running server against the run's own answers, image by image.

    python -m export.parity                         all test images, PNG and JPEG, about a minute

For each test image, as it is and as a JPEG made of it: the probabilities of the run's own
evaluation, of serving_default by gRPC and by REST, of classify, and of predict_images fed with the
client's own decoding and resizing. The server must serve a version of the same run. Writes
build/parity.json; exit code 1 if a bar does not hold.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import logging
import re
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from foundation import command_line, figures, quiet_tensorflow
from foundation.command_line import InputError
from foundation.progress import Progress
from tfs_client import Client, TfsError, contract, image_to_array
from training import run

logger = logging.getLogger("export.parity")

BATCH_SIZE = 32
JPEG_QUALITY = 95

SAME_FILE_BAR = 1e-5
"""Largest difference of a probability where the graph decodes the file."""

OWN_PIXELS_BAR = 0.005
"""Largest difference where the client decodes and resizes for itself, with Pillow."""


def main(argv: list[str] | None = None) -> int:
    """The command; prints the path of the figures on stdout."""
    parser = command_line.Parser(
        prog="python -m export.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--run",
        default="runs/latest",
        help="folder of a run, or its name in runs/ (default: %(default)s)",
    )
    parser.add_argument(
        "--target", default=f"localhost:{contract.GRPC_PORT}", help="gRPC (default: %(default)s)"
    )
    parser.add_argument(
        "--rest", help=f"REST of the same server (default: --target's host, {contract.REST_PORT})"
    )
    parser.add_argument(
        "--label", default=contract.LABEL_STABLE, help="version to ask (default: %(default)s)"
    )
    parser.add_argument("--max-images", type=int, help="only the first so many")
    args = parser.parse_args(argv)
    command_line.configure_logging()

    def body() -> int:
        rest = args.rest or rest_beside(args.target)
        made = run.named(args.run)
        with Client(args.target) as client:
            try:
                return parity(made, client, rest, args.label, args.max_images)
            except TfsError as error:
                raise InputError(str(error)) from error

    return command_line.run(parser.prog, body)


def rest_beside(target: str) -> str:
    """The REST address of the server whose gRPC address this is: its host, and the usual port.

    Raises:
        InputError: its gRPC port is not the usual one either, or it is no host:port. To ask any
            other address might mean to ask another server.
    """
    usual = re.fullmatch(rf"(?:dns:/*)?([^/:]+|\[[^]]+\]):{contract.GRPC_PORT}", target)
    if usual is None:
        raise InputError(
            f"Expected the REST address of the server at {target}. Received: none, and its port is "
            f"not {contract.GRPC_PORT}, beside which {contract.REST_PORT} would be taken. Add "
            "--rest host:port."
        )
    return f"{usual.group(1)}:{contract.REST_PORT}"


def parity(
    made: run.Run, client: Client, rest: str, label: str, max_images: int | None = None
) -> int:
    """Compares and writes build/parity.json.

    Args:
        made: the run whose version the server serves under the label.
        client: connected to the server's gRPC port.
        rest: host:port of the server's REST API.
        label: which version to ask.
        max_images: only the first so many test images.

    Returns:
        the exit code: 0 if every bar holds.

    Raises:
        TfsError: the server does not answer.
        InputError: the REST API does not answer, or the run's images are gone.
    """
    client.wait_ready(label, timeout_s=5)
    rows = [row for row in made.predictions() if row.split == "test"][:max_images]
    originals = [made.file(row.path).read_bytes() for row in rows]
    ways = _ways(made, client, rest, label)
    result = figures.Figures("parity", "python -m export.parity")
    result.add("images", len(rows), "")
    jpegs = [_as_jpeg(file) for file in originals]
    recorded = np.array([row.scores for row in rows], np.float32)
    number = 0
    for kind, files, own in (
        ("original", originals, recorded),
        ("jpeg", jpegs, _own_evaluation(made, jpegs)),
    ):
        decisions = made.decision.decided(own)
        for name, (ask, bar) in ways.items():
            number += 1
            words = f"parity {number} of {2 * len(ways)}: {kind} {name}"
            with Progress(words, total=len(files), unit="images") as shown:
                parts = []
                for start in range(0, len(files), BATCH_SIZE):
                    parts.append(ask(files[start : start + BATCH_SIZE]))
                    shown.add(len(parts[-1]))
            answers = np.concatenate(parts)
            difference = float(np.max(np.abs(answers - own)))
            changed = int(np.sum(made.decision.decided(answers) != decisions))
            result.add(f"{kind}.{name}.max_difference", difference, "probability", at_most=bar)
            result.add(f"{kind}.{name}.decisions_changed", changed, "images", at_most=0)
    return result.write()


Ask = Callable[[Sequence[bytes]], np.ndarray]


def _ways(made: run.Run, client: Client, rest: str, label: str) -> dict[str, tuple[Ask, float]]:
    """From a name to a function (files -> float [N, K] probabilities), and its bar."""
    size = (made.config.image_height, made.config.image_width)
    two = len(made.class_names) == 2

    def of_outputs(outputs: Mapping[str, Any]) -> np.ndarray:
        if not two:
            return np.array(outputs[contract.OUTPUT_SCORES])
        # what versions answer as well that were exported before there could be more classes
        positive = np.array(outputs[contract.OUTPUT_PROBABILITY])
        return np.stack([1 - positive, positive], axis=1)

    def serving_default(files: Sequence[bytes]) -> np.ndarray:
        answer = client.predict({contract.INPUT_IMAGE_BYTES: list(files)}, label=label)
        return of_outputs(answer.outputs)

    def predict_images(files: Sequence[bytes]) -> np.ndarray:
        images = np.stack([image_to_array(file, size) for file in files])
        answer = client.predict(
            {contract.INPUT_IMAGES: images}, label=label, signature=contract.SIGNATURE_IMAGES
        )
        return of_outputs(answer.outputs)

    def classify(files: Sequence[bytes]) -> np.ndarray:
        answer = client.classify([{contract.FEATURE_ENCODED: file} for file in files], label=label)
        return np.array([[one.score for one in classes] for classes in answer.results])

    def by_rest(files: Sequence[bytes]) -> np.ndarray:
        url = f"http://{rest}/v1/models/{contract.MODEL_NAME}/labels/{label}:predict"
        rows = _rest(url, files)
        return of_outputs({name: [row[name] for row in rows] for name in rows[0]})

    return {
        "serving_default": (serving_default, SAME_FILE_BAR),
        "serving_default_rest": (by_rest, SAME_FILE_BAR),
        "classify": (classify, SAME_FILE_BAR),
        "predict_images": (predict_images, OWN_PIXELS_BAR),
    }


def _rest(url: str, files: Sequence[bytes]) -> list[dict[str, Any]]:
    instances = [{"b64": base64.b64encode(file).decode()} for file in files]
    request = urllib.request.Request(url, json.dumps({"instances": instances}).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            rows = json.load(response)["predictions"]
    except urllib.error.URLError as error:
        raise InputError(
            f"Expected an answer from {url}. Received: {error}. Start the server with its REST "
            "port on, or give another one with --rest."
        ) from error
    return list(rows)


def _as_jpeg(file: bytes) -> bytes:
    target = io.BytesIO()
    with PIL.Image.open(io.BytesIO(file)) as image:
        image.convert("L" if image.mode in ("L", "1") else "RGB").save(
            target, "JPEG", quality=JPEG_QUALITY
        )
    return target.getvalue()


def _own_evaluation(made: run.Run, files: Sequence[bytes]) -> np.ndarray:
    """The run's model on other files, through the same pipeline that evaluated it."""
    quiet_tensorflow.import_tensorflow()
    from training import architectures
    from training.data import pipeline
    from training.learning import evaluation

    model = architectures.trained_model(made)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}" for index in range(len(files))]
        for path, file in zip(paths, files):
            path.write_bytes(file)
        images = pipeline.pixels([str(path) for path in paths], [0] * len(paths), made.config)
        batches = pipeline.scaled_batches(images, made.config)
        said = evaluation.Predictor(model).probabilities(batches)
    return made.decision.answers(said).scores


if __name__ == "__main__":
    sys.exit(main())
