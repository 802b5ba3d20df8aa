"""tfs bench: a bounded closed loop of requests, its throughput and latencies.

For a first look at a server from a caller's machine. It is no load test: callers wait for their
answers, so a slow server is asked less often.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfs_client import contract
from tfs_client.aio import AsyncClient
from tfs_client.answers import Metadata, TensorSpec
from tfs_client.cli.asked import connection, find
from tfs_client.cli.inputs import pictures, read_inputs
from tfs_client.cli.output import Progress, print_json, print_table, say
from tfs_client.client import Client
from tfs_client.errors import CallError, RequestError, TfsError
from tfs_client.wire.inputs import as_array, find_signature

_PERCENTILES = (50, 90, 99, 100)


@dataclasses.dataclass(kw_only=True)
class Outcome:
    """The results of all callers' calls."""

    latencies_s: list[float] = dataclasses.field(default_factory=list)
    versions: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    errors: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    last_error: str = ""
    seconds: float = 0.0


def bench(arguments: argparse.Namespace) -> int:
    """`tfs bench`: throughput and latencies."""
    if not 0 < arguments.duration_s < 3600:
        raise RequestError(
            "Expected --duration-s above 0, below 3600. "
            f"Received: {arguments.duration_s:g}; for longer runs there are load tests"
        )
    with Client(**connection(arguments)) as client:
        version, metadata = find(client, arguments)
    signature, inputs = _load(arguments, metadata)
    asked = {"model": arguments.model, "signature": signature, **version}
    outcome = asyncio.run(_bench(arguments, inputs, asked))
    rows = next(iter(inputs.values()), np.zeros(0))
    sent = {name: f"{array.dtype} {list(array.shape)}" for name, array in inputs.items()}
    figures = {
        "target": arguments.target,
        "signature": signature,
        "inputs": {name: text.replace("object", "string") for name, text in sent.items()},
        "concurrency": arguments.concurrency,
        "seconds": round(outcome.seconds, 3),
        "requests": len(outcome.latencies_s),
        "requests_per_s": round(len(outcome.latencies_s) / outcome.seconds, 1),
        "rows_per_s": round(len(rows) * len(outcome.latencies_s) / outcome.seconds, 1)
        if rows.ndim
        else None,
        "latency_ms": {
            name: round(1000 * float(np.percentile(outcome.latencies_s, percent)), 2)
            for name, percent in zip(("p50", "p90", "p99", "max"), _PERCENTILES)
        }
        if outcome.latencies_s
        else {},
        "versions": {str(version): count for version, count in outcome.versions.items()},
        "errors": dict(outcome.errors),
        "last_error": outcome.last_error,
    }
    if arguments.json:
        print_json(figures)
    else:
        _print(figures)
    return 1 if outcome.errors else 0


def _print(figures: Mapping[str, Any]) -> None:
    inputs = ", ".join(f"{name} {text}" for name, text in figures["inputs"].items())
    say(f"{figures['target']} {figures['signature']}: {inputs}")
    versions = ", ".join(f"{name}: {count}" for name, count in figures["versions"].items())
    latencies = "  ".join(f"{name} {value}" for name, value in figures["latency_ms"].items())
    errors = ", ".join(f"{name}: {count}" for name, count in figures["errors"].items())
    rows = [
        ("callers", str(figures["concurrency"])),
        ("requests", f"{figures['requests']} in {figures['seconds']:g} s"),
        ("requests/s", f"{figures['requests_per_s']:g}"),
        ("rows/s", f"{figures['rows_per_s']:g}" if figures["rows_per_s"] is not None else "-"),
        ("latency, ms", latencies or "-"),
        ("versions", versions or "-"),
        ("errors", f"{errors}; the last: {figures['last_error']}" if errors else "none"),
    ]
    print_table(("", ""), rows)


async def _bench(
    arguments: argparse.Namespace, inputs: dict[str, NDArray[Any]], asked: dict[str, Any]
) -> Outcome:
    # The server is measured, so nothing is sent twice and nothing held back.
    settings = {**connection(arguments), "retry": None, "breaker": None}
    async with AsyncClient(**settings) as client:
        outcome = Outcome()
        with Progress("s", arguments.duration_s) as progress:

            async def call() -> None:
                answer = await client.predict(inputs, **asked)
                outcome.latencies_s.append(answer.latency_s)
                outcome.versions[answer.version] += 1

            await call()  # makes the connection, and shows a mistake before anything is counted
            outcome.latencies_s.clear()
            outcome.versions.clear()
            start = time.monotonic()
            end = start + arguments.duration_s

            async def caller() -> None:
                while time.monotonic() < end:
                    await counted()

            async def counted() -> None:
                try:
                    await call()
                except TfsError as error:
                    code = error.code.name if isinstance(error, CallError) else ""
                    outcome.errors[code or type(error).__name__] += 1
                    outcome.last_error = str(error)
                    await asyncio.sleep(0.01)  # a failing server is not asked without pause

            async def watch() -> None:
                while True:
                    await asyncio.sleep(0.1)
                    progress.advance(0.1)

            watching = asyncio.ensure_future(watch())
            await asyncio.gather(*(caller() for _ in range(arguments.concurrency)))
            watching.cancel()
        outcome.seconds = time.monotonic() - start
    return outcome


def _load(arguments: argparse.Namespace, metadata: Metadata) -> tuple[str, dict[str, NDArray[Any]]]:
    """The signature and the inputs of every request."""
    signature = arguments.signature
    if arguments.inputs is not None:
        given = read_inputs(arguments.inputs)
        chosen = signature or contract.SIGNATURE_DEFAULT
        specs = find_signature(metadata, chosen).inputs
        found = {
            name: as_array(value, name, specs[name].dtype if name in specs else None)
            for name, value in given.items()
        }
        return chosen, found
    if arguments.image:
        files = [
            source if isinstance(source, bytes) else source.read_bytes()
            for _, source in pictures(arguments.image)[: arguments.batch_size]
        ]
        content = np.empty(arguments.batch_size, object)
        content[:] = [files[at % len(files)] for at in range(arguments.batch_size)]
        return contract.SIGNATURE_DEFAULT, {contract.INPUT_IMAGE_BYTES: content}
    if signature is None:
        has_pixels = contract.SIGNATURE_IMAGES in metadata.signatures
        signature = contract.SIGNATURE_IMAGES if has_pixels else contract.SIGNATURE_DEFAULT
    random = np.random.default_rng(0)
    return signature, {
        name: _random(name, spec, arguments.batch_size, random)
        for name, spec in find_signature(metadata, signature).inputs.items()
    }


def _random(name: str, spec: TensorSpec, rows: int, random: np.random.Generator) -> NDArray[Any]:
    if spec.dtype == "string" or spec.shape is None:
        raise RequestError(
            f"Expected images or --inputs: nothing sensible can be made up for the input {name!r}, "
            f"{spec}. Received: neither"
        )
    shape = [rows if size is None else size for size in spec.shape[:1]]
    shape += [1 if size is None else size for size in spec.shape[1:]]
    if spec.dtype.startswith(("int", "uint")):
        return random.integers(0, 128 if spec.dtype == "int8" else 256, shape).astype(spec.dtype)
    if spec.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    return random.standard_normal(shape).astype(spec.dtype)
