"""The commands that ask once: predict, metadata, status, wait-ready."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfs_client import contract
from tfs_client.answers import Prediction
from tfs_client.cli.output import Progress, print_json, print_table, say, values_as_json
from tfs_client.client import Client
from tfs_client.errors import RequestError
from tfs_client.flags import connection_arguments
from tfs_client.images.classifier import ImageClassifier, ImagePrediction


def predict(arguments: argparse.Namespace) -> int:
    """`tfs predict`: one line an image, or the outputs for given inputs."""
    if arguments.inputs is not None:
        return _predict_inputs(arguments)
    files = image_files(arguments.image)
    if not files:
        raise RequestError("Expected images, a folder of them, or --inputs. Received: none")
    with Client(**connection(arguments)) as client:
        asked = version_of(arguments)
        classifier = ImageClassifier(
            client, model=arguments.model, batch_size=arguments.batch_size, **asked
        )
        # Connects, so that the first image's latency is that of a request like the others'.
        client.metadata(model=arguments.model, **asked)
        with Progress("images", len(files)) as progress:
            rows = list(
                classifier.stream(
                    files, concurrency=arguments.concurrency, progress=progress.advance
                )
            )
    if arguments.json:
        print_json([_prediction_as_json(row) for row in rows])
    else:
        header = ("file", "label", "probability", "needs_review", "version", "latency_ms")
        print_table(header, [_prediction_as_text(row) for row in rows])
    for row in rows:
        if row.reason:
            say(f"tfs: not sent: {row.source}: {row.reason}", sys.stderr)
        elif not row.valid:
            expected = ", ".join(contract.IMAGE_FORMATS)
            say(
                f"tfs: not valid: {row.source}: Expected a whole {expected} file within the "
                "model's limit of pixels. Received: what the model cannot decode. Open it and save "
                "it again as PNG, or smaller.",
                sys.stderr,
            )
    return 0 if all(row.valid for row in rows) else 1


def _predict_inputs(arguments: argparse.Namespace) -> int:
    if arguments.image:
        raise RequestError(
            f"Expected images or --inputs. Received: both, {arguments.image[0]} and --inputs"
        )
    inputs = read_inputs(arguments.inputs)
    with Client(**connection(arguments)) as client:
        answer = client.predict(
            inputs,
            model=arguments.model,
            signature=arguments.signature or contract.SIGNATURE_DEFAULT,
            **version_of(arguments),
        )
    if arguments.json:
        print_json(_answer_as_json(answer))
        return 0
    say(f"{answer.model} version {answer.version}, {1000 * answer.latency_s:.1f} ms")
    rows = [
        (name, "string" if array.dtype.kind == "O" else str(array.dtype), str(list(array.shape)))
        + (" ".join(np.array2string(array, threshold=20, separator=", ").split()),)
        for name, array in answer.outputs.items()
    ]
    print_table(("output", "dtype", "shape", "values"), rows)
    return 0


def metadata(arguments: argparse.Namespace) -> int:
    """`tfs metadata`: the signatures of a version."""
    with Client(**connection(arguments)) as client:
        found = client.metadata(model=arguments.model, **version_of(arguments))
    if arguments.json:
        print_json(dataclasses.asdict(found))
        return 0
    say(f"{found.model} version {found.version}")
    rows = []
    for signature in found.signatures.values():
        name = signature.name
        for way, specs in (("in", signature.inputs), ("out", signature.outputs)):
            for tensor, spec in specs.items():
                rows.append((name, way, tensor, spec.dtype, _shape_as_text(spec.shape)))
                name = ""
    print_table(("signature", "", "tensor", "dtype", "shape"), rows)
    return 0


def status(arguments: argparse.Namespace) -> int:
    """`tfs status`: the state of every version."""
    with Client(**connection(arguments)) as client:
        found = client.status(model=arguments.model)
    if arguments.json:
        print_json([dataclasses.asdict(row) for row in found])
    else:
        print_table(
            ("version", "state", "code", "error"),
            [(str(row.version), row.state, row.code, row.error) for row in found],
        )
    return 0


def wait_ready(arguments: argparse.Namespace) -> int:
    """`tfs wait-ready`: returns when the version can answer."""
    asked = version_of(arguments)
    with Client(**connection(arguments)) as client:
        found = client.wait_ready(
            asked.pop("label", None), arguments.timeout_s, model=arguments.model, **asked
        )
    if arguments.json:
        print_json({"model": found.model, "version": found.version})
    else:
        say(f"{found.model} version {found.version} is ready at {arguments.target}")
    return 0


def connection(arguments: argparse.Namespace) -> dict[str, Any]:
    """The client's arguments."""
    return {
        "target": arguments.target,
        "timeout_s": arguments.timeout_s,
        **connection_arguments(arguments),
    }


def version_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The version asked for: by number, or by label, which is `stable` unless said otherwise."""
    if arguments.version is not None:
        return {"version": arguments.version}
    return {"label": contract.LABEL_STABLE if arguments.label is None else arguments.label}


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The files, with folders replaced by the images in them.

    Raises:
        RequestError: a file that does not exist, or a folder without images.
    """
    return list(_image_files(paths))


def _image_files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = sorted(
                one for one in path.rglob("*") if one.suffix.lower() in contract.IMAGE_SUFFIXES
            )
            if not found:
                raise RequestError(
                    f"Expected {', '.join(contract.IMAGE_SUFFIXES)} files in the folder. "
                    f"Received: none in {path}"
                )
            yield from found
        elif path.exists():
            yield path
        else:
            raise RequestError(
                f"Expected an image file or a folder. Received: no such file: {path}"
            )


def read_inputs(text: str) -> Mapping[str, Any]:
    """Arrays by input name, from JSON, or from a .json or .npz file."""
    if text.endswith(".npz"):
        try:
            with np.load(text, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except ValueError as error:
            raise RequestError(
                f"Expected an .npz file of arrays. Received: {text}: {error}"
            ) from error
    try:
        found = json.loads(Path(text).read_text() if text.endswith(".json") else text)
    except ValueError as error:
        raise RequestError(
            f"Expected --inputs as JSON, or a .json or .npz file. Received: {text[:60]}: {error}"
        ) from error
    if not isinstance(found, dict):
        raise RequestError(
            f"Expected --inputs as a JSON object of arrays by name. Received: {text[:60]}"
        )
    return found


def _answer_as_json(answer: Prediction) -> dict[str, Any]:
    return {
        "model": answer.model,
        "version": answer.version,
        "latency_s": answer.latency_s,
        "outputs": {name: values_as_json(array) for name, array in answer.outputs.items()},
    }


def _prediction_as_text(row: ImagePrediction) -> tuple[str, ...]:
    if not row.answered_by:
        return (row.source, "(not valid)", "-", "yes", "-", "-")
    return (
        row.source,
        row.label if row.valid else "(not valid)",
        f"{row.probability:.4f}" if row.valid else "-",
        "yes" if row.needs_review else "no",
        str(row.model_version),
        f"{1000 * row.latency_s:.1f}",
    )


def _prediction_as_json(row: ImagePrediction) -> dict[str, Any]:
    """The same keys for every image; an unknown number is null, as JSON has no NaN."""
    found = dataclasses.asdict(row)
    found = {"file": found.pop("source"), **found}
    if math.isnan(row.probability):
        found["probability"] = None
    if not row.answered_by:
        found["model_version"] = found["latency_s"] = None
    return found


def _shape_as_text(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "any"
    return "[" + ", ".join("N" if size is None else str(size) for size in shape) + "]"
