"""What was measured, as figures with their bars.

The value of a measurement is the median of its rounds; a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from tests.bench.server import soak
from tests.bench.server.contest import CALLERS, FILES, PIXELS, THREADS, InProcess, Measured
from tests.bench.server.load import Load
from tests.bench.server.soak import Memory
from tests.bench.server.starts import Start
from tests.bench.verdict import Verdict

OURS = ("batching", "unbatched", "rest")
RIVALS = ("fastapi_b64", "fastapi_bytes", "mlserver")

OF_ATTAINABLE = 0.75
"""What a server reaches of what is left where Python's gRPC and TensorFlow take turns on the cores,
see `_attainable`. A share of TensorFlow's rate alone would measure the processor: with wide vectors
the model costs half, and gRPC's part of a request as much as before."""
P99_OVER_P50 = 4.0
OWN_START_S = 1.5
MEMORY_GROWTH = 1.05


def add_starts(verdict: Verdict, starts: Sequence[Start]) -> None:
    """Readiness beside TensorFlow's import."""
    verdict.add("start.ready_s", statistics.median(start.ready_s for start in starts), "s")
    verdict.add("start.import_s", statistics.median(start.import_s for start in starts), "s")
    own_s = statistics.median(start.own_s for start in starts)
    verdict.add("start.own_s", own_s, "s", at_most=OWN_START_S)


def add_load(verdict: Verdict, measured: Measured) -> None:
    """Throughput, latencies, ratios and where the CPU goes.

    Args:
        verdict: receives them.
        measured: all rounds.
    """
    verdict.require("errors", measured.errors, "", at_most=0)
    had = "fastapi" not in measured.absent
    verdict.add("fastapi.had", had, "", at_least=1)
    for name, reason in measured.absent.items():
        verdict.add(f"{name}.absent", reason, "")
    for signature in (FILES, PIXELS):
        threads = best_threads(measured, signature)
        rounds = measured.in_process[signature, threads]
        start = f"{signature}.in_process"
        verdict.add(f"{start}.images_per_s", _median(rounds, lambda r: r.images_per_s), "/s")
        verdict.add(f"{start}.threads", threads, "")
        cpu_ms = _median(rounds, lambda r: r.cpu_s_per_image * 1e3)
        verdict.add(f"{start}.cpu_ms", cpu_ms, "ms")
    verdict.add("pillow.images_per_s_per_core", statistics.median(measured.pillow_per_s), "/s")
    for (name, count), rounds in sorted(measured.loads.items()):
        start = f"{name}.{count}_callers"
        verdict.add(f"{start}.per_s", _median(rounds, lambda r: r.per_s), "/s")
        verdict.add(f"{start}.p50_ms", _median(rounds, lambda r: r.percentile_ms(50)), "ms")
        verdict.add(f"{start}.p99_ms", _median(rounds, lambda r: r.percentile_ms(99)), "ms")
        verdict.add(f"{start}.client_cpu_ms", _median(rounds, client_cpu_ms), "ms")
        verdict.add(f"{start}.server_cpu_ms", _median(rounds, server_cpu_ms), "ms")
    _add_bounds(verdict, measured)
    for count in CALLERS[1:]:
        _add_rivals(verdict, measured, count)


def add_soak(verdict: Verdict, points: Sequence[Memory], few: int, many: int) -> None:
    """Growth of memory from `few` answers to `many`."""
    before, after = (soak.resident_after(points, answers) for answers in (few, many))
    verdict.add(f"soak.resident_mb_after_{few}", before, "MB")
    verdict.add(f"soak.resident_mb_after_{many}", after, "MB")
    verdict.add("soak.growth", after / before, "", at_most=MEMORY_GROWTH)


def best_threads(measured: Measured, signature: str) -> int:
    """How many threads get the most out of TensorFlow."""
    return max(
        THREADS,
        key=lambda threads: _median(
            measured.in_process[signature, threads], lambda r: r.images_per_s
        ),
    )


def best_of_ours(measured: Measured, count: int) -> str:
    """The local server's fastest way to have a file classified."""
    names = [f"{FILES}.{way}" for way in OURS if (f"{FILES}.{way}", count) in measured.loads]
    return max(names, key=lambda name: _median(measured.loads[name, count], lambda r: r.per_s))


def client_cpu_ms(taken: Load) -> float:
    """CPU of the callers for each answer."""
    return taken.client_cpu_s * 1e3 / max(1, len(taken.latencies_s))


def server_cpu_ms(taken: Load) -> float:
    """CPU of the server for each answer."""
    return taken.server_cpu_s * 1e3 / max(1, len(taken.latencies_s))


def _add_bounds(verdict: Verdict, measured: Measured) -> None:
    """Beside what TensorFlow can do at most, what Python's gRPC can, and both after each other."""
    for signature in (FILES, PIXELS):
        ceiling = measured.in_process[signature, best_threads(measured, signature)]
        for way in OURS:
            for count in CALLERS:
                rounds = measured.loads.get((f"{signature}.{way}", count))
                if rounds is None:
                    continue
                start = f"{signature}.{way}.{count}_callers"
                judged = count == CALLERS[-1]
                ratios = [ours.per_s / limit.images_per_s for ours, limit in zip(rounds, ceiling)]
                asked = judged and (signature, way) == (PIXELS, "batching")
                verdict.add(f"{start}.of_in_process", statistics.median(ratios), "")
                echoes = measured.loads[f"{signature}.echo", count]
                verdict.add(f"{start}.of_echo", _ratio(rounds, echoes, lambda r: r.per_s), "")
                shares = [
                    ours.per_s / _attainable(echo, limit)
                    for ours, echo, limit in zip(rounds, echoes, ceiling)
                ]
                least = OF_ATTAINABLE if asked else None
                verdict.add(f"{start}.of_attainable", statistics.median(shares), "", at_least=least)
                spread = _median(rounds, lambda r: r.percentile_ms(99) / r.percentile_ms(50))
                most = P99_OVER_P50 if judged else None
                verdict.add(f"{start}.p99_over_p50", spread, "", at_most=most)


def _attainable(echo: Load, computed: InProcess) -> float:
    """Answers a second where each costs what an echo costs and then what its image costs.

    Both were measured with all cores busy, the callers' part included, so their times add up.
    """
    if not echo.per_s:
        return float("inf")
    return 1 / (1 / echo.per_s + 1 / computed.images_per_s)


def _add_rivals(verdict: Verdict, measured: Measured, count: int) -> None:
    """Our best way for files against each of theirs, and base64 over HTTP against the same."""
    ours = best_of_ours(measured, count)
    verdict.add(f"best_for_files.{count}_callers", ours, "")
    rest = f"{FILES}.rest"
    for rival in RIVALS:
        theirs = measured.loads.get((f"{FILES}.{rival}", count))
        if theirs is None:
            continue
        for name, start, bar in ((ours, "best_for_files", 1), (rest, rest, None)):
            against = measured.loads[name, count]
            per_s = _ratio(against, theirs, lambda r: r.per_s)
            p99 = _ratio(against, theirs, lambda r: r.percentile_ms(99))
            of = f"{start}.{count}_callers"
            verdict.add(f"{of}.per_s_over_{rival}", per_s, "", at_least=bar)
            verdict.add(f"{of}.p99_over_{rival}", p99, "", at_most=bar)


def _median(rounds: Sequence[Any], value: Callable[[Any], float]) -> float:
    return statistics.median(value(one) for one in rounds)


def _ratio(ours: Sequence[Load], theirs: Sequence[Load], value: Callable[[Load], float]) -> float:
    """The median of the rounds' ratios; infinite where they gave no answer at all."""
    return statistics.median(
        value(our) / value(their) if value(their) else float("inf")
        for our, their in zip(ours, theirs)
    )
