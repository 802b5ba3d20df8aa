"""Measures the load test: how much one process can send, and whether what it reports is true.

    python -m tests.bench.loadtest                          all of it, about fifteen minutes
    python -m tests.bench.loadtest --parts accuracy         one part
    python -m tests.bench.loadtest --quick                  a look: no bar but that of errors

Parts: `throughput`, requests a second of one generator process to a server that answers at once,
beside a bare gRPC stub in a loop; `accuracy`, the open loop's percentiles at a server of known
slowness with stalls, beside the truth, a closed loop, and ghz where it is on the PATH
(go install github.com/bojand/ghz/cmd/ghz@v0.120.0); `knee`, the search for the knee, beside an
exhaustive sweep.

Leaves build/bench-loadtest.json, build/bench-loadtest.html and build/bench-loadtest-latencies.npz.
Exit code 1 if a bar does not hold.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foundation import command_line, figures
from tests.bench.loadtest import accuracy, knee, report, throughput
from tests.bench.loadtest.accuracy import SHARES, Accuracy, Seen
from tests.bench.loadtest.knee import Knees
from tests.bench.loadtest.throughput import Throughput

PARTS = ("throughput", "accuracy", "knee")

NAME = "bench-loadtest"

LEAST_RATIO = 0.5
"""Of a bare stub's requests a second."""

MOST_SHARE, MOST_MS = 0.03, 0.3
"""Of a percentile's error: a share of the truth, or so much, whichever is larger."""


MOST_APART = 0.1
"""Between the knee found by search and by sweep, as a share of the latter."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; prints the paths of the figures and the page on stdout."""
    parser = command_line.Parser(
        prog="bench_loadtest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="(default: all)")
    add("--quick", action="store_true", help="short, and judges errors only")
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = parser.parse_args(arguments)
    command_line.configure_logging()
    command = " ".join(["python -m tests.bench.loadtest", *arguments])
    return command_line.run("bench_loadtest", lambda: bench(command, args.parts, quick=args.quick))


def bench(command: str, parts: Sequence[str], *, quick: bool) -> int:
    """Measures the parts, writes figures, samples and page, returns the exit code."""
    result = figures.Figures(NAME, command)
    build = figures.BUILD_DIR
    build.mkdir(exist_ok=True)
    sent: Throughput | None = None
    seen: Accuracy | None = None
    knees: Knees | None = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "throughput" in parts:
            sent = throughput.measure(folder, *((2, 500) if quick else (10, 5000)))
            add_throughput(result, sent, bars=not quick)
        if "accuracy" in parts:
            seen = accuracy.measure(folder, 200.0, 12.0 if quick else 60.0)
            add_accuracy(result, seen, bars=not quick)
            write_latencies(seen, build / f"{NAME}-latencies.npz")
        if "knee" in parts:
            searches, rungs, seconds = (1, 3, 1.0) if quick else (3, 10, 2.5)
            knees = knee.measure(folder, searches=searches, rungs=rungs, seconds_each=seconds)
            add_knees(result, knees, bars=not quick)
    code = result.write(build)
    page = build / f"{NAME}.html"
    report.write(page, result, sent, seen, knees)
    print(page)
    return code


def add_throughput(result: figures.Figures, taken: Throughput, *, bars: bool) -> None:
    """The medians, and the median of the rounds' ratios."""
    add, median = result.add, statistics.median
    ratios = [ours / bare for ours, bare in zip(taken.ours_per_s, taken.bare_per_s)]
    add("throughput.ratio", median(ratios), "", at_least=LEAST_RATIO if bars else None)
    add("throughput.ratio.least", min(ratios), "")
    add("throughput.ours", median(taken.ours_per_s), "requests/s")
    add("throughput.bare", median(taken.bare_per_s), "requests/s")
    add("throughput.ours.cpu", median(taken.ours_cpu_us), "us a request")
    add("throughput.bare.cpu", median(taken.bare_cpu_us), "us a request")
    add("throughput.server.cpu", median(taken.server_cpu_us), "us a request")
    add("throughput.failures", taken.failures, "requests", at_most=0)


def add_accuracy(result: figures.Figures, taken: Accuracy, *, bars: bool) -> None:
    """Each percentile's error, in units of what is allowed: 1 is the bar."""
    for name, seen in (("open", taken.open), ("closed", taken.closed), ("ghz", taken.ghz)):
        if seen is None:
            result.add(f"accuracy.{name}", "not on the PATH", "")
            continue
        errors = excesses(seen.reported_ms, seen.truth_ms)
        barred = bars and name == "open"
        for at, share in enumerate(SHARES):
            of = f"accuracy.{name}.p{share:g}"
            result.add(f"{of}.reported", seen.reported_ms[at], "ms")
            result.add(f"{of}.truth", seen.truth_ms[at], "ms")
            result.add(f"{of}.error", seen.reported_ms[at] - seen.truth_ms[at], "ms")
            bare_ms = seen.model_ms[at] + seen.bare_road_ms
            result.add(f"{of}.error_by_bare_road", seen.reported_ms[at] - bare_ms, "ms")
            result.add(f"{of}.of_allowed", errors[at], "", at_most=1 if barred else None)
        result.add(f"accuracy.{name}.road", seen.road_ms, "ms")
        result.add(f"accuracy.{name}.server_late_p50", seen.late_ms, "ms")
        result.add(f"accuracy.{name}.bare_road", seen.bare_road_ms, "ms")
        result.add(f"accuracy.{name}.rate", seen.per_s, "requests/s")
        result.add(f"accuracy.{name}.failures", seen.failures, "requests", at_most=0)
    result.add("accuracy.open.late_p99", taken.open.late_p99_ms, "ms")
    result.add("accuracy.open.limited", taken.open.limited or "no", "")


def add_knees(result: figures.Figures, taken: Knees, *, bars: bool) -> None:
    """Each search beside the sweep."""
    result.add("knee.sweep", taken.swept, "requests/s")
    for number, found in enumerate(taken.searched, 1):
        of = f"knee.search_{number}"
        result.add(of, found.rate, "requests/s")
        result.add(f"{of}.low", found.low, "requests/s")
        result.add(f"{of}.high", found.high, "requests/s")
        apart = abs(found.rate / taken.swept - 1) if found.rate and taken.swept else None
        result.add(f"{of}.apart", apart, "", at_most=MOST_APART if bars else None)
        result.add(f"{of}.measurements", found.measurements, "")
        result.add(f"{of}.took_of_a_sweep", taken.search_s[number - 1] / taken.sweep_s, "")
    result.add("knee.sweep.measurements", len(taken.points), "")


def excesses(reported_ms: Sequence[float], truth_ms: Sequence[float]) -> list[float]:
    """How far each is from the truth, over what is allowed."""
    return [
        abs(reported - truth) / max(MOST_MS, MOST_SHARE * truth)
        for reported, truth in zip(reported_ms, truth_ms)
    ]


def write_latencies(taken: Accuracy, path: Path) -> None:
    """Every latency that was seen, in seconds, as an .npz file."""
    seen: dict[str, Seen | None] = {"open": taken.open, "closed": taken.closed, "ghz": taken.ghz}
    arrays = {name: one.latencies_s for name, one in seen.items() if one is not None}
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    sys.exit(main())
