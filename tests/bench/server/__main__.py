"""Measures the local server beside what bounds it and what stands in its place.

    python -m tests.bench.server                       all of it, about twelve minutes
    python -m tests.bench.server --parts start load    without the soak, about seven
    python -m tests.bench.server --quick               a look: no bar but that of errors

Parts: `start`, readiness beside TensorFlow's own import; `load`, throughput, latencies and CPU with
1, 8 and 32 callers on the same cores, batching on and off, beside TensorFlow in process, a bare
gRPC echo server, FastAPI and MLServer (in environments made on demand under build/); `soak`, memory
over 100,000 requests. Serves the version that serving/models.config labels stable; files are those
of the sample set.

Leaves build/bench-server.json, build/bench-server.html, and beside them the raw samples:
build/bench-server-latencies.npz, -rounds.jsonl, -memory.csv. Exit code 1 if a bar does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from foundation import command_line, figures
from foundation.command_line import InputError
from serving import models_config
from tests.bench.server import contest, payloads, report, servers, soak, starts, verdict
from tfs_client import contract

logger = logging.getLogger("tests.bench.server")

PARTS = ("start", "load", "soak")

NAME = "bench-server"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; prints the paths of the figures and the page on stdout."""
    parser = command_line.Parser(
        prog="bench_server",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--models", type=Path, default=Path("models"), help="the store (default: %(default)s)")
    add("--config", type=Path, default=Path("serving/models.config"), help="(default: %(default)s)")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="(default: all)")
    add("--rounds", type=int, help="how often each is measured (default: 5; quick: 1)")
    add("--seconds", type=float, help="of each measurement (default: 2; quick: 0.5)")
    add("--quick", action="store_true", help="short, and judges errors only")
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = parser.parse_args(arguments)
    command_line.configure_logging()
    args.rounds = args.rounds or (1 if args.quick else 5)
    args.seconds = args.seconds or (0.5 if args.quick else 2.0)
    args.command = " ".join(["python -m tests.bench.server", *arguments])
    return command_line.run("bench_server", lambda: bench(args))


def bench(args: argparse.Namespace) -> int:
    """Measures the parts, writes figures, samples and page, returns the exit code."""
    version = stable_version(args.config, args.models)
    result = figures.Figures(NAME, args.command)
    build = figures.BUILD_DIR
    build.mkdir(exist_ok=True)
    page = report.Page()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        if "start" in args.parts:
            page.starts = starts.measure(args.models, args.config, folder, 1 if args.quick else 5)
            verdict.add_starts(result, page.starts, bars=not args.quick)
        if set(args.parts) - {"start"}:
            files = payloads.choose_files()
            pixels = folder / "pixels.npy"
            worker = stack.enter_context(servers.in_process(folder, version, files, pixels))
            material = contest.prepare(worker, files, pixels)
        if "load" in args.parts:
            with contest.Contest(
                version, args.models, args.config, folder, worker, material
            ) as running:
                page.measured = running.run(args.rounds, args.seconds)
            contest.write_latencies(page.measured, build / f"{NAME}-latencies.npz")
            contest.write_rounds(page.measured, build / f"{NAME}-rounds.jsonl")
            verdict.add_load(result, page.measured, bars=not args.quick)
        if "soak" in args.parts:
            few, many = (200, 1_000) if args.quick else (10_000, 100_000)
            with servers.LocalServer(
                folder, "soak", args.models, args.config, *servers.batching_flags(folder)
            ) as server:
                page.memory, errors = soak.run(server.wait(), material, many)
            soak.write(page.memory, build / f"{NAME}-memory.csv")
            verdict.add_soak(result, page.memory, few, many, bars=not args.quick)
            result.add("soak.errors", errors, "", at_most=0)
    code = result.write(build)
    path = build / f"{NAME}.html"
    page.write(path, result)
    print(path)
    return code


def stable_version(config: Path, models: Path) -> Path:
    """The folder of the version that the label `stable` points at.

    Raises:
        InputError: there is none, or it has not been exported.
    """
    for model in models_config.read(config).models:
        version = model.labels.get(contract.LABEL_STABLE)
        if model.name == contract.MODEL_NAME and version is not None:
            folder = models_config.folder_of(model, models) / str(version)
            if folder.is_dir():
                return folder
            raise InputError(
                f"Expected version {version} in {folder}. Received: no such folder. "
                "Export one first: make train export"
            )
    raise InputError(
        f"Expected {contract.MODEL_NAME} with the label {contract.LABEL_STABLE} in {config}. "
        "Received: neither, or one without the other."
    )


if __name__ == "__main__":
    sys.exit(main())
