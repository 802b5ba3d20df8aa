from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time

import pytest

from loadtest.results import generator
from loadtest.results.generator import Meter, State


def state(late_ms: list[float], cpu_share=0.2, worker=0) -> State:
    meter = Meter(worker)
    for one in late_ms:
        meter.sent(one / 1000, held_back=False)
    return State(worker=worker, cpu_share=cpu_share, sent=len(late_ms), late=meter.end(1).late)


PUNCTUAL = [0.1] * 990 + [1.0] * 10


def test_a_punctual_generator_limits_nothing():
    summary = generator.summarise([state(PUNCTUAL)], 10.0)
    assert summary.limited == ""
    assert summary.late_p50_ms == pytest.approx(0.1, rel=0.01)
    assert summary.late_max_ms == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(
    ("latency_p99_ms", "limited"), [(None, True), (10.0, True), (49.0, True), (60.0, False)]
)
def test_lateness_limits_a_result_that_it_is_a_noticeable_part_of(latency_p99_ms, limited):
    summary = generator.summarise([state([0.1] * 98 + [5.0] * 2)], latency_p99_ms)
    assert summary.limited.startswith("limited by the generator: ") is limited
    assert ("lateness is 5.0 ms" in summary.limited) is limited


def test_a_long_lateness_is_told_as_a_page_shows_numbers():
    assert "lateness is 12,345" in generator.summarise([state([12_345.0])], None).limited


def test_a_process_that_uses_a_whole_core_limits_even_if_another_one_is_idle():
    summary = generator.summarise([state(PUNCTUAL, 0.1), state(PUNCTUAL, 0.95, 1)], 10.0)
    assert "process 1 used 95 % of a core and waited for one 0 % of the time" in summary.limited
    assert "--workers" in summary.limited


def test_waiting_for_a_core_counts_as_if_it_had_been_used():
    starved = State(worker=0, cpu_share=0.5, wait_share=0.4)
    summary = generator.summarise([starved], 10.0)
    assert "used 50 % of a core and waited for one 40 % of the time" in summary.limited


@pytest.mark.skipif(not generator.TASKS.exists(), reason="needs /proc: run it on Linux")
def test_threads_that_have_no_core_are_seen_to_wait():
    def wait_share():
        meter = Meter(0)
        meter.begin()
        time.sleep(0.5)
        meter.tick()
        return meter.end(1).wait_share or 0.0

    idle = wait_share()
    script = "import os, time\nos.sched_setaffinity(0, {%d})\nwhile True: pass"
    core = min(os.sched_getaffinity(0))
    rivals = [subprocess.Popen([sys.executable, "-c", script % core]) for _ in range(3)]
    before = os.sched_getaffinity(0)
    stop = threading.Event()
    busy = threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)])
    os.sched_setaffinity(0, {core})
    try:
        busy.start()
        assert wait_share() > idle + 0.2
    finally:
        stop.set()
        busy.join()
        os.sched_setaffinity(0, before)
        for rival in rivals:
            rival.kill()
            rival.wait()


def test_the_lateness_of_all_processes_is_put_together():
    summary = generator.summarise([state([0.1] * 500), state([50.0] * 500, worker=1)], 10.0)
    assert summary.late_p50_ms == pytest.approx(0.1, rel=0.01)
    assert summary.late_p99_ms == pytest.approx(50.0, rel=0.01)
    assert summary.sent == 1000


def test_a_closed_loop_has_no_lateness_and_is_judged_by_its_processor_time():
    assert generator.summarise([State(worker=0, cpu_share=0.5)], 1.0).limited == ""
    summary = generator.summarise([State(worker=0, cpu_share=0.9)], 1.0)
    assert "90 % of a core" in summary.limited
    assert summary.late_p99_ms is None


def test_arrivals_that_were_held_back_count_apart_from_lateness():
    meter = Meter(0)
    meter.sent(0.0001, held_back=False)
    meter.sent(2.0, held_back=True)
    meter.not_sent()
    found = meter.end(7)
    assert (found.sent, found.held_back, found.not_sent, found.most_in_flight) == (2, 1, 1, 7)
    summary = generator.summarise([found], 10.0)
    assert summary.late_max_ms == pytest.approx(0.1, rel=0.02)


def test_the_processor_time_is_that_of_this_process():
    meter = Meter(0)
    meter.begin()
    shares = []
    for _ in range(3):
        started, before = time.monotonic(), time.process_time()
        while time.monotonic() < started + 0.25:
            sum(range(1000))
        meter.tick()
        shares.append((time.process_time() - before) / (time.monotonic() - started))
    found = meter.end(1)
    assert found.cpu_share == pytest.approx(max(shares), abs=0.2)
    assert 0 < found.cpu_s <= 0.9


def test_pauses_of_pythons_collector_are_seen_until_the_end():
    meter = Meter(0)
    meter.begin()
    gc.collect()
    found = meter.end(1)
    gc.collect()
    assert found.gc_pauses >= 1
    assert found.gc_longest_ms > 0
    assert meter._collected not in gc.callbacks
