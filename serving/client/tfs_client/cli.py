"""tfs: ask a model server from the command line.

    tfs predict cell.png folder/ --label stable
    tfs metadata | tfs status | tfs wait-ready --label stable --timeout-s 60

The result goes to stdout (a table, or JSON with --json), errors go to stderr in one line. Costs one
request to connect and one an image. Exit code:

    0  all is well
    1  an image is not valid; it stands in the table, and so do all others
    2  no answer, or a mistake in the command

Knows nothing about gRPC or tensors: it is written against the package's public face.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tfs_client import contract
from tfs_client.client import DEFAULT_TARGET, DEFAULT_TIMEOUT_S, Client
from tfs_client.errors import RequestError, TfsError
from tfs_client.images import ImageClassifier, ImagePrediction
from tfs_client.pixels import read_file

"""What counts as an image in a folder; a file that is named outright may be called anything."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `tfs predict … | head`
        sys.stderr.close()
        return 2
    except (TfsError, OSError) as error:
        print(f"tfs: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tfs: interrupted", file=sys.stderr)
        return 130


def predict(arguments: argparse.Namespace) -> int:
    """Tfs predict: one line an image."""
    files = _image_files(arguments.image)
    with _client(arguments) as client:
        classifier = ImageClassifier(
            client, label=arguments.label, version=arguments.version, model=arguments.model
        )
        # Connects, so that the first image's latency is that of a request like the others'.
        client.metadata(model=arguments.model, label=arguments.label, version=arguments.version)
        rows = [(file, _ask(classifier, file)) for file in files]
    if arguments.json:
        _print_json([_prediction_as_json(file, answer) for file, answer in rows])
    else:
        header = ("file", "label", "probability", "needs_review", "version", "latency_ms")
        _print_table(header, [_prediction_as_text(file, answer) for file, answer in rows])
    for file, answer in rows:
        if answer is not None and not answer.valid:
            expected = ", ".join(contract.IMAGE_FORMATS)
            print(
                f"tfs: not valid: {file}: Expected a whole {expected} file within the model's "
                "limit of pixels. Received: what the model cannot decode. Open it and save it "
                "again as PNG, or smaller.",
                file=sys.stderr,
            )
    return 0 if all(answer is not None and answer.valid for _, answer in rows) else 1


def _ask(classifier: ImageClassifier, file: Path) -> ImagePrediction | None:
    """The answer, or None for a file that no model could read and that was not sent."""
    try:
        content = read_file(file)
    except RequestError as error:
        print(f"tfs: not sent: {error}", file=sys.stderr)
        return None
    return classifier.predict(content)


def metadata(arguments: argparse.Namespace) -> int:
    """Tfs metadata: the signatures of a version."""
    with _client(arguments) as client:
        found = client.metadata(
            model=arguments.model, label=arguments.label, version=arguments.version
        )
    if arguments.json:
        _print_json(dataclasses.asdict(found))
        return 0
    print(f"{found.model} version {found.version}")
    rows = []
    for signature in found.signatures.values():
        name = signature.name
        for way, specs in (("in", signature.inputs), ("out", signature.outputs)):
            for tensor, spec in specs.items():
                rows.append((name, way, tensor, spec.dtype, _shape_as_text(spec.shape)))
                name = ""
    _print_table(("signature", "", "tensor", "dtype", "shape"), rows)
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Tfs status: the state of every version."""
    with _client(arguments) as client:
        found = client.status(model=arguments.model)
    if arguments.json:
        _print_json([dataclasses.asdict(row) for row in found])
    else:
        _print_table(
            ("version", "state", "code", "error"),
            [(str(row.version), row.state, row.code, row.error) for row in found],
        )
    return 0


def wait_ready(arguments: argparse.Namespace) -> int:
    """Tfs wait-ready: returns when the version can answer."""
    with _client(arguments) as client:
        found = client.wait_ready(
            arguments.label, arguments.timeout_s, version=arguments.version, model=arguments.model
        )
    if arguments.json:
        _print_json({"model": found.model, "version": found.version})
    else:
        print(f"{found.model} version {found.version} is ready at {arguments.target}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tfs",
        description="Ask a model server. Exit code 0: all is well; 1: an image is not valid; "
        "2: no answer, or a mistake in the command.",
    )
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], does: str) -> Any:
        verb = verbs.add_parser(name, help=does, description=does)
        verb.set_defaults(command=command)
        verb.add_argument(
            "--target", default=DEFAULT_TARGET, help="host:port of gRPC (default: %(default)s)"
        )
        verb.add_argument(
            "--model", default=contract.MODEL_NAME, help="the model's name (default: %(default)s)"
        )
        verb.add_argument("--json", action="store_true", help="JSON in place of the table")
        return verb

    def add_version(verb: Any) -> None:
        either = verb.add_mutually_exclusive_group()
        either.add_argument(
            "--label", help=f"the version with this label (default: {contract.LABEL_STABLE})"
        )
        either.add_argument("--version", type=int, help="this version, in place of a label")

    def add_timeout(verb: Any, default: float, what: str) -> None:
        verb.add_argument(
            "--timeout-s",
            type=float,
            default=default,
            metavar="SECONDS",
            help=f"{what}, in seconds (default: %(default)g)",
        )

    verb = add("predict", predict, "Classify images; one line an image.")
    verb.add_argument(
        "image", nargs="+", type=Path, metavar="IMAGE", help="an image file, or a folder of them"
    )
    add_version(verb)
    add_timeout(verb, DEFAULT_TIMEOUT_S, "deadline of each request")

    verb = add("metadata", metadata, "Show the signatures of a version.")
    add_version(verb)
    add_timeout(verb, DEFAULT_TIMEOUT_S, "deadline of the request")

    verb = add("status", status, "Show the state of every version.")
    add_timeout(verb, DEFAULT_TIMEOUT_S, "deadline of the request")

    verb = add("wait-ready", wait_ready, "Wait until a version can answer predictions.")
    add_version(verb)
    add_timeout(verb, 60.0, "how long to wait")
    return parser


def _client(arguments: argparse.Namespace) -> Client:
    if getattr(arguments, "label", None) is None and getattr(arguments, "version", None) is None:
        arguments.label = contract.LABEL_STABLE
    return Client(arguments.target, timeout_s=arguments.timeout_s)


def _image_files(paths: Sequence[Path]) -> list[Path]:
    """The files, with folders replaced by the images in them; all are there."""
    files: list[Path] = []
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
            files.extend(found)
        elif path.exists():
            files.append(path)
        else:
            raise RequestError(
                f"Expected an image file or a folder. Received: no such file: {path}"
            )
    return files


def _prediction_as_text(file: Path, answer: ImagePrediction | None) -> tuple[str, ...]:
    if answer is None:
        return (str(file), "(not valid)", "-", "yes", "-", "-")
    return (
        str(file),
        answer.label if answer.valid else "(not valid)",
        f"{answer.probability:.4f}" if answer.valid else "-",
        "yes" if answer.needs_review else "no",
        str(answer.model_version),
        f"{1000 * answer.latency_s:.1f}",
    )


def _prediction_as_json(file: Path, answer: ImagePrediction | None) -> dict[str, Any]:
    """The same keys for every image; an unknown number is null, which every JSON reader takes."""
    if answer is None:
        answer = ImagePrediction(
            label="",
            probability=math.nan,
            needs_review=True,
            valid=False,
            model_version=0,
            latency_s=0.0,
        )
    row: dict[str, Any] = {"file": str(file), **dataclasses.asdict(answer)}
    if not answer.valid:
        row["probability"] = None
    if not answer.model_version:
        row["model_version"] = row["latency_s"] = None
    return row


def _shape_as_text(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "any"
    return "[" + ", ".join("N" if size is None else str(size) for size in shape) + "]"


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns; those of numbers to the right."""
    lines = [header, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    numeric = [
        bool(rows) and all(row[at].replace(".", "").isdigit() or row[at] == "-" for row in rows)
        for at in range(len(header))
    ]
    for line in lines:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
