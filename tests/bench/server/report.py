"""What the local server's page shows."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from foundation.pages import numbers, plots
from foundation.pages.palette import BLUE, BLUES, GREY, INK, ORANGE
from tests.bench.page import Section, Table
from tests.bench.server import verdict
from tests.bench.server.contest import CALLERS, FILES, PIXELS, Measured
from tests.bench.server.soak import Memory
from tests.bench.server.starts import Start

COLORS = dict(zip(CALLERS, BLUES))
"""By callers."""

TITLES = {FILES: "Image files: serving_default", PIXELS: "Pixels: predict_images"}

NAMES = {
    "batching": "local server, gRPC, batching",
    "unbatched": "local server, gRPC, no batching",
    "rest": "local server, REST base64, batching",
    "fastapi_b64": "FastAPI, base64",
    "fastapi_bytes": "FastAPI, raw bytes",
    "mlserver": "MLServer, base64",
    "echo": "bare gRPC echo",
}
"""By the last part of a target's name, in the order in which they are shown."""


EVERY = "Medians of the rounds; least and most are single rounds. CPU is that of one answer."


@dataclasses.dataclass
class Found:
    """What was measured; a part that was not is left out."""

    starts: Sequence[Start] = ()
    measured: Measured | None = None
    memory: Sequence[Memory] = ()


def sections(found: Found) -> list[Section]:
    """The page's sections, in order."""
    shown = []
    if found.measured is not None:
        shown += [
            Section("Throughput", "", partial(_throughput, found.measured)),
            Section("Latency with 32 callers", "", partial(_latency, found.measured)),
            Section("Where the CPU goes, with 32 callers", "", partial(_cpu, found.measured)),
        ]
    if found.memory:
        shown.append(Section("Memory", "", partial(_memory, found.memory)))
    if found.measured is not None:
        shown.append(Section("Every measurement", EVERY, _every(found.measured)))
    if found.starts:
        shown.append(Section("Starts", "", _starts(found.starts)))
    return shown


def _shown(measured: Measured, signature: str, count: int) -> list[str]:
    return [way for way in NAMES if (f"{signature}.{way}", count) in measured.loads]


def _throughput(measured: Measured) -> Figure:
    """A bar for each number of callers, a dot for each round; TensorFlow's own limit as a line."""
    ways = [_shown(measured, signature, CALLERS[-1]) for signature in (FILES, PIXELS)]
    figure, both = plots.panels(6.4, rows=2, height_ratios=[len(one) + 1 for one in ways])
    for axes, signature, shown in zip(both, (FILES, PIXELS), ways):
        for at, way in enumerate(shown):
            for place, count in enumerate(CALLERS):
                rounds = measured.loads.get((f"{signature}.{way}", count))
                if rounds is None:
                    continue
                y = at + (place - 1) * 0.27
                rates = [one.per_s for one in rounds]
                label = f"{count} caller{'s' * (count > 1)}" if at == 0 else None
                axes.barh(y, statistics.median(rates), 0.25, color=COLORS[count], label=label)
                axes.plot(rates, [y] * len(rates), ".", color=INK, markersize=3)
        threads = verdict.best_threads(measured, signature)
        rounds = measured.in_process[signature, threads]
        limit = statistics.median(one.images_per_s for one in rounds)
        axes.axvline(
            limit,
            color=ORANGE,
            linestyle="--",
            label=f"in process, batches of 32: {numbers.number(limit)}/s",
        )
        axes.set_yticks(range(len(shown)), [NAMES[way] for way in shown])
        axes.invert_yaxis()
        axes.set(title=TITLES[signature], xlabel="answers a second (dots: rounds)")
        plots.style(axes, "x")
    return figure


def _latency(measured: Measured) -> Figure:
    """From p50 to p99, medians of the rounds."""
    count = CALLERS[-1]
    ways = [_shown(measured, signature, count) for signature in (FILES, PIXELS)]
    figure, both = plots.panels(
        4.6, rows=2, sharex=True, height_ratios=[len(one) + 1 for one in ways]
    )
    for axes, signature, shown in zip(both, (FILES, PIXELS), ways):
        for at, way in enumerate(shown):
            rounds = measured.loads[f"{signature}.{way}", count]
            p50, p99 = (
                statistics.median(one.percentile_ms(share) for one in rounds) for share in (50, 99)
            )
            axes.plot([p50, p99], [at, at], color=GREY, linewidth=3, zorder=1)
            axes.plot(p50, at, "o", color=BLUE, label="p50" if at == 0 else None)
            axes.plot(p99, at, "o", color=ORANGE, label="p99" if at == 0 else None)
            axes.annotate(
                f"{numbers.number(p50)} to {numbers.number(p99)}",
                (p99, at),
                (8, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(range(len(shown)), [NAMES[way] for way in shown])
        axes.margins(y=0.15)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set(title=TITLES[signature])
        plots.style(axes, "x")
    both[-1].set_xlabel("ms, logarithmic")
    low, high = both[-1].get_xlim()
    both[-1].set_xlim(low, high * 1.6)  # room for the numbers
    return figure


def _cpu(measured: Measured) -> Figure:
    """CPU for each answer: callers, TensorFlow's share as it is in process, the server's rest."""
    count = CALLERS[-1]
    ways = [_shown(measured, signature, count) for signature in (FILES, PIXELS)]
    figure, both = plots.panels(4.6, rows=2, height_ratios=[len(one) + 1 for one in ways])
    for axes, signature, shown in zip(both, (FILES, PIXELS), ways):
        threads = verdict.best_threads(measured, signature)
        tensorflow = statistics.median(
            one.cpu_s_per_image * 1e3 for one in measured.in_process[signature, threads]
        )
        for at, way in enumerate(shown):
            rounds = measured.loads[f"{signature}.{way}", count]
            server = statistics.median(map(verdict.server_cpu_ms, rounds))
            client = statistics.median(map(verdict.client_cpu_ms, rounds))
            batch = 0.0 if way == "echo" else min(tensorflow, server)
            parts = (
                ("callers", client, GREY),
                ("TensorFlow, as in batches of 32", batch, ORANGE),
                ("the rest of the server", server - batch, BLUE),
            )
            left = 0.0
            for name, width, color in parts:
                axes.barh(at, width, 0.6, left, color=color, label=name if at == 0 else None)
                left += width
        axes.set_yticks(range(len(shown)), [NAMES[way] for way in shown])
        axes.invert_yaxis()
        axes.set(title=TITLES[signature], xlabel="ms of CPU for each answer")
        plots.style(axes, "x")
    return figure


def _memory(points: Sequence[Memory]) -> Figure:
    figure, (axes,) = plots.panels(2.8)
    axes.plot(
        [point.answers for point in points],
        [point.resident_mb for point in points],
        color=BLUE,
        marker=".",
        label="resident memory",
    )
    axes.set_ylim(bottom=0)
    axes.set(xlabel="answers given", ylabel="MB")
    plots.style(axes)
    return figure


def _every(measured: Measured) -> Table:
    """A row for each target and number of callers."""
    median, rows = statistics.median, []
    for signature in (FILES, PIXELS):
        for way in _shown(measured, signature, CALLERS[-1]):
            for count in CALLERS:
                rounds = measured.loads.get((f"{signature}.{way}", count))
                if rounds is None:
                    continue
                rates = [one.per_s for one in rounds]
                per_s = [numbers.fixed(rate, 0) for rate in (median(rates), min(rates), max(rates))]
                latencies_ms = [
                    numbers.fixed(median(one.percentile_ms(share) for one in rounds), 1)
                    for share in (50, 99)
                ]
                cpu_ms = [
                    numbers.fixed(median(map(cpu_of, rounds)), 2)
                    for cpu_of in (verdict.client_cpu_ms, verdict.server_cpu_ms)
                ]
                rows.append([signature, NAMES[way], str(count), *per_s, *latencies_ms, *cpu_ms])
    columns = "signature,answered by,callers,per s,least,most,p50 ms,p99 ms"
    return Table(
        columns=[*columns.split(","), "callers' CPU ms", "server's CPU ms"], rows=rows, words=2
    )


def _starts(starts: Sequence[Start]) -> Table:
    return Table(
        columns=["ready s", "TensorFlow's import s", "the server's own s"],
        rows=[
            [numbers.fixed(value, 2) for value in (start.ready_s, start.import_s, start.own_s)]
            for start in starts
        ],
    )
