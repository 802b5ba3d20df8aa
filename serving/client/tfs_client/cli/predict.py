"""tfs predict: images to decisions, or arrays by name to a model's outputs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from tfs_client import contract
from tfs_client.answers import ImagePrediction, Prediction
from tfs_client.cli.asked import connection, find
from tfs_client.cli.inputs import pictures, read_inputs
from tfs_client.cli.output import (
    Progress,
    print_csv,
    print_json,
    print_table,
    say,
    values_as_json,
)
from tfs_client.client import Client
from tfs_client.errors import RequestError
from tfs_client.images.classifier import ImageClassifier

_OF_INPUTS: Final = ("outputs", "signature")
_OF_IMAGES: Final = ("batch_size", "concurrency")
"""Flags that do nothing for the other kind."""


def predict(arguments: argparse.Namespace) -> int:
    """`tfs predict`: one line an image, or the outputs for given inputs."""
    for_images = arguments.inputs is None
    if not for_images and arguments.image:
        raise RequestError(
            f"Expected images or --inputs. Received: both, {arguments.image[0]} and --inputs"
        )
    if for_images and not arguments.image:
        raise RequestError("Expected images, a folder of them, or --inputs. Received: none")
    for name in _OF_INPUTS if for_images else _OF_IMAGES:
        if name in getattr(arguments, "given", ()):
            flag, kind = name.replace("_", "-"), "--inputs" if for_images else "images"
            raise RequestError(f"Expected {kind} with --{flag}. Received: --{flag} without")
    return _predict_images(arguments) if for_images else _predict_inputs(arguments)


def _predict_images(arguments: argparse.Namespace) -> int:
    named = pictures(arguments.image)
    rows: list[ImagePrediction] = []
    with Client(**connection(arguments)) as client:
        # Connects, too, so that the first image's latency is that of a request like the others'.
        asked, found = find(client, arguments)
        classifier = ImageClassifier(
            client,
            model=arguments.model,
            batch_size=arguments.batch_size,
            **(asked or {"version": found.version}),
        )
        with Progress("images", len(named)) as progress:
            answers = classifier.stream(
                (source for _, source in named),
                concurrency=arguments.concurrency,
                progress=progress.advance,
            )
            try:
                for (name, _), answer in zip(named, answers, strict=True):
                    rows.append(dataclasses.replace(answer, source=name))
            except BaseException:
                progress.clear()
                if rows:  # what was answered is not lost with what was not
                    _print_images(arguments, rows)
                    said = f"tfs: answered are {len(rows)} of {len(named)} images, not the others"
                    say(said, sys.stderr)
                raise
    _print_images(arguments, rows)
    return 0 if all(row.valid for row in rows) else 1


def _print_images(arguments: argparse.Namespace, rows: list[ImagePrediction]) -> None:
    if arguments.json:
        print_json([_prediction_as_json(row) for row in rows])
    elif arguments.csv:
        found = [
            {**one, "scores": json.dumps(one["scores"], ensure_ascii=False)}
            for one in map(_prediction_as_json, rows)
        ]
        print_csv([list(found[0]), *(list(row.values()) for row in found)])
    else:
        header = ("file", "label", "probability", "needs_review", "version", "latency_ms")
        print_table(header, [_prediction_as_text(row) for row in rows])
    sys.stdout.flush()
    for row in rows:
        if not row.valid:
            what = "not valid" if row.answered_by else "not sent"
            say(f"tfs: {what}: {row.source}: {row.reason}", sys.stderr)


def _predict_inputs(arguments: argparse.Namespace) -> int:
    inputs = read_inputs(arguments.inputs)
    with Client(**connection(arguments)) as client:
        asked, _ = find(client, arguments)
        answer = client.predict(
            inputs,
            model=arguments.model,
            signature=contract.SIGNATURE_DEFAULT
            if arguments.signature is None
            else arguments.signature,
            outputs=arguments.outputs,
            **asked,
        )
    if arguments.json:
        print_json(_answer_as_json(answer))
        return 0
    if arguments.csv:
        print_csv(_answer_as_rows(answer))
        return 0
    say(f"{answer.model} version {answer.version}, {1000 * answer.latency_s:.1f} ms")
    rows = [
        (name, "string" if array.dtype.kind == "O" else str(array.dtype), str(list(array.shape)))
        + (" ".join(np.array2string(array, threshold=20, separator=", ").split()),)
        for name, array in answer.outputs.items()
    ]
    print_table(("output", "dtype", "shape", "values"), rows)
    return 0


def _answer_as_rows(answer: Prediction) -> Iterator[list[Any]]:
    """The names of the outputs, and a line for each row of theirs.

    Raises:
        RequestError: the outputs differ in their number of rows, so that no line can hold them.
    """
    counts = {name: len(array) if array.ndim else None for name, array in answer.outputs.items()}
    if len(set(counts.values())) > 1:
        raise RequestError(
            "Expected outputs of as many rows each, for lines of CSV. Received: "
            f"{', '.join(f'{name}: {count or 0}' for name, count in counts.items())}; choose with "
            "--outputs, or take --json"
        )
    yield list(answer.outputs)
    columns = [values_as_json(np.atleast_1d(array)) for array in answer.outputs.values()]
    for row in zip(*columns):
        yield [json.dumps(one) if isinstance(one, (list, dict)) else one for one in row]


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
