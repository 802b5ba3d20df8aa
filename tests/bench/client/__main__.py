"""Measures the client beside a bare gRPC stub and beside the clients of others.

    python -m tests.bench.client                       all of it, about four minutes
    python -m tests.bench.client --parts import call   some of it
    python -m tests.bench.client --quick               a look: no bar but that of errors

Parts: `import`, time and memory beside grpcio, numpy and protobuf; `encode`, from arrays to request
bytes beside one copy of the data; `decode`, from answer bytes to arrays, and what that allocates;
`call`, latency beside a bare stub, from a thread and from an event loop, and memory; `outage`, a
local server killed and restarted in the middle of 20,000 calls with retries and fallbacks.
tensorflow-serving-api and ovmsclient are measured in the same rounds, in environments made on
demand under build/.

Leaves build/bench-client.json, build/bench-client.html, and beside them the raw samples:
build/bench-client-imports.csv, -encode.npz, -decode.npz, -calls.npz, -memory.csv, -outage.npz. Exit
code 1 if a bar does not hold.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from foundation import command_line, figures
from tests.bench.client import (
    arrays,
    calls,
    environments,
    imports,
    material,
    outage,
    report,
    verdict,
)

logger = logging.getLogger("tests.bench.client")

PARTS = ("import", "encode", "decode", "call", "outage")

NAME = "bench-client"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured."""

    imports: int = 40
    """Pairs of imports."""
    rounds: int = 10
    """Turns of each client, in each part."""
    repeats: int = 50
    """Requests and answers in a turn, the best of which counts."""
    pairs: int = 500
    """Calls in a turn, and as many of the bare stub."""
    calls: int = 10_000
    """While memory is watched."""
    outage_calls: int = 20_000
    outage_per_s: float = 1_000.0
    """The callers' rate, all together."""


QUICK = Extent(
    imports=2, rounds=2, repeats=5, pairs=50, calls=500, outage_calls=2_000, outage_per_s=200
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; prints the paths of the figures and the page on stdout."""
    parser = command_line.Parser(
        prog="bench_client",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="(default: all)")
    add("--quick", action="store_true", help="short, and judges errors only")
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = parser.parse_args(arguments)
    command_line.configure_logging()
    # A server is killed on purpose: what the client says of it is expected.
    logging.getLogger("tfs_client").setLevel(logging.ERROR)
    command = " ".join(["python -m tests.bench.client", *arguments])
    return command_line.run("bench_client", lambda: bench(command, args.parts, quick=args.quick))


def bench(command: str, parts: Sequence[str], *, quick: bool) -> int:
    """Measures the parts, writes figures, samples and page, returns the exit code."""
    extent, bars = (QUICK, False) if quick else (Extent(), True)
    result = figures.Figures(NAME, command)
    build = figures.BUILD_DIR
    build.mkdir(exist_ok=True)
    page = report.Page()
    rivals: dict[str, Path] = {}
    if set(parts) - {"outage"}:
        rivals, page.absent = environments.make_all()
        verdict.add_rivals(result, page.absent, bars)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        material.make(folder)
        if "import" in parts:
            page.imports = imports.measure(rivals, extent.imports)
            imports.write(page.imports, build / f"{NAME}-imports.csv")
            verdict.add_imports(result, page.imports, bars)
        if "encode" in parts:
            page.encoded = arrays.encode(rivals, folder, extent.rounds, extent.repeats)
            page.encoded.samples.write(build / f"{NAME}-encode.npz")
            verdict.add_encode(result, page.encoded, bars)
        if "decode" in parts:
            page.decoded = arrays.decode(rivals, folder, extent.rounds, extent.repeats)
            page.decoded.samples.write(build / f"{NAME}-decode.npz")
            verdict.add_decode(result, page.decoded, bars)
        if "call" in parts:
            page.calls = calls.measure(rivals, folder, extent.rounds, extent.pairs, extent.calls)
            page.calls.samples.write(build / f"{NAME}-calls.npz")
            calls.write_memory(page.calls, build / f"{NAME}-memory.csv")
            verdict.add_calls(result, page.calls, bars)
        if "outage" in parts:
            outage.make_store(folder)
            page.outages = {
                kind: outage.run(folder, kind, extent.outage_calls, extent.outage_per_s)
                for kind in outage.CALLERS
            }
            outage.write(page.outages, build / f"{NAME}-outage.npz")
            for kind, taken in page.outages.items():
                verdict.add_outage(result, kind, taken, bars)
                if taken.first_error:
                    logger.error("%s: %s", kind, taken.first_error)
    code = result.write(build)
    path = build / f"{NAME}.html"
    page.write(path, result)
    print(path)
    return code


if __name__ == "__main__":
    sys.exit(main())
