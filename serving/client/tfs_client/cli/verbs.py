"""The commands that ask about versions: metadata, status, wait-ready."""

from __future__ import annotations

import argparse
import dataclasses

from tfs_client.cli.asked import connection, explained, find, no_model, version_of
from tfs_client.cli.output import print_json, print_table, say
from tfs_client.client import Client
from tfs_client.errors import LabelNotFoundError, NotFoundError


def metadata(arguments: argparse.Namespace) -> int:
    """`tfs metadata`: the signatures of a version."""
    with Client(**connection(arguments)) as client:
        _, found = find(client, arguments)
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
        try:
            found = client.status(model=arguments.model)
        except NotFoundError as error:
            raise no_model(arguments, error) from error
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
        try:
            found = client.wait_ready(
                asked.pop("label", None), arguments.timeout_s, model=arguments.model, **asked
            )
        except (NotFoundError, LabelNotFoundError) as error:
            raise explained(client, arguments, error) from error
    if arguments.json:
        print_json({"model": found.model, "version": found.version})
    else:
        say(f"{found.model} version {found.version} is ready at {arguments.target}")
    return 0


def _shape_as_text(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "any"
    return "[" + ", ".join("N" if size is None else str(size) for size in shape) + "]"
