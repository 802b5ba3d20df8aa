"""Loads a running model server for a bounded time and reports.

    python -m loadtest.run [--users 8] [--duration-s 20]            closed loop: Locust
    python -m loadtest.run --rate 200 [--shape spike] [--workers 2]  open loop: arrivals on schedule
    python -m loadtest.run --trace arrivals.csv                      the same, as recorded

Leaves build/loadtest.html (self-contained), build/loadtest.json (the figures),
build/loadtest-recording.json (HdrHistograms, settings, machine, versions) and
build/loadtest-samples.csv (every request). Costs the duration and about 3 s. Exit code 0: every
request was answered rightly; 1: at least one was not, or the run did not finish; 2: no server, or a
mistake in the command, and nothing was written; 130: interrupted, and what there is was written.

Knows nothing about TensorFlow: images in, latencies out.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtest import running
from loadtest.report import page as report
from loadtest.results import generator, samples
from loadtest.results.recording import SENT
from loadtest.results.run_file import RunFile
from loadtest.results.taken import Taken
from loadtest.settings import CLOSED, Settings, parse
from loadtest.traffic import images
from loadtest.traffic.answers import read_known
from training.command_line import configure_logging, run
from training.figures import BUILD_DIR, Figures

log = logging.getLogger("loadtest")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one load test."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    settings = parse(arguments)
    configure_logging()
    command = shlex.join(["python", "-m", "loadtest.run", *arguments])
    return run("loadtest", lambda: load(settings, command))


def load(settings: Settings, command: str, directory: Path = BUILD_DIR) -> int:
    """Checks, loads, reports.

    Args:
        settings: what to do.
        command: as it was typed, for the record.
        directory: where page, figures, histograms and samples go.

    Returns:
        0 if every request was answered rightly, 130 after Ctrl-C, else 1.

    Raises:
        InputError: a setting that cannot be, no images, or no server that could answer.
    """
    settings.check()
    found = len(images.choose(settings.images, seed=settings.seed))
    if settings.answers is not None:
        read_known(settings.answers)
    versions = running.check_server(settings)
    log.info("%s", settings.describe_loop())
    log.info(
        "target=%s labels=%s signature=%s batch=%s images=%d timeout_s=%g seed=%d",
        *(settings.target, versions, settings.signature, settings.batch, found),
        *(settings.timeout_s, settings.seed),
    )
    started = datetime.datetime.now(datetime.timezone.utc)
    figures = Figures("loadtest", command)
    directory.mkdir(parents=True, exist_ok=True)
    taken = running.take(settings, directory / "loadtest-samples.csv")
    p99 = taken.recording.percentiles((99,))
    state = generator.summarise(taken.states, p99[0].value_ms if p99 else None)
    summary = samples.summarise(taken.samples)
    shown = _shown(settings, found, versions)
    page = directory / "loadtest.html"
    report.write(
        page,
        taken=taken,
        summary=summary,
        settings=shown,
        loop=settings.describe_loop(),
        state=state,
    )
    for code, count, words in summary.by_code:
        log.error("%d x %s: %s", count, code, words)
    for words in (*taken.partial, *filter(None, [state.limited])):
        log.error("%s", words)
    RunFile(
        command=command,
        started=started.isoformat(timespec="seconds"),
        loop=settings.loop,
        settings=shown,
        versions=versions,
        partial=tuple(taken.partial),
        generator=state,
        recording=taken.recording,
    ).write(directory / "loadtest-recording.json")
    _add(figures, settings, taken, summary, state)
    print(settings.describe_loop())
    verdict = figures.write(directory)
    print(page)
    return 130 if "interrupted" in taken.partial else verdict


def _shown(settings: Settings, found: int, versions: Mapping[str, int]) -> dict[str, Any]:
    """The settings that count, by name."""
    shown = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(settings).items()
        if value is not None and name not in ("connection", "users", "duration_s")
    }
    if settings.loop == CLOSED:
        shown = {"users": settings.asking, **shown}
        for name in ("workers", "in_flight"):
            shown.pop(name)
    if settings.seconds:
        shown["duration_s"] = settings.seconds
    shown["tls"] = any(settings.connection.values())
    shown["distinct images"] = found
    for label, version in versions.items():
        shown[f"version of {label} at the start"] = version
    return shown


def _add(
    figures: Figures,
    settings: Settings,
    taken: Taken,
    summary: samples.Summary,
    state: generator.Summary,
) -> None:
    """The figures, by the names that they always had, and new ones."""
    figures.add("loop", settings.loop, "")
    figures.add("requests", summary.requests, "requests", at_least=1)
    figures.add("failures", summary.failures, "requests", at_most=0)
    figures.add("finished", not taken.partial, "", at_least=1)
    figures.add("requests_per_s", summary.requests_per_s, "requests/s")
    figures.add("p50_ms", summary.p50_ms, "ms")
    figures.add("p95_ms", summary.p95_ms, "ms")
    figures.add("p99_ms", summary.p99_ms, "ms")
    for one in taken.recording.percentiles((99.9,)):
        figures.add("p99_9_ms", one.value_ms, "ms")
        figures.add("p99_9_samples_beyond", one.beyond, "samples")
    figures.add("max_ms", summary.max_ms, "ms")
    if settings.loop == CLOSED:
        figures.add("users", settings.asking, "users")
    else:
        for one in taken.recording.percentiles((50, 99), since=SENT):
            figures.add(f"p{one.share:g}_from_send_ms", one.value_ms, "ms")
        if settings.rate is not None:
            figures.add("rate", settings.rate, "requests/s")
        figures.add("late_p99_ms", state.late_p99_ms, "ms")
        figures.add("held_back", state.held_back, "requests")
        figures.add("not_sent", state.not_sent, "requests")
    figures.add("generator_cpu", state.cpu_share, "cores a process")
    figures.add("generator_waited_for_cpu", state.wait_share, "cores a process")
    figures.add("generator_limited", bool(state.limited), "")
    figures.add("duration_s", summary.seconds, "s")


if __name__ == "__main__":
    sys.exit(main())
