"""Loads a running model server for a bounded time and reports.

    python -m loadtest.run [--users 8] [--duration-s 20]            closed loop: Locust
    python -m loadtest.run --rate 200 [--shape spike] [--workers 2]  open loop: arrivals on schedule
    python -m loadtest.run --trace arrivals.csv                      the same, as recorded
    … --objectives loadtest/objectives.json     a gate: 0 only where all objectives are met
    … --at "10:python -m serving.rollout promote"    what does a change cost the callers?

Leaves build/loadtest.html (self-contained), build/loadtest.json (the figures),
build/loadtest-recording.json (HdrHistograms, settings, machine, versions) and
build/loadtest-samples.csv (every request). Takes the duration and about 3 s. Exit code 0: every
request was answered rightly; 1: at least one was not, or the run did not finish; 2: no server, or a
mistake in the command, and nothing was written; 130: interrupted, and what there is was written.
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

from foundation.command_line import configure_logging, run, say
from foundation.figures import BUILD_DIR, Figures
from loadtest.change.commands import PATIENCE_S, Commands
from loadtest.change.cost import Cost, costs
from loadtest.loops import running
from loadtest.plan.flags import COMMAND, parse
from loadtest.plan.settings import CLOSED, Settings
from loadtest.report import page
from loadtest.results.recording import SENT
from loadtest.results.run_file import RunFile
from loadtest.results.taken import INTERRUPTED, Taken
from loadtest.server.measured import Selection
from loadtest.server.view import ServerView
from loadtest.server.watch import watching
from loadtest.traffic import images
from loadtest.traffic.answers import read_known
from loadtest.verdicts.objectives import judge

log = logging.getLogger("loadtest")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one load test."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    settings = parse(arguments)
    configure_logging()
    command = shlex.join([*COMMAND.split(), *arguments])
    return run(COMMAND, lambda: load(settings, command))


def load(settings: Settings, command: str) -> int:
    """Checks, loads, reports.

    Args:
        settings: what to do.
        command: as it was typed, for the record.

    Returns:
        0 if every request was answered rightly, 130 after Ctrl-C, else 1.

    Raises:
        InputError: a setting that is refused, no images, or no server that could answer.
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
    for change in settings.changes:
        log.info("at %g s: %s", change.second, shlex.join(change.command))
    started = datetime.datetime.now(datetime.timezone.utc)
    figures = Figures("loadtest", command)
    BUILD_DIR.mkdir(parents=True, exist_ok=True)
    with watching(settings.metrics, settings.target) as servers:
        taken, changes = _take(settings, BUILD_DIR / "loadtest-samples.csv")
    seen = servers.view(Selection(model=settings.model), taken.samples)
    report = _report(settings, taken, changes, seen)
    report = dataclasses.replace(
        report,
        settings=_shown(settings, found, versions, servers.urls),
        command=command,
        started=started,
    )
    page.write(BUILD_DIR / "loadtest.html", report)
    _tell(report)
    _file(report, settings, command, started, versions).write(BUILD_DIR / "loadtest-recording.json")
    _add(figures, settings, report)
    say(settings.describe_loop())
    code = figures.write()
    print(BUILD_DIR / "loadtest.html")
    if report.verdict is not None:
        say(report.verdict.words)
    return 130 if INTERRUPTED in taken.partial else code


def _file(
    report: page.Report,
    settings: Settings,
    command: str,
    started: datetime.datetime,
    versions: Mapping[str, int],
) -> RunFile:
    """What the run leaves for programs."""
    return RunFile(
        command=command,
        started=started.isoformat(timespec="seconds"),
        loop=settings.loop,
        settings=report.settings,
        versions=versions,
        partial=tuple(report.taken.partial),
        generator=report.state,
        recording=report.taken.recording,
        server=None if report.server is None else report.server.as_json(),
        events=tuple(change.as_json() for change in report.changes),
    )


def _take(settings: Settings, csv: Path) -> tuple[Taken, tuple[Cost, ...]]:
    """Loads the server, and meanwhile runs the commands that are due."""
    commands = Commands(settings.changes)
    try:
        taken = running.take(settings, csv, watch=commands.due)
    except BaseException:
        commands.end(0)
        raise
    events, never = commands.end(0 if INTERRUPTED in taken.partial else PATIENCE_S)
    taken.partial += [
        f"the load ended before second {one.second:g}, when {shlex.join(one.command)} was due"
        for one in never
    ]
    return taken, costs(events, taken.samples, taken.recording.begin_s)


def _report(
    settings: Settings, taken: Taken, changes: tuple[Cost, ...], seen: ServerView | None
) -> page.Report:
    """Adds the run up, and judges it."""
    state, summary = taken.generator(), taken.summary()
    verdict = None
    if settings.gate is not None:
        partial = bool(taken.partial)
        verdict = judge(settings.gate, taken.recording, summary, state, partial=partial)
    return page.Report(
        taken=taken,
        summary=summary,
        settings={},
        how=settings.describe_loop(),
        state=state,
        pieces=() if settings.rate is None or settings.trace else settings.plan.pieces,
        verdict=verdict,
        changes=changes,
        server=seen,
    )


def _tell(report: page.Report) -> None:
    """On the terminal: what went wrong, where the time went, what a change cost."""
    if report.server is not None:
        for line in report.server.as_text().splitlines():
            log.info("%s", line)
    for code, count, words in report.summary.by_code:
        log.error("%d x %s: %s", count, code, words)
    for number, change in enumerate(report.changes, 1):
        tell = log.error if change.event.failed else log.info
        tell("%d. %s", number, change.describe())
    for words in (*report.taken.partial, *filter(None, [report.state.limited])):
        log.error("%s", words)


def _shown(
    settings: Settings, found: int, versions: Mapping[str, int], metrics: Sequence[str]
) -> dict[str, Any]:
    """The settings that matter for this loop, by name."""
    shown = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(settings).items()
        if value is not None and name not in ("connection", "users", "duration_s", "metrics", "at")
    }
    if settings.loop == CLOSED:
        shown = {"users": settings.asking, **shown}
        shown.pop("in_flight")
    else:
        for name in ("api", "think_time", "remote_workers"):
            shown.pop(name)
    if settings.seconds:
        shown["duration_s"] = settings.seconds
    shown["tls"] = any(settings.connection.values())
    shown["distinct images"] = found
    if metrics:
        shown["metrics"] = ", ".join(metrics)
    for label, version in versions.items():
        shown[f"version of {label} at the start"] = version
    return shown


def _add(figures: Figures, settings: Settings, report: page.Report) -> None:
    """Adds the figures. Without objectives, every request has to be answered rightly."""
    figures.add("loop", settings.loop, "")
    _add_bars(figures, report)
    _add_latencies(figures, report)
    _add_loop(figures, settings, report)
    state = report.state
    figures.add("generator_cpu", state.cpu_share, "cores a process")
    figures.add("generator_waited_for_cpu", state.wait_share, "cores a process")
    figures.add("generator_limited", bool(state.limited), "")
    figures.add("duration_s", report.summary.seconds, "s")
    _add_server(figures, report)


def _add_bars(figures: Figures, report: page.Report) -> None:
    """Everything that a run can fail by."""
    summary, verdict = report.summary, report.verdict
    figures.add("requests", summary.requests, "requests", at_least=1)
    figures.add("failures", summary.failures, "requests", at_most=None if verdict else 0)
    figures.add("finished", not report.taken.partial, "", at_least=1)
    if report.changes:
        failed = sum(change.event.failed for change in report.changes)
        figures.add("commands_failed", failed, "commands", at_most=0)
    if verdict is not None:
        none = verdict.met is None
        figures.add("objectives_met", bool(verdict.met), "", at_least=1, unknown=none)
        for row in verdict.rows:
            bound = "at_least" if row.name == "requests_per_s" else "at_most"
            # Of a run without a verdict only what was met in spite of a generator at its limit is.
            unknown = row.holds is None or (none and (not row.holds or bool(report.taken.partial)))
            figures.add(
                f"objective.{row.name}", row.value, "", unknown=unknown, **{bound: row.limit}
            )


def _add_latencies(figures: Figures, report: page.Report) -> None:
    summary = report.summary
    figures.add("requests_per_s", summary.requests_per_s, "requests/s")
    figures.add("p50_ms", summary.p50_ms, "ms")
    figures.add("p95_ms", summary.p95_ms, "ms")
    figures.add("p99_ms", summary.p99_ms, "ms")
    for one in report.taken.recording.percentiles((99.9,)):
        figures.add("p99_9_ms", one.value_ms, "ms")
        figures.add("p99_9_samples_beyond", one.beyond, "samples")
    figures.add("max_ms", summary.max_ms, "ms")


def _add_loop(figures: Figures, settings: Settings, report: page.Report) -> None:
    """What only one of the two loops has."""
    if settings.loop == CLOSED:
        figures.add("users", settings.asking, "users")
        return
    for one in report.taken.recording.percentiles((50, 99), since=SENT):
        figures.add(f"p{one.share:g}_from_send_ms", one.value_ms, "ms")
    if settings.rate is not None:
        figures.add("rate", settings.rate, "requests/s")
    figures.add("late_p99_ms", report.state.late_p99_ms, "ms")
    figures.add("held_back", report.state.held_back, "requests")
    figures.add("not_sent", report.state.not_sent, "requests")


def _add_server(figures: Figures, report: page.Report) -> None:
    whole = report.server.whole if report.server is not None else None
    if whole is not None and whole.split is not None:
        for part in whole.split.parts:
            figures.add(f"mean.{part.name.replace(' ', '_')}_ms", part.mean_ms, "ms")
        if whole.measured.batch.mean is not None:
            figures.add("batch_rows", whole.measured.batch.mean, "rows a batch")


if __name__ == "__main__":
    sys.exit(main())
